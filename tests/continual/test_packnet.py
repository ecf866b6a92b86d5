"""PackNet: shares by hand, and that what a stage keeps is never lost."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.continual.methods.method import Setting
from metarl.continual.methods.packnet import PackNet
from metarl.continual.methods.references import FineTuning
from metarl.policies import Parameters
from tests.continual import small_sequence
from tests.continual.small_sequence import (
    LEARNERS,
    OBSERVATION,
    Run,
    assert_equal,
    beside_task,
    make_setting,
    start,
)

one_torch_thread = small_sequence.one_torch_thread

WEIGHTS = {"weight0", "weight1"}


def snapshot(parameters: Parameters) -> Parameters:
    return {name: value.clone() for name, value in parameters.items()}


def policy_of(parameters: Parameters) -> Parameters:
    return {n: v for n, v in parameters.items() if not n.startswith("value")}


def outputs(setting: Setting, parameters: Parameters, task: int) -> Parameters:
    """Action distributions at some observations in a task."""
    seen = torch.from_numpy(np.random.default_rng(5).standard_normal((LEARNERS, 9, OBSERVATION)))
    told = beside_task(setting, seen.float(), task)
    return setting.policy.distribution(parameters, told)._asdict()


def prune(run: Run, stage: int) -> Parameters:
    """What becomes of the parameters at the moment of pruning."""
    pruned = run.method.before_iteration(stage, 3, run.parameters)
    assert pruned is not None
    return pruned


# Shares -----------------------------------------------------------------------------------------


def test_every_stage_keeps_its_share_of_each_layer() -> None:
    # Weights 3 x 4 = 12 and 4 x 2 = 8 for three stages: 12/3, 8/2, 4/1 and 8/3, 5/2, 2/1, rounded
    # up.
    run = Run.of(PackNet, make_setting()).train()
    shares = {"weight0": [0, 4, 4, 4], "weight1": [0, 3, 3, 2]}
    assert set(run.method.owner) == WEIGHTS
    for name, expected in shares.items():
        for row in run.method.owner[name]:
            assert torch.bincount(row.flatten(), minlength=4).tolist() == expected


def test_the_largest_free_weights_are_kept() -> None:
    setting = make_setting(stages=(0, 1))
    parameters = start(setting, range(1))
    parameters["weight1"] = torch.tensor([[[0.1, -0.9], [0.2, 0.3], [-0.8, 0.7], [-0.4, 0.0]]])
    method = PackNet(setting, parameters, torch.zeros(1))
    method.begin_stage(0, parameters)
    pruned = method.before_iteration(0, 3, parameters)
    assert pruned is not None
    kept = [[0, 1], [0, 0], [1, 1], [1, 0]]
    assert method.owner["weight1"].tolist() == [kept]
    expected = torch.tensor([[[0.0, -0.9], [0.0, 0.0], [-0.8, 0.7], [-0.4, 0.0]]])
    assert torch.equal(pruned["weight1"], expected)
    others = {name: value for name, value in pruned.items() if name not in WEIGHTS}
    assert_equal(others, {name: parameters[name] for name in others})


@pytest.mark.parametrize(
    ("iterations", "retraining", "pruned_before"),
    [(100, 0.25, 75), (4, 0.25, 3), (10, 0.0, 9), (10, 1.0, 1), (2, 0.25, 1), (1, 0.25, 0)],
)
def test_pruning_leaves_iterations_before_and_after(
    iterations: int, retraining: float, pruned_before: int
) -> None:
    setting = make_setting(iterations=iterations, retraining=retraining)
    parameters = start(setting, range(1))
    method = PackNet(setting, parameters, torch.zeros(1))
    method.begin_stage(0, parameters)
    pruned = [
        method.before_iteration(0, iteration, parameters) is not None
        for iteration in range(iterations)
    ]
    assert [i for i, happened in enumerate(pruned) if happened] == [pruned_before]


def test_the_last_stage_keeps_everything_and_prunes_nothing() -> None:
    run = Run.of(PackNet, make_setting()).train(range(2))
    run.begin(2)
    for iteration in range(4):
        assert run.method.before_iteration(2, iteration, run.parameters) is None
        run.iterate(2, iteration)
    assert all((owner > 0).all() for owner in run.method.owner.values())
    assert all((run.parameters[name] != 0).all() for name in WEIGHTS)


# What is trained --------------------------------------------------------------------------------


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_what_a_stage_keeps_is_fixed_bit_for_bit(optimizer: str) -> None:
    # One optimiser for all stages: with Adam, momentum goes on.
    setting = make_setting(stages=(0, 1, 2, 0), optimizer=optimizer)
    run = Run.of(PackNet, setting)
    ends: list[Parameters] = []
    for stage in range(4):
        run.train(range(stage, stage + 1))
        ends.append(snapshot(run.parameters))
        for past, then in enumerate(ends[:-1]):
            for name, owner in run.method.owner.items():
                mine = owner == past + 1
                assert torch.equal(ends[-1][name][mine], then[name][mine])
    last = ends[-1]
    for name in ("bias0", "bias1", "log_std"):
        assert not torch.equal(ends[0][name], start(setting, range(LEARNERS))[name])
        assert torch.equal(last[name], ends[0][name])
    for name, owner in run.method.owner.items():  # every stage has trained its own, from 0
        for stage in range(1, 4):
            own = owner == stage + 1
            assert (ends[stage - 1][name][own] == 0).all()
            assert (ends[stage][name][own] != 0).all()


def test_retraining_moves_what_is_kept_and_leaves_the_rest_at_zero() -> None:
    run = Run.of(PackNet, make_setting()).train(range(1))
    run.begin(1)
    for iteration in range(3):
        run.iterate(1, iteration)
    pruned = prune(run, 1)
    run.iterate(1, 3)
    for name, owner in run.method.owner.items():
        value = run.parameters[name]
        assert (value[owner == 0] == 0).all()
        assert torch.equal(value[owner == 1], pruned[name][owner == 1])
        assert (value[owner == 2] != pruned[name][owner == 2]).all()


def test_before_the_first_pruning_it_is_fine_tuning() -> None:
    packed, plain = (Run.of(kind, make_setting()) for kind in (PackNet, FineTuning))
    for run in (packed, plain):
        run.begin(0)
        for iteration in range(3):
            run.iterate(0, iteration)
    assert_equal(packed.parameters, plain.parameters)


def test_gradients_of_fixed_weights_take_no_part_in_clipping() -> None:
    run = Run.of(PackNet, make_setting()).train(range(1))
    run.begin(1)
    rows = slice(1, 3)
    own = {name: value[rows] for name, value in run.parameters.items()}
    given = {name: torch.ones_like(value) for name, value in own.items()}
    found = run.method.gradients(given, own, rows)
    for name, owner in run.method.owner.items():
        assert torch.equal(found[name], (owner[rows] == 0).float())
    for name in given:
        if name.startswith("value"):
            assert torch.equal(found[name], given[name])
        elif name not in WEIGHTS:
            assert (found[name] == 0).all()


# What acts --------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"discrete": True}, {"heads": True}])
def test_nothing_is_forgotten(settings: dict[str, Any]) -> None:
    setting = make_setting(stages=(0, 1, 2), **settings)
    run = Run.of(PackNet, setting)
    then: list[Parameters] = []
    for stage in range(3):
        run.train(range(stage, stage + 1))
        then.append(outputs(setting, run.method.view(run.parameters, stage), stage))
        assert_equal(then[-1], outputs(setting, run.parameters, stage))  # free weights are 0
    for task in range(3):
        assert_equal(outputs(setting, run.method.view(run.parameters, task), task), then[task])
    now = outputs(setting, run.parameters, 0)
    assert not torch.equal(next(iter(now.values())), next(iter(then[0].values())))


def test_a_task_is_played_with_the_weights_up_to_its_last_stage() -> None:
    run = Run.of(PackNet, make_setting(stages=(0, 1, 0, 2)))

    def stages_seen(task: int) -> list[int]:
        view = run.method.view(run.parameters, task)
        owner = run.method.owner["weight0"]
        assert all(torch.equal(view[n], run.parameters[n]) for n in view if n not in WEIGHTS)
        return owner[view["weight0"] != 0].unique().tolist()

    assert [stages_seen(task) for task in range(3)] == [[0]] * 3  # nothing has begun
    run.train(range(1))
    assert [stages_seen(task) for task in range(3)] == [[1]] * 3
    run.train(range(1, 2))
    assert [stages_seen(task) for task in range(3)] == [[1], [1, 2], [1, 2]]
    run.begin(2)
    run.iterate(2, 0)
    assert [stages_seen(task) for task in range(3)] == [[0, 1, 2], [1, 2], [0, 1, 2]]
    for iteration in range(1, 4):
        run.iterate(2, iteration)
    run.end(2)
    run.train(range(3, 4))
    assert [stages_seen(task) for task in range(3)] == [[1, 2, 3], [1, 2], [1, 2, 3, 4]]


# Heads ------------------------------------------------------------------------------------------


def head(parameters: Parameters, task: int) -> dict[str, Tensor]:
    """Of one task, in an output layer of two actions each."""
    own = slice(2 * task, 2 * task + 2)
    return {
        "weight": parameters["weight1"][..., own],
        "bias": parameters["bias1"][..., own],
        "log_std": parameters["log_std"][:, task],
    }


def test_output_layers_are_not_pruned_and_trained_in_their_own_stages() -> None:
    run = Run.of(PackNet, make_setting(stages=(0, 1, 0), heads=True))
    assert set(run.method.owner) == {"weight0"}
    before = snapshot(run.parameters)
    for stage, task in enumerate((0, 1, 0)):
        run.train(range(stage, stage + 1))
        after = snapshot(run.parameters)
        own, own_before = head(after, task), head(before, task)
        assert all((own[name] != own_before[name]).all() for name in own)
        assert_equal(head(after, 1 - task), head(before, 1 - task))
        assert torch.equal(after["bias0"], before["bias0"]) == (stage > 0)
        before = after


# State ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"heads": True}])
def test_stacked_learners_are_as_separate_ones(settings: dict[str, Any]) -> None:
    small_sequence.check_stacked_is_separate(PackNet, **settings)


def test_number_of_threads_changes_no_bit() -> None:
    small_sequence.check_threads_change_nothing(PackNet)


@pytest.mark.parametrize("settings", [{}, {"discrete": True}, {"heads": True}])
def test_resumed_is_as_never_stopped(settings: dict[str, Any]) -> None:
    small_sequence.check_resumed_is_as_never_stopped(PackNet, **settings)


def test_the_value_network_is_left_alone() -> None:
    run = Run.of(PackNet, make_setting())
    assert set(run.method.fixed) == set(policy_of(run.parameters))
    run.train(range(1))
    before = snapshot(run.parameters)
    run.train(range(1, 2))
    for name, value in run.parameters.items():
        if name.startswith("value"):
            assert (value != before[name]).any(dim=-1).all()

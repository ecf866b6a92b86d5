"""`ContinualExperiment`: what learners share, what they do not, what is measured, resuming."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from metarl.config import from_mapping
from metarl.continual.evaluate import evaluate_continual
from metarl.continual.experiment import ContinualExperiment
from metarl.continual.methods import METHODS
from metarl.errors import UserError
from metarl.training.trainer import Trainer

GOALS = [{"goal": [0.4, 0.4]}, {"goal": [-0.4, 0.4]}]
ALL: dict[str, list[float]] = {
    name: [0.1] if method.has_strength else [] for name, method in METHODS.items()
}


def config(methods: dict[str, list[float]], **changes: Any) -> Any:
    """Two goals, three updates each, episodes of eight steps."""
    mapping = {
        "sequence": {
            "family": "PointNavigation-v0",
            "tasks": GOALS,
            "held_out": {"goal": [0.0, 0.5]},
            "horizon": 8,
            "iterations": 3,
            "episodes": 4,
        },
        "policy": {"hidden_sizes": [8]},
        "algorithm": {
            "name": "continual_ppo",
            "methods": methods,
            "seeds": 2,
            # One learner each: sums are then in the same order whatever else is in the stack.
            "ppo": {"learning_rate": 0.01, "epochs": 2, "minibatches": 2, "tasks_per_chunk": 1},
        },
        "evaluation": {"evaluate_every": 2, "episodes": 2, "adaptation_steps": 1},
        "run": {"threads": 1, "checkpoint_every": 1},
    }
    return from_mapping(mapping, "test", {k.replace("__", "."): v for k, v in changes.items()})


def trained(methods: dict[str, list[float]], until: int = 6, **changes: Any) -> ContinualExperiment:
    experiment = ContinualExperiment.from_config(config(methods, **changes))
    experiment.start()
    for iteration in range(1, until + 1):
        experiment.iterate(iteration)
    return experiment


def row(experiment: ContinualExperiment, method: str, seed: int = 0) -> int:
    (found,) = [i for i, r in enumerate(experiment.rows) if r.method == method and r.seed == seed]
    return found


def test_a_learner_does_not_depend_on_the_others() -> None:
    every = trained(ALL)
    for method in ALL:
        alone = trained({method: ALL[method]})
        for seed in range(2):
            here, there = row(every, method, seed), row(alone, method, seed)
            for name, value in alone.learner.parameters.items():
                # Not the same bits: a batched product's last ones depend on its place in memory.
                torch.testing.assert_close(every.learner.parameters[name][here], value[there])
            found, expected = every.history["matrix"][here], alone.history["matrix"][there]
            torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("identity", ["hidden", "given", "heads"])
@pytest.mark.parametrize("method", [name for name in METHODS if METHODS[name].has_strength])
def test_without_strength_a_method_is_fine_tuning(method: str, identity: str) -> None:
    held = trained({method: [0.0]}, algorithm__identity=identity)
    free = trained({"fine_tuning": []}, algorithm__identity=identity)
    for name, value in free.learner.parameters.items():
        assert torch.equal(held.learner.parameters[name], value), name
    for name, value in free.history.items():
        assert torch.equal(held.history[name].nan_to_num(), value.nan_to_num()), name


@pytest.mark.parametrize("method", ["l2", "l2_accumulating"])
def test_a_huge_strength_freezes_the_policy_after_the_first_task(method: str) -> None:
    settings = {"algorithm__penalized": ["trunk", "head"]}
    first = trained({method: [1e30]}, until=3, **settings)
    last = trained({method: [1e30]}, until=6, **settings)
    moved = set()
    for name, value in first.learner.parameters.items():
        if not torch.equal(last.learner.parameters[name], value):
            moved.add(name.split(".")[0])
    assert moved == {"value"}
    unseen = trained({"fine_tuning": []}, until=6)
    assert not torch.equal(unseen.learner.parameters["weight0"], last.learner.parameters["weight0"])


def test_learners_of_a_seed_start_alike_and_first_differ_in_the_second_stage() -> None:
    found = trained({"fine_tuning": [], "l2": [1.0, 100.0]}, until=3)
    for name, value in found.learner.parameters.items():
        assert torch.equal(value[0], value[2]), name
        assert torch.equal(value[0], value[4]), name
        if "weight" in name:
            assert not torch.equal(value[0], value[1]), name
    found = trained({"fine_tuning": [], "l2": [1.0, 100.0]}, until=4)
    weight = found.learner.parameters["weight0"]
    assert not torch.equal(weight[0], weight[2])
    assert not torch.equal(weight[2], weight[4])


def test_from_scratch_starts_every_stage_from_the_first_parameters() -> None:
    before = ContinualExperiment.from_config(config({"from_scratch": [], "fine_tuning": []}))
    initial = before.learner.parameters
    found = trained({"from_scratch": [], "fine_tuning": []}, until=3)
    found.learner.begin_stage(1)
    for name, value in initial.items():
        assert torch.equal(found.learner.parameters[name][:2], value[:2])
    weights = found.learner.parameters["weight0"]
    assert not torch.equal(weights[2:], initial["weight0"][2:])


def test_multi_task_spreads_its_episodes_over_all_tasks() -> None:
    found = ContinualExperiment.from_config(config({"multi_task": [], "fine_tuning": []}))
    assert found._tasks_of_episodes(1).tolist() == [[0, 1, 0, 1]] * 2 + [[1, 1, 1, 1]] * 2
    with pytest.raises(UserError, match="multi_task spreads them over 2 tasks; give at least 2"):
        ContinualExperiment.from_config(config({"multi_task": []}, sequence__episodes=1))


def test_evaluations_are_where_they_are_due() -> None:
    found = trained({"fine_tuning": []}, until=4)
    assert found.moments == [0, 2, 3, 5, 6]
    history = found.history
    assert history["curve_returns"].isnan().all(dim=(0, 2)).tolist() == [False] * 3 + [True] * 2
    assert history["matrix"].isnan().all(dim=(0, 2)).tolist() == [False, False, True]
    assert torch.equal(history["matrix"][:, 1], history["curve_returns"][:, 2])
    assert history["adaptation"].shape == (2, 3, 2)
    assert history["adaptation"][:, :2].isfinite().all()
    assert history["training_returns"].isfinite().sum(dim=1).tolist() == [4, 4]


def test_evaluation_changes_nothing() -> None:
    often = trained({"ewc": [1.0], "packnet": []}, evaluation__evaluate_every=1)
    seldom = trained({"ewc": [1.0], "packnet": []}, evaluation__adaptation_steps=0)
    for name, value in seldom.learner.parameters.items():
        assert torch.equal(often.learner.parameters[name], value), name


@pytest.mark.parametrize("stop", [2, 3, 4])
def test_a_resumed_run_is_the_same_bit_for_bit(stop: int, tmp_path: Path) -> None:
    whole = trained(ALL)
    stopped = trained(ALL, until=stop)
    path = tmp_path / "state.pt"
    torch.save(stopped.state_dict(), path)
    resumed = ContinualExperiment.from_config(config(ALL))
    resumed.load_state_dict(torch.load(path, weights_only=True))
    for iteration in range(stop + 1, 7):
        resumed.iterate(iteration)
    for name, value in whole.learner.parameters.items():
        assert torch.equal(resumed.learner.parameters[name], value), name
    for name, value in whole.history.items():
        assert torch.equal(resumed.history[name].nan_to_num(), value.nan_to_num()), name
    assert resumed.environment_steps == whole.environment_steps


def test_threads_change_nothing() -> None:
    one, two = (trained({"l2": [0.1], "ewc": [1.0]}, run__threads=n) for n in (1, 2))
    for name, value in one.learner.parameters.items():
        assert torch.equal(two.learner.parameters[name], value), name


def test_a_run_folder_is_trained_evaluated_and_refuses_other_settings(tmp_path: Path) -> None:
    run = tmp_path / "run"
    methods = {"from_scratch": [], "l2": [0.1]}
    trainer = Trainer.start(config(methods, run__output=str(run)))
    trainer.train()
    record, path = evaluate_continual(run)
    assert path == run / "evaluation" / "continual.json"
    assert record.iteration == 6
    assert len(record.rows) == 4
    assert json.loads((run / "versions.json").read_text())["sequence"] == record.sequence.hash
    assert (run / "evaluation" / "matrix.png").exists()
    header = (run / "metrics.csv").read_text().splitlines()[0]
    assert "train/return/from_scratch" in header
    assert "train/return/l2/0.1" in header
    with pytest.raises(UserError, match=r"sequence.iterations cannot change .* only run.threads"):
        Trainer.resume(run, {"sequence.iterations": 5})


def meta_run(folder: Path, **changes: Any) -> Path:
    mapping = {
        "tasks": {
            "family": "PointNavigation-v0",
            "horizon": 8,
            "tasks_per_iteration": 2,
            "episodes_per_task": 2,
        },
        "policy": {"hidden_sizes": [8]},
        "algorithm": {"name": "reptile_ppo", "inner_updates": 1},
        "run": {"threads": 1, "iterations": 1, "output": str(folder)},
    }
    overrides = {k.replace("__", "."): v for k, v in changes.items()}
    Trainer.start(from_mapping(mapping, "test", overrides)).train()
    return folder


def test_a_meta_learned_start_is_for_all_but_from_scratch(tmp_path: Path) -> None:
    run = meta_run(tmp_path / "meta")
    learned = torch.load(run / "checkpoints" / "000001.pt", weights_only=True)["state"]["learner"]
    methods = {"from_scratch": [], "fine_tuning": []}
    found = trained(methods, until=0, algorithm__initial_run=str(run))
    plain = trained(methods, until=0)
    for name, value in learned["parameters"].items():
        own = found.learner.parameters[name]
        assert torch.equal(own[2], value)
        assert torch.equal(own[3], value)
        assert torch.equal(own[:2], plain.learner.parameters[name][:2])
    assert not torch.equal(found.history["matrix"][2:], plain.history["matrix"][2:])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy__hidden_sizes": [9]}, r"has weight0 of shape \[2, 9\], this policy \[2, 8\]"),
        ({"tasks__family": "PointCorner-v0"}, "was trained on PointCorner-v0, not on PointNavig"),
        ({"algorithm__name": "random", "algorithm__inner_updates": None}, "has no one set of"),
        ({"policy__normalize_observations": True}, "another policy.normalize_observations"),
    ],
)
def test_starts_that_do_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    if changes.get("algorithm__name") == "random":
        changes = {"algorithm": {"name": "random"}}
    run = meta_run(tmp_path / "meta", **changes)
    with pytest.raises(UserError, match=message):
        trained({"fine_tuning": []}, until=0, algorithm__initial_run=str(run))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"algorithm__methods": {"lt": [1.0]}}, r"algorithm.methods.lt is an unknown method"),
        ({"algorithm__methods": {"l2": []}}, r"algorithm.methods.l2 needs a list of strengths"),
        ({"algorithm__methods": {"packnet": [1.0]}}, r"methods.packnet has no strength"),
        ({"algorithm__methods": {"l2": [-1.0]}}, r"methods.l2\[0\] must be at least 0"),
        ({"algorithm__methods": {"l2": [1.0, 1.0]}}, r"methods.l2 names a strength twice"),
        ({"algorithm__methods": {}}, r"algorithm.methods must name at least one method"),
        ({"algorithm__name": "maml_trpo"}, r"algorithm.name is an unknown algorithm"),
        ({"algorithm__online_decay": 1.5}, r"online_decay must lie in \[0, 1\]"),
        ({"algorithm__penalized": ["heads"]}, r"algorithm.penalized\[0\] must be 'trunk'"),
        ({"sequence__tasks": []}, "sequence.tasks must hold at least one task"),
        ({"sequence__lenght": 3}, "sequence.lenght is not a known key"),
        ({"tasks__family": "AntVel-v0"}, "tasks is not a known key"),
    ],
)
def test_configurations_that_cannot_be(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        config({"fine_tuning": []}, **changes)

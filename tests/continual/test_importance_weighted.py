"""EWC, online EWC and MAS: what they measure and how they remember it, by hand."""

import math
from typing import Any

import pytest
import torch

from metarl.continual.importance import fisher
from metarl.continual.methods.importance_weighted import EWC, MAS, OnlineEWC
from metarl.policies import Parameters
from tests.continual.linear_problem import (
    configured,
    linear_parameters,
    linear_setting,
    numbers,
    samples,
    strengths,
)
from tests.continual.small_sequence import Run, make_setting

KINDS = (EWC, OnlineEWC, MAS)
every_kind = pytest.mark.parametrize("kind", KINDS)

# At o = 1 and 2 with t = 0 and 1; the third sample did not take place. mu = -1, 2; V = -1, 0.
DATA = samples((1.0, 0.0), (2.0, 1.0), (9.0, 9.0), weights=[1.0, 1.0, 0.0])
POLICY = {
    "fisher": {"weight0": [10.0], "bias0": [4.0], "log_std": [2.0]},
    "sensitivity": {"weight0": [5.0], "bias0": [3.0], "log_std": [0.5]},
}
VALUE = {
    "fisher": {"value.weight0": [2.5, 0.5], "value.bias0": [1.0]},
    "sensitivity": {"value.weight0": [1.0, 0.0], "value.bias0": [1.0]},
}


def approximately(values: dict[str, list[float]]) -> dict[str, Any]:
    return {name: pytest.approx(value, abs=1e-12) for name, value in values.items()}


def make(kind: Any, **settings: Any) -> Any:
    return kind(linear_setting(**settings), linear_parameters(), strengths(1.0))


# What they measure ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "measured"), [(EWC, "fisher"), (OnlineEWC, "fisher"), (MAS, "sensitivity")]
)
def test_importances_of_the_first_task_by_hand(kind: Any, measured: str) -> None:
    method = make(kind)
    assert numbers(method.importance) == {name: [0.0] for name in POLICY[measured]}
    method.end_stage(0, linear_parameters(), DATA, [])
    assert numbers(method.importance) == approximately(POLICY[measured])
    assert numbers(method.anchor) == {"weight0": [3.0], "bias0": [-4.0], "log_std": [math.log(0.5)]}
    both = make(kind, penalized=("trunk", "head", "value"))
    both.end_stage(0, linear_parameters(), DATA, [])
    assert numbers(both.importance) == approximately(POLICY[measured] | VALUE[measured])
    alone = make(kind, penalized=("value",))
    alone.end_stage(0, linear_parameters(), DATA, [])
    assert numbers(alone.importance) == approximately(VALUE[measured])


@every_kind
def test_importances_of_every_task_are_at_least_the_floor(kind: Any) -> None:
    method, plain = make(kind, importance_floor=3.5, online_decay=0.5), make(kind)
    assert all((value == 0).all() for value in method.importance.values())
    for each in (method, plain):
        each.end_stage(0, linear_parameters(), DATA, [])
    for name, value in plain.importance.items():
        assert torch.equal(method.importance[name], value.clamp(min=3.5))
    # Nothing is left to matter but the floor: log_std has its second one.
    method.end_stage(1, linear_parameters(), DATA, [])
    kept = 0.5 if kind is OnlineEWC else 1.0
    assert method.importance["log_std"].item() == pytest.approx(kept * 3.5 + 3.5)


def test_a_head_that_was_not_told_does_not_matter() -> None:
    # Head 1 of two is told in the second stage only.
    run = Run.of(EWC, make_setting(heads=True, iterations=1)).train(range(1))

    def of_heads() -> tuple[torch.Tensor, ...]:
        return run.method.importance["weight1"].unflatten(-1, (2, -1)).unbind(dim=-2)

    first, second = of_heads()
    assert (first > 0).all()
    assert (second == 0).all()
    run.train(range(1, 2))
    assert torch.equal(of_heads()[0], first)
    assert (of_heads()[1] > 0).all()


def test_methods_measure_at_the_given_parameters_and_samples() -> None:
    run = Run.of(EWC, make_setting(iterations=1), dtype=torch.float64).train(range(1))
    data, parameters = run.last_samples(1), {n: v + 0.1 for n, v in run.parameters.items()}
    before = {name: value.clone() for name, value in run.method.importance.items()}
    run.method.end_stage(1, parameters, data, [])
    policy = run.setting.policy
    added = fisher(policy, parameters, data.inputs[..., :-1], data.weights)
    for name, value in run.method.importance.items():
        torch.testing.assert_close(value, before[name] + added[name])


# How they remember ------------------------------------------------------------------------------


def remembered(kind: Any, tasks: list[tuple[float, float]], **settings: Any) -> tuple[float, float]:
    """Importance and anchor of a parameter after tasks of (value, importance)."""
    method = make(kind, **settings)
    for value, importance in tasks:
        filled = {name: torch.full_like(old, value) for name, old in method.anchor.items()}
        weights = {name: torch.full_like(old, importance) for name, old in filled.items()}
        method.remember(filled, weights)
    return method.importance["bias0"].item(), method.anchor["bias0"].item()


def test_ewc_keeps_one_quadratic_for_all_tasks() -> None:
    # 1 (x - 0)^2 + 3 (x - 4)^2 = 4 (x - 3)^2 + 12
    assert remembered(EWC, [(0.0, 1.0)]) == (1.0, 0.0)
    assert remembered(EWC, [(0.0, 1.0), (4.0, 3.0)]) == (4.0, 3.0)
    # and + 4 (x - 5)^2: 8 (x - 4)^2
    assert remembered(EWC, [(0.0, 1.0), (4.0, 3.0), (5.0, 4.0)]) == (8.0, 4.0)
    # What has never mattered follows the last task, what mattered once stays.
    assert remembered(EWC, [(1.0, 0.0), (7.0, 0.0)]) == (0.0, 7.0)
    assert remembered(EWC, [(1.0, 2.0), (7.0, 0.0)]) == (2.0, 1.0)


def test_online_ewc_fades_and_has_its_anchor_at_the_last_task() -> None:
    tasks = [(0.0, 8.0), (4.0, 3.0)]
    assert remembered(OnlineEWC, tasks, online_decay=0.5) == (7.0, 4.0)
    assert remembered(OnlineEWC, tasks, online_decay=1.0) == (11.0, 4.0)  # Continual World
    assert remembered(OnlineEWC, [*tasks, (5.0, 0.0)], online_decay=0.5) == (3.5, 5.0)


def test_mas_adds_up_and_has_its_anchor_at_the_last_task() -> None:
    assert remembered(MAS, [(0.0, 8.0), (4.0, 3.0)], online_decay=0.5) == (11.0, 4.0)


@pytest.mark.parametrize("penalty_step", ["gradient", "proximal"])
def test_merged_penalty_of_ewc_is_the_sum_of_one_for_each_task(penalty_step: str) -> None:
    # Three tasks at random parameters; their Fisher information measured apart.
    setting = configured(make_setting(), penalty_step=penalty_step)
    run = Run.of(EWC, setting, strength=0.7, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)

    def elsewhere() -> Parameters:
        return {
            name: value + 0.5 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
            for name, value in run.parameters.items()
        }

    tasks = []
    for stage in range(3):
        parameters, data = elsewhere(), run.last_samples(stage)
        run.method.end_stage(stage, parameters, data, [])
        inputs = data.inputs[..., :-1]
        tasks.append((parameters, fisher(setting.policy, parameters, inputs, data.weights)))
    here = elsewhere()
    sums = {
        name: sum(2.0 * 0.7 * weight[name] * (here[name] - at[name]) for at, weight in tasks)
        for name in run.method.anchor
    }
    merged = {
        name: 2.0 * 0.7 * run.method.importance[name] * (here[name] - anchor)
        for name, anchor in run.method.anchor.items()
    }
    for name, value in merged.items():
        torch.testing.assert_close(value, sums[name], atol=1e-10, rtol=1e-10)
        assert (value != 0).any()
    if penalty_step == "gradient":
        zeros = {name: torch.zeros_like(value) for name, value in here.items()}
        found = run.method.gradients(zeros, here, slice(0, len(run.learners)))
        for name, value in found.items():
            expected = sums.get(name, zeros[name])
            torch.testing.assert_close(value, expected, atol=1e-10, rtol=1e-10)
    else:
        # The least point of a plain step's quadratic and all penalties: its gradient is 0 there.
        leaves = {name: value.clone() for name, value in here.items()}
        optimizer = torch.optim.SGD([v.requires_grad_() for v in leaves.values()], lr=0.1)
        run.method.after_step(leaves, optimizer, slice(0, len(run.learners)))
        for name in run.method.anchor:
            there = leaves[name].detach()
            slope = (there - here[name]) / 0.1
            for at, weight in tasks:
                slope = slope + 2.0 * 0.7 * weight[name] * (there - at[name])
            torch.testing.assert_close(slope, torch.zeros_like(slope), atol=1e-9, rtol=0.0)

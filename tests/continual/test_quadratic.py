"""Quadratic penalties: fixed points and steps by hand, and what is held, in every method."""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch

from metarl.algorithms.ppo import UpdateRule
from metarl.continual.methods.importance_weighted import EWC, MAS, OnlineEWC
from metarl.continual.methods.quadratic import L2, L2Accumulating, QuadraticPenalty, step_sizes
from metarl.continual.methods.references import FineTuning
from metarl.continual.methods.synaptic_intelligence import SI
from metarl.policies import Parameters
from tests.continual import small_sequence
from tests.continual.linear_problem import (
    configured,
    linear_parameters,
    linear_setting,
    samples,
    strengths,
)
from tests.continual.small_sequence import Run, assert_equal, make_setting

METHODS = (L2, L2Accumulating, EWC, OnlineEWC, MAS, SI)
every_method = pytest.mark.parametrize("kind", METHODS)
both_steps = pytest.mark.parametrize("penalty_step", ["proximal", "gradient"])
PARTS = {
    "trunk": {"weight0", "bias0"},
    "head": {"weight1", "bias1", "log_std"},
    "value": {"value.weight0", "value.bias0", "value.weight1", "value.bias1"},
}


# Steps by hand ----------------------------------------------------------------------------------


def follow(
    rule: UpdateRule, leaves: Parameters, optimizer: torch.optim.Optimizer, slopes: Parameters
) -> None:
    """One step of the optimiser, as `StackedPPO` takes it."""
    rows = slice(0, len(next(iter(leaves.values()))))
    followed = rule.gradients(slopes, leaves, rows)
    for name, value in leaves.items():
        value.grad = followed[name].detach().clone()
    optimizer.step()
    rule.after_step(leaves, optimizer, rows)


def descend(
    rule: QuadraticPenalty, start: Parameters, kind: Any, rate: float, steps: int, target: float
) -> Parameters:
    """Follow the loss sum_i (theta_i - target)^2 / 2, whose gradient is theta - target."""
    leaves = {name: value.clone().requires_grad_() for name, value in start.items()}
    optimizer = kind(leaves.values(), lr=rate)
    for _ in range(steps):
        slopes = {name: value.detach() - target for name, value in leaves.items()}
        follow(rule, leaves, optimizer, slopes)
    return {name: value.detach() for name, value in leaves.items()}


def pulled(penalty_step: str, *strength: float) -> tuple[L2, Parameters]:
    """Held at 0, with an importance of 2."""
    setting = linear_setting(penalty_step=penalty_step, penalized=("trunk", "head", "value"))
    start = linear_parameters(len(strength))
    rule = L2(setting, start, strengths(*strength))
    rule.anchor = {name: torch.zeros_like(value) for name, value in start.items()}
    rule.importance = {name: torch.full_like(value, 2.0) for name, value in start.items()}
    return rule, start


@both_steps
@pytest.mark.parametrize(
    ("optimizer", "rate", "steps"), [(torch.optim.SGD, 0.2, 120), (torch.optim.Adam, 0.05, 1000)]
)
def test_descent_ends_where_the_penalised_loss_is_least(
    optimizer: Any, rate: float, steps: int, penalty_step: str
) -> None:
    # (x - 3)^2 / 2 + lambda 2 x^2 is least at x = 3 / (1 + 4 lambda): 3, 1 and 1/2.
    rule, start = pulled(penalty_step, 0.0, 0.5, 1.25)
    found = descend(rule, start, optimizer, rate, steps, target=3.0)
    for value in found.values():
        expected = torch.tensor([3.0, 1.0, 0.5]).double().view(-1, *[1] * (value.dim() - 1))
        torch.testing.assert_close(value, expected.expand_as(value), atol=1e-3, rtol=0.0)


def test_proximal_step_is_stable_however_strong() -> None:
    # A gradient step would leave by a factor of 1 - 2 * 0.2 * 2e9 each time.
    rule, start = pulled("proximal", 1e9)
    for value in descend(rule, start, torch.optim.SGD, 0.2, 20, target=3.0).values():
        assert value.abs().max() < 1e-8


def test_proximal_step_of_plain_descent_by_hand() -> None:
    # 3 - 0.5 * 4 = 1; then argmin (x - 1)^2 / (2 * 0.5) + 1.5 * 2 x^2: 2 (x - 1) + 6 x = 0.
    rule, start = pulled("proximal", 1.5)
    start = {name: torch.full_like(value, 3.0) for name, value in start.items()}
    for value in descend(rule, start, torch.optim.SGD, 0.5, 1, target=-1.0).values():
        torch.testing.assert_close(value, torch.full_like(value, 0.25))


def test_proximal_step_of_adam_by_hand() -> None:
    # The first step of Adam is the rate: 1 - 0.1. Its metric is |gradient| = 2, so
    # 2 * eta * lambda * w / D = 2 * 0.1 * 2.5 * 2 / 2 = 1/2, and 0.9 / 1.5 = 0.6.
    rule, start = pulled("proximal", 2.5)
    start = {name: torch.ones_like(value) for name, value in start.items()}
    for value in descend(rule, start, torch.optim.Adam, 0.1, 1, target=-1.0).values():
        torch.testing.assert_close(value, torch.full_like(value, 0.6), atol=1e-8, rtol=0.0)


@pytest.mark.parametrize(
    "make",
    [
        lambda leaf: torch.optim.SGD([leaf], lr=0.1),
        lambda leaf: torch.optim.Adam([leaf], lr=0.1, betas=(0.0, 0.9)),  # without momentum
    ],
)
def test_step_size_is_how_far_a_step_goes_per_unit_gradient(make: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    leaf = torch.randn(4, generator=generator, dtype=torch.float64).requires_grad_()
    optimizer = make(leaf)
    for _ in range(4):
        before = leaf.detach().clone()
        leaf.grad = torch.randn(4, generator=generator, dtype=torch.float64)
        optimizer.step()
        expected = before - step_sizes(optimizer, leaf) * leaf.grad
        torch.testing.assert_close(leaf.detach(), expected, atol=1e-14, rtol=0.0)


def test_gradient_step_follows_the_gradient_of_the_penalty() -> None:
    rule, start = pulled("gradient", 0.5, 0.0, 2.0)
    rule.anchor = {n: torch.linspace(-1, 1, v.numel()).view_as(v) for n, v in start.items()}
    leaves = {name: value.requires_grad_() for name, value in start.items()}
    penalty = torch.zeros(())
    for name, value in leaves.items():
        weight = strengths(0.5, 0.0, 2.0).view(-1, *[1] * (value.dim() - 1))
        penalty = penalty + (weight * 2.0 * (value - rule.anchor[name]).square()).sum()
    slopes = dict(zip(leaves, torch.autograd.grad(penalty, list(leaves.values())), strict=True))
    zeros = {name: torch.zeros_like(value) for name, value in leaves.items()}
    for rows in (slice(0, 1), slice(1, 3)):
        some = {name: value[rows] for name, value in leaves.items()}
        found = rule.gradients({n: v[rows] for n, v in zeros.items()}, some, rows)
        for name, value in found.items():
            torch.testing.assert_close(value.detach(), slopes[name][rows], check_dtype=False)


# What is held -----------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [False, True])
@pytest.mark.parametrize("penalized", [("trunk",), ("head",), ("value",), tuple(PARTS)])
@pytest.mark.parametrize("kind", [L2, EWC, MAS])
def test_what_is_penalised_stays_and_nothing_else(kind: Any, penalized: Any, heads: bool) -> None:
    # lambda = 1e30, and a floor so that everything that may be held matters.
    held = set().union(*(PARTS[part] for part in penalized))
    setting = make_setting(iterations=1, heads=heads)
    setting = configured(setting, penalized=penalized, importance_floor=1e-3)
    run = Run.of(kind, setting, strength=1e30)
    assert set(run.method.importance) == set(run.method.anchor) == held
    run.train(range(1))
    after_first = run.parameters
    run.train(range(1, 3))
    for name, value in run.parameters.items():
        assert torch.equal(value, after_first[name]) == (name in held), name


def test_without_end_whatever_matters_to_si_stays() -> None:
    setting = configured(make_setting(iterations=2), penalized=tuple(PARTS))
    run = Run.of(SI, setting, strength=1e30).train(range(1))
    after_first = run.parameters
    importance = {name: value.clone() for name, value in run.method.importance.items()}
    run.train(range(1, 2))
    for name, value in run.parameters.items():
        stayed, matters = value == after_first[name], importance[name] > 0
        assert stayed[matters].all()
        assert not stayed[~matters].any()


@every_method
def test_nothing_is_held_in_the_first_stage(kind: Any) -> None:
    setting = configured(make_setting(iterations=2), importance_floor=1.0)
    held, free = (Run.of(k, setting, strength=1e30).train(range(1)) for k in (kind, FineTuning))
    assert_equal(held.parameters, free.parameters)


@every_method
@both_steps
def test_without_strength_it_is_fine_tuning_bit_for_bit(kind: Any, penalty_step: str) -> None:
    setting = configured(make_setting(iterations=1), penalty_step=penalty_step)
    setting = replace(setting, config=replace(setting.config, importance_floor=1.0))
    run = Run.of(kind, setting, strength=0.0).train()
    assert_equal(run.parameters, Run.of(FineTuning, setting).train().parameters)
    assert all((value > 0).any() for value in run.method.importance.values())


@both_steps
def test_strength_matters(penalty_step: str) -> None:
    # So that the tests above and below compare more than learners which nothing ever holds.
    setting = configured(make_setting(iterations=2), penalty_step=penalty_step)
    weak, strong = (Run.of(L2, setting, strength=s).train(range(1)) for s in (0.1, 1.0))
    anchor = weak.parameters
    distances = []
    for run in (weak, strong):
        run.train(range(1, 2))
        squares = [(run.parameters[n] - anchor[n]).square().sum() for n in run.method.anchor]
        distances.append(float(torch.stack(squares).sum()))
    assert distances[1] < 0.95 * distances[0]


@pytest.mark.parametrize(("kind", "weights"), [(L2, [1.0, 1.0]), (L2Accumulating, [1.0, 2.0])])
def test_weights_of_l2_stay_or_grow_and_its_anchor_is_the_last(
    kind: Any, weights: list[float]
) -> None:
    parameters = linear_parameters()
    rule = kind(linear_setting(), parameters, strengths(1.0))
    assert all((value == 0).all() for value in rule.importance.values())
    for stage, weight in enumerate(weights):
        parameters = {name: value + 1.0 for name, value in parameters.items()}
        rule.end_stage(stage, parameters, samples((1.0, 0.0)), [])
        for name, anchor in rule.anchor.items():
            assert torch.equal(anchor, parameters[name])
            assert (rule.importance[name] == weight).all()


# What every method must do ----------------------------------------------------------------------


@every_method
def test_stacked_learners_are_as_separate_ones(kind: Any) -> None:
    small_sequence.check_stacked_is_separate(kind, iterations=1)


@every_method
def test_threads_change_nothing(kind: Any) -> None:
    small_sequence.check_threads_change_nothing(kind, iterations=2)


@every_method
def test_resumed_learners_go_on_bit_for_bit(kind: Any) -> None:
    small_sequence.check_resumed_is_as_never_stopped(kind)


@every_method
def test_a_state_is_a_copy_and_loads_bit_for_bit(kind: Any) -> None:
    setting = make_setting(iterations=1)
    run = Run.of(kind, setting).train(range(2))
    run.begin(2)
    run.iterate(2, 0)
    state = run.method.state_dict()
    kept = {key: {n: v.clone() for n, v in values.items()} for key, values in state.items()}
    run.end(2)
    for key, values in kept.items():
        assert_equal(state[key], values)
    fresh = kind(setting, run.parameters, torch.ones(small_sequence.LEARNERS))
    fresh.load_state_dict(state)
    for key, values in fresh.state_dict().items():
        assert_equal(values, kept[key])
        assert all(math.isfinite(float(value.sum())) for value in values.values())

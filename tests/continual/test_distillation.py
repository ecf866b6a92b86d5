"""Distillation: the divergence by hand, where it is 0, and what lambda does."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from metarl.algorithms.ppo import ActorCritic, PPOConfig, Samples, StackedPPO
from metarl.continual.config import ContinualPPOConfig
from metarl.continual.methods.distillation import Distillation
from metarl.continual.methods.method import Setting
from metarl.continual.methods.references import FineTuning
from metarl.policies import MLP, CategoricalPolicy, GaussianPolicy, Parameters, Policy
from tests.continual import small_sequence
from tests.continual.small_sequence import LEARNERS, Run, assert_equal, make_setting, start

one_torch_thread = small_sequence.one_torch_thread

# By hand ----------------------------------------------------------------------------------------


def two_state(policy: Policy, strengths: list[float]) -> tuple[Distillation, Parameters]:
    """State 0 is observed as (1, 0); the policy is linear, its parameters 0."""
    config = PPOConfig(minibatches=1, baseline="linear")
    setting = Setting(
        ActorCritic(policy, config),
        ContinualPPOConfig(methods={"distillation": (1.0,)}, ppo=config),
        (0, 1),
        1,
    )
    initial = policy.initial_parameters(np.random.default_rng(0))
    count = len(strengths)
    parameters = {n: torch.zeros(count, *v.shape).double() for n, v in initial.items()}
    return Distillation(setting, parameters, torch.tensor(strengths).double()), parameters


def state_zero(learners: int) -> Samples:
    """Two samples of state 0, and an absent one of a state that is far away."""
    inputs = torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.5], [1e3, 1e3, 0.0]]).double()
    nothing = torch.zeros(learners, 3).double()
    weights = torch.tensor([[1.0, 1.0, 0.0]] * learners).double()
    inputs = inputs.expand(learners, 3, 3)
    return Samples(inputs, nothing.unsqueeze(-1), nothing, nothing, weights, nothing)


def generators(learners: int) -> list[np.random.Generator]:
    return [np.random.default_rng(row) for row in range(learners)]


def test_divergence_of_two_choices_by_hand() -> None:
    # Before 1/2, 1/2; now 3/4, 1/4: KL = 1/2 log(2/3) + 1/2 log 2 = 1/2 log(4/3).
    method, parameters = two_state(CategoricalPolicy(MLP((2, 2))), [2.0, 0.0, 0.5])
    samples = state_zero(3)
    assert method.loss(parameters, samples, slice(0, 3)) is None  # the first stage
    method.end_stage(0, parameters, samples, generators(3))
    parameters["bias0"] += torch.tensor([math.log(3.0), 0.0])
    for rows, strength in ((slice(0, 1), 2.0), (slice(1, 2), 0.0), (slice(0, 3), 2.5)):
        some = {name: value[rows] for name, value in parameters.items()}
        loss = method.loss(some, samples[rows], rows)
        assert loss is not None
        assert loss.item() == pytest.approx(strength * 0.5 * math.log(4.0 / 3.0), abs=1e-7)


def test_divergence_of_gaussians_by_hand() -> None:
    # Before mean 0 and standard deviation 1, now 1 and 2: KL(old || new) = log 2 + 2 / 8 - 1 / 2.
    method, parameters = two_state(GaussianPolicy(MLP((2, 1))), [1.0])
    samples = state_zero(1)
    method.end_stage(0, parameters, samples, generators(1))
    parameters["weight0"][0, 0, 0] += 1.0
    parameters["log_std"] += math.log(2.0)
    loss = method.loss(parameters, samples, slice(0, 1))
    assert loss is not None
    assert loss.item() == pytest.approx(math.log(2.0) - 0.25, abs=1e-6)
    old, new = (Normal(torch.tensor(m), torch.tensor(s)) for m, s in ((0.0, 1.0), (1.0, 2.0)))
    assert loss.item() == pytest.approx(kl_divergence(old, new).item(), abs=1e-6)


@pytest.mark.parametrize("settings", [{}, {"discrete": True}, {"heads": True}])
def test_gradient_is_zero_at_the_last_policy_and_nowhere_else(settings: dict[str, Any]) -> None:
    run = Run.of(Distillation, make_setting(**settings), dtype=torch.float64)
    samples = run.last_samples(0)
    run.end(0)
    trunk = ["weight0", "bias0", "weight1", "bias1"]
    for moved in (0.0, 0.1):
        leaves = {name: value + moved for name, value in run.parameters.items()}
        leaves = {name: value.requires_grad_() for name, value in leaves.items()}
        loss = run.method.loss(leaves, samples, slice(0, LEARNERS))
        values = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        gradients = dict(zip(leaves, values, strict=True))
        largest = {name: float(value.abs().max()) for name, value in gradients.items()}
        assert all((largest[name] > 1e-3) == (moved > 0) for name in trunk)
        assert all(largest[name] < 1e-12 for name in trunk) == (moved == 0)
        assert all(value == 0 for name, value in largest.items() if name.startswith("value"))


# What is kept -----------------------------------------------------------------------------------


def test_targets_are_of_the_policy_after_the_last_stage_at_all_observations() -> None:
    run = Run.of(Distillation, make_setting())
    run.end(0)
    first = run.method.kept["mean"]
    run.iterate(1, 0)
    run.end(1)
    kept = run.method.kept
    assert set(kept) == {"inputs", "weights", "mean", "log_std"}
    assert kept["mean"].shape == (LEARNERS, 2 * first.shape[1], 2)
    expected = run.setting.policy.distribution(run.parameters, kept["inputs"][..., :-1])
    torch.testing.assert_close(kept["mean"], expected.mean)
    torch.testing.assert_close(kept["log_std"], expected.log_std.expand_as(kept["mean"]))
    assert not torch.isin(kept["mean"], first).any()


# In updates -------------------------------------------------------------------------------------


def copies(strengths: list[float], kind: Any = Distillation, **settings: Any) -> Run:
    """One learner, on the same random observations and rewards with every strength."""
    setting = make_setting(stages=(0, 1), iterations=6, **settings)
    count = len(strengths)
    own = {n: v.repeat(count, *[1] * (v.dim() - 1)) for n, v in start(setting, range(1)).items()}
    method = kind(setting, own, torch.tensor(strengths))
    return Run(setting, method, StackedPPO(setting.actor_critic, own), [0] * count)


@pytest.mark.parametrize("together", [1, 3], ids=["chunks of one", "one chunk"])
def test_without_strength_it_is_fine_tuning(together: int) -> None:
    found = copies([0.0, 1.0, 0.0], tasks_per_chunk=together).train().parameters
    plain = copies([0.0] * 3, FineTuning, tasks_per_chunk=together).train().parameters
    for row, same in ((0, True), (1, False), (2, True)):
        for name in ("weight0", "bias1", "log_std"):
            assert torch.equal(found[name][row], plain[name][row]) == same
    for name in ("value.weight0", "value.bias1"):
        assert torch.equal(found[name][[0, 2]], plain[name][[0, 2]])


def test_more_strength_keeps_the_policy_nearer() -> None:
    run = copies([0.0, 1.0, 10.0, 100.0])
    run.end(0)
    before = policies(run, run.parameters)
    for iteration in range(6):
        run.iterate(1, iteration)
    after = policies(run, run.parameters)
    away = kl_divergence(before, after).mean(dim=1)
    assert (away[1:] < away[:-1]).all()
    assert away[-1] < 0.1 * away[0]


def policies(run: Run, parameters: Parameters) -> Independent:
    """At the observations of the first learner, for all."""
    inputs: Tensor = run.method.kept["inputs"][:1, :, :-1].expand(len(run.learners), -1, -1)
    now = run.setting.policy.distribution(parameters, inputs)
    return Independent(Normal(now.mean, now.log_std.exp()), 1)


def test_stacked_learners_are_as_separate_ones() -> None:
    small_sequence.check_stacked_is_separate(Distillation)


def test_number_of_threads_changes_no_bit() -> None:
    small_sequence.check_threads_change_nothing(Distillation)


@pytest.mark.parametrize("settings", [{}, {"discrete": True}, {"heads": True}])
def test_resumed_is_as_never_stopped(settings: dict[str, Any]) -> None:
    small_sequence.check_resumed_is_as_never_stopped(Distillation, **settings)


def test_nothing_is_added_in_the_first_stage() -> None:
    setting = make_setting(stages=(0,))
    found, plain = (Run.of(kind, setting).train() for kind in (Distillation, FineTuning))
    assert_equal(found.parameters, plain.parameters)

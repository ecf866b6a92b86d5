"""Meta-SGD: the inner learning rate of every parameter is learned with the initial parameters."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from metarl.algorithms.maml import MAML
from metarl.algorithms.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.algorithms.meta_sgd import MetaSGD, MetaSGDConfig
from metarl.optimization import from_vector, to_vector
from metarl.policies import Parameters, make_policy
from metarl.sampling import ActionBoundary, Batch, Sampler
from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks
from metarl.validation import InvalidValue
from metarl.workers import Workers
from metarl_envs.point import PointNavigation
from tests.algorithms import small_problem
from tests.algorithms.small_problem import (
    TASKS,
    as_leaves,
    at,
    finite_differences,
    reference_meta_loss,
    reference_policy,
    reference_post_update,
    vector_of,
)

SETTINGS: dict[str, Any] = {"inner_learning_rate": 0.5, "tasks_per_chunk": 2, "cg_damping": 0.0}

steps, actions = small_problem.steps, small_problem.actions


make_problem = small_problem.maker(MetaSGD, MetaSGDConfig, SETTINGS)


def reference_step(learner: MAML, parameters: Parameters, gradients: Parameters) -> Parameters:
    """theta - alpha * gradient, elementwise; the rates stay."""
    return {
        name: value if name.startswith("rate.") else value - parameters["rate." + name] * gradient
        for (name, value), gradient in zip(parameters.items(), gradients.values(), strict=True)
    }


def with_different_rates(problem: tuple[MetaSGD, list[Batch], Batch]) -> Any:
    """Every rate another number, some of them negative."""
    learner = problem[0]
    generator = torch.Generator().manual_seed(4)
    for name, value in learner.parameters.items():
        if name.startswith("rate."):
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64)
            value += 0.4 * noise.to(value.device)
    return problem


# The inner step ---------------------------------------------------------------------------------


def test_every_parameter_has_rates_of_its_own_shape_that_start_alike():
    learner = make_problem(inner_learning_rate=0.25)[0]
    names = [name for name in learner.parameters if not name.startswith("rate.")]
    assert names == ["weight0", "bias0", "weight1", "bias1", "log_std"]
    assert list(learner.parameters)[5:] == ["rate." + name for name in names]
    for name in names:
        rates = learner.parameters["rate." + name]
        assert torch.equal(rates, torch.full_like(learner.parameters[name], 0.25))


def test_initial_rate_is_drawn_once_from_the_range():
    values = set()
    for seed in range(3):
        learner = make_problem(seed=seed, initial_rate_range=(0.005, 0.1))[0]
        rates = {float(v) for n, v in learner.parameters.items() if "rate" in n for v in v.ravel()}
        assert len(rates) == 1
        values |= rates
    assert len(values) == 3
    assert 0.005 <= min(values) < max(values) <= 0.1


def test_rate_of_one_number_scales_the_step_of_that_number_alone():
    learner, pre, _ = make_problem()
    policies = learner.start(learner.parameters, TASKS)
    before = learner.adapt(policies, pre[0], rate=0.5)
    learner.parameters["rate.weight0"][1, 2] *= -3.0
    after = learner.adapt(learner.start(learner.parameters, TASKS), pre[0], rate=0.5)
    step = {name: before[name] - policies[name] for name in ("weight0", "bias0", "log_std")}
    factors = torch.ones(3, 4, dtype=torch.float64)
    factors[1, 2] = -3.0
    new = after["weight0"] - learner.parameters["weight0"]
    torch.testing.assert_close(new, factors * step["weight0"])
    assert step["weight0"][:, 1, 2].abs().min() > 1e-4
    for name in ("bias0", "log_std"):
        assert torch.equal(after[name], before[name])


def test_equal_rates_adapt_as_maml():
    learner, pre, post = make_problem(inner_steps=2)
    config = MAMLTRPOConfig(**SETTINGS, inner_steps=2)
    maml = small_problem.make_problem(MAMLTRPO, config)[0]
    loss, gradient, _ = learner.meta_gradient(pre, post)
    expected_loss, expected, _ = maml.meta_gradient(pre, post)
    assert loss == pytest.approx(expected_loss, abs=1e-12)
    torch.testing.assert_close(gradient[: len(expected)], expected, atol=1e-12, rtol=0.0)
    assert gradient[len(expected) :].norm() > 0.01


# The outer step ---------------------------------------------------------------------------------


@actions
@steps
def test_meta_gradient_is_that_of_finite_differences_in_parameters_and_rates(inner_steps, discrete):
    learner, pre, post = with_different_rates(
        make_problem(discrete=discrete, inner_steps=inner_steps)
    )

    def meta_loss(vector: Tensor) -> float:
        parameters = at(learner, vector)
        return reference_meta_loss(learner, parameters, pre, post, reference_step).item()

    value, gradient, _ = learner.meta_gradient(pre, post)
    point = vector_of(learner)
    assert value == pytest.approx(meta_loss(point), abs=1e-12)
    torch.testing.assert_close(gradient, finite_differences(meta_loss, point), atol=1e-8, rtol=0.0)


@actions
@steps
def test_first_order_meta_gradient_takes_the_inner_gradient_as_constant(inner_steps, discrete):
    learner, pre, post = with_different_rates(
        make_problem(discrete=discrete, inner_steps=inner_steps, first_order=True)
    )
    leaves = as_leaves(learner.parameters)
    loss = reference_meta_loss(learner, leaves, pre, post, reference_step)
    expected = to_vector(torch.autograd.grad(loss, list(leaves.values())))
    gradient = learner.meta_gradient(pre, post)[1]
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0.0)
    assert gradient[len(gradient) // 2 :].norm() > 0.01  # the rates are learned all the same


@actions
@steps
def test_fisher_product_is_that_of_the_hessian_of_the_post_update_kl(inner_steps, discrete):
    learner, pre, post = with_different_rates(
        make_problem(tasks=2, discrete=discrete, inner_steps=inner_steps)
    )
    old = [
        reference_post_update(learner, as_leaves(learner.parameters), pre, task, reference_step)
        for task in range(2)
    ]

    def mean_kl(vector: Tensor) -> Tensor:
        parameters = from_vector(vector, learner.parameters)
        kls = []
        for task in range(2):
            new = reference_post_update(learner, parameters, pre, task, reference_step)
            policies = (
                reference_policy(each, post.observations[task]) for each in (old[task], new)
            )
            kls.append((kl_divergence(*policies) * post.weights[task]).sum() / 2)
        return torch.stack(kls).sum()

    point = vector_of(learner)
    hessian = torch.autograd.functional.hessian(mean_kl, point)
    assert isinstance(hessian, Tensor)
    rates = hessian[len(point) // 2 :, len(point) // 2 :]
    assert rates.norm() > 1e-3
    product = learner.fisher_product(pre, post)
    matrix = torch.stack([product(u) for u in torch.eye(len(point), dtype=torch.float64)], dim=1)
    torch.testing.assert_close(matrix, hessian.detach(), atol=1e-10, rtol=1e-8)


@actions
def test_outer_step_moves_the_rates_within_the_trust_region_and_reports_them(discrete):
    learner, pre, post = make_problem(discrete=discrete)
    metrics = learner.outer_step(pre, post)
    assert metrics["loss/accepted"] == 1.0
    assert metrics["loss/meta_after"] < metrics["loss/meta_before"]
    assert 0.001 < metrics["loss/kl"] <= 0.01
    rates = to_vector([v for n, v in learner.parameters.items() if n.startswith("rate.")])
    assert rates.std() > 1e-4
    assert metrics["train/inner_learning_rate"] == pytest.approx(float(rates.mean()))
    assert metrics["train/negative_rates"] == float((rates < 0).double().mean())


def test_number_of_worker_threads_changes_no_bit():
    results = []
    for threads in (1, 2, 3):
        learner, pre, post = make_problem(tasks=7, tasks_per_chunk=1, workers=Workers(threads))
        results.append((learner.outer_step(pre, post), vector_of(learner)))
    for metrics, vector in results[1:]:
        assert metrics == results[0][0]
        assert torch.equal(vector, results[0][1])


# With an environment ----------------------------------------------------------------------------


def make_sampler() -> tuple[MetaSGD, Sampler]:
    family = PointNavigation()
    family.horizon = 5
    policy = make_policy(family.observation_space, family.action_space, (4,))
    env = TaskVectorEnv(family, 2, episodes=3)
    sampler = Sampler(env, policy, ActionBoundary(family.action_space, "none"))
    sampler.begin(Tasks({"goal": [[0.4, 0.3], [-0.2, 0.4]]}), "train", 0, 0)
    return MetaSGD(policy, MetaSGDConfig(), np.random.default_rng(0)), sampler


def test_adaptation_takes_the_learned_rates():
    learner, sampler = make_sampler()
    default = list(learner.adaptation(sampler, 2))[-1].actions
    learner, sampler = make_sampler()
    for name, value in learner.parameters.items():
        if name.startswith("rate."):
            value *= 2.0
    assert not torch.equal(list(learner.adaptation(sampler, 2))[-1].actions, default)


def test_rates_of_an_evaluation_scale_the_learned_ones():
    # 0.25 is half of the inner learning rate: a step half as long, and no rate is changed.
    learner, pre, _ = with_different_rates(make_problem(inner_learning_rate=0.5))
    started = learner.start(learner.parameters, TASKS)
    whole = learner.adapt(started, pre[0], rate=0.5)
    half = learner.adapt(started, pre[0], rate=0.25)
    for name in ("weight0", "bias1", "log_std"):
        step = whole[name] - started[name]
        assert step.abs().max() > 1e-3
        torch.testing.assert_close(half[name] - started[name], 0.5 * step)
        assert torch.equal(half["rate." + name], started["rate." + name])


def test_meta_update_takes_a_step():
    learner, sampler = make_sampler()
    metrics = learner.meta_update(sampler)
    assert metrics["loss/accepted"] == 1.0
    assert metrics["train/inner_learning_rate"] != pytest.approx(0.1, abs=1e-9)


# State and settings -----------------------------------------------------------------------------


def test_state_survives_a_file_with_the_rates_bit_for_bit():
    learner, pre, post = make_problem()
    learner.outer_step(pre, post)
    file = io.BytesIO()
    torch.save(learner.state_dict(), file)
    file.seek(0)
    other = make_problem(seed=5)[0]
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(vector_of(other), vector_of(learner))
    assert other.outer_step(pre, post) == learner.outer_step(pre, post)
    assert torch.equal(vector_of(other), vector_of(learner))


@pytest.mark.parametrize("value", [(0.1,), (0.1, 0.1), (0.2, 0.1), (0.1, 0.2, 0.3)])
def test_a_range_is_two_numbers_in_order(value):
    with pytest.raises(InvalidValue, match=r"^initial_rate_range must be two numbers, the smaller"):
        MetaSGDConfig(initial_rate_range=value)


def test_a_range_is_positive():
    with pytest.raises(InvalidValue, match=r"^initial_rate_range\[0\] must be greater than 0"):
        MetaSGDConfig(initial_rate_range=(0.0, 0.1))


# GPU --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@actions
def test_cuda_outer_step_is_that_of_the_cpu(discrete):
    learner, pre, post = with_different_rates(make_problem(discrete=discrete, inner_steps=2))
    gpu = make_problem(discrete=discrete, inner_steps=2, device="cuda")[0]
    gpu.load_state_dict(learner.state_dict())
    metrics = learner.outer_step(pre, post)
    gpu_metrics = gpu.outer_step([batch.to("cuda") for batch in pre], post.to("cuda"))
    assert gpu_metrics == pytest.approx(metrics, rel=1e-7, abs=1e-9)
    torch.testing.assert_close(vector_of(gpu).cpu(), vector_of(learner), rtol=1e-7, atol=1e-9)

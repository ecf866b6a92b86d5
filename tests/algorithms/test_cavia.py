"""CAVIA: only the context vector adapts, everything else is meta-learned."""

import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import kl_divergence

from metarl.algorithms.cavia import CAVIA, CAVIAConfig
from metarl.algorithms.maml import MAML
from metarl.optimization import from_vector, to_vector
from metarl.policies import MLP, ContextPolicy, GaussianPolicy, Parameters, make_policy
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
    reference_sampling_loss,
    vector_of,
)

SETTINGS: dict[str, Any] = {"context_size": 3, "tasks_per_chunk": 2, "cg_damping": 0.0}

steps, actions = small_problem.steps, small_problem.actions


make_problem = small_problem.maker(CAVIA, CAVIAConfig, SETTINGS)


def no_context() -> Parameters:
    return {"context": torch.zeros(3, dtype=torch.float64, requires_grad=True)}


def reference_step(learner: MAML, parameters: Parameters, gradients: Parameters) -> Parameters:
    """The context vector takes a step, nothing else."""
    rate = learner.config.inner_learning_rate
    return parameters | {"context": parameters["context"] - rate * gradients["context"]}


def reference_loss(learner: CAVIA, parameters: Parameters, pre: list[Batch], post: Batch) -> Tensor:
    return reference_meta_loss(learner, parameters | no_context(), pre, post, reference_step)


# The inner step ---------------------------------------------------------------------------------


def test_context_starts_at_zero_and_is_not_meta_learned():
    learner = make_problem()[0]
    assert list(learner.parameters) == [
        *("weight0", "bias0", "weight1", "bias1", "log_std", "context_weight")
    ]
    assert learner.parameters["context_weight"].shape == (3, 4)
    started = learner.start(learner.parameters, TASKS)
    assert torch.equal(started["context"], torch.zeros(TASKS, 3, dtype=torch.float64))
    assert set(started) == {*learner.parameters, "context"}


def test_adaptation_changes_the_context_of_every_task_and_nothing_else():
    learner, pre, _ = make_problem()
    started = learner.start(learner.parameters, TASKS)
    adapted = learner.adapt_in_chunks(started, pre[0], 0.5)
    for name, value in started.items():
        assert torch.equal(adapted[name], value) == (name != "context")
    parameters = as_leaves(learner.parameters) | no_context()
    for task in range(TASKS):
        gradient = small_problem.reference_gradient(learner, parameters, pre[0], task)["context"]
        assert gradient.norm() > 1e-3
        torch.testing.assert_close(adapted["context"][task], -0.5 * gradient)


# The outer step ---------------------------------------------------------------------------------


@actions
@steps
def test_meta_gradient_is_that_of_finite_differences(inner_steps, discrete):
    learner, pre, post = make_problem(
        discrete=discrete, inner_steps=inner_steps, sampling_correction=0.3
    )

    def meta_loss(vector: Tensor) -> float:
        parameters = at(learner, vector)
        first = reference_sampling_loss(parameters, pre, post, no_context())
        return (reference_loss(learner, parameters, pre, post) + 0.3 * first).item()

    value, gradient, _ = learner.meta_gradient(pre, post)
    point = vector_of(learner)
    assert value == pytest.approx(meta_loss(point), abs=1e-12)
    torch.testing.assert_close(gradient, finite_differences(meta_loss, point), atol=1e-8, rtol=0.0)
    assert from_vector(gradient, learner.parameters)["context_weight"].norm() > 0.01


@steps
def test_first_order_meta_gradient_takes_the_inner_gradient_as_constant(inner_steps):
    learner, pre, post = make_problem(inner_steps=inner_steps, first_order=True)
    leaves = as_leaves(learner.parameters)
    loss = reference_loss(learner, leaves, pre, post)
    expected = to_vector(torch.autograd.grad(loss, list(leaves.values())))
    gradient = learner.meta_gradient(pre, post)[1]
    torch.testing.assert_close(gradient, expected, atol=1e-12, rtol=0.0)
    second_order = make_problem(inner_steps=inner_steps)[0].meta_gradient(pre, post)[1]
    assert (gradient - second_order).norm() > 0.01


@actions
def test_fisher_product_is_that_of_the_hessian_of_the_post_update_kl(discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=2)

    def adapted(parameters: Parameters, task: int) -> Parameters:
        started = parameters | no_context()
        return reference_post_update(learner, started, pre, task, reference_step)

    old = [adapted(as_leaves(learner.parameters), task) for task in range(TASKS)]

    def mean_kl(vector: Tensor) -> Tensor:
        parameters = from_vector(vector, learner.parameters)
        kls = []
        for task in range(TASKS):
            both = (old[task], adapted(parameters, task))
            policies = (reference_policy(each, post.observations[task]) for each in both)
            kls.append((kl_divergence(*policies) * post.weights[task]).sum() / TASKS)
        return torch.stack(kls).sum()

    point = vector_of(learner)
    hessian = torch.autograd.functional.hessian(mean_kl, point)
    assert isinstance(hessian, Tensor)
    product = learner.fisher_product(pre, post)
    matrix = torch.stack([product(u) for u in torch.eye(len(point), dtype=torch.float64)], dim=1)
    assert matrix.norm() > 0.1
    torch.testing.assert_close(matrix, hessian.detach(), atol=1e-10, rtol=1e-8)


@actions
@steps
def test_outer_step_lowers_the_meta_loss_within_the_trust_region(inner_steps, discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=inner_steps)
    metrics = learner.outer_step(pre, post)
    after = reference_loss(learner, as_leaves(learner.parameters), pre, post).item()
    assert metrics["loss/accepted"] == 1.0
    assert metrics["loss/meta_after"] < metrics["loss/meta_before"]
    assert metrics["loss/meta_after"] == pytest.approx(after, abs=1e-12)
    assert 0.001 < metrics["loss/kl"] <= 0.01


def test_number_of_worker_threads_changes_no_bit():
    results = []
    for threads in (1, 2, 3):
        learner, pre, post = make_problem(tasks=7, tasks_per_chunk=1, workers=Workers(threads))
        results.append((learner.outer_step(pre, post), vector_of(learner)))
    for metrics, vector in results[1:]:
        assert metrics == results[0][0]
        assert torch.equal(vector, results[0][1])


# With an environment ----------------------------------------------------------------------------


def make_sampler() -> tuple[CAVIA, Sampler]:
    family = PointNavigation()
    family.horizon = 5
    config = CAVIAConfig(context_size=3, sampling_correction=0.5)
    plain = make_policy(family.observation_space, family.action_space, (4,))
    policy = CAVIA.policy_for(plain, family, config)
    env = TaskVectorEnv(family, 2, episodes=3)
    sampler = Sampler(env, policy, ActionBoundary(family.action_space, "none"))
    sampler.begin(Tasks({"goal": [[0.4, 0.3], [-0.2, 0.4]]}), "train", 0, 0)
    return CAVIA(policy, config, np.random.default_rng(0)), sampler


def test_adaptation_starts_without_context_every_time():
    learner, sampler = make_sampler()
    assert isinstance(sampler.policy, ContextPolicy)
    first = list(learner.adaptation(sampler, 2))
    again, sampler = make_sampler()
    list(again.adaptation(sampler, 1))
    sampler.begin(Tasks({"goal": [[0.4, 0.3], [-0.2, 0.4]]}), "train", 0, 0)
    for one, other in zip(first, again.adaptation(sampler, 2, rates=[1.0]), strict=True):
        assert torch.equal(one.actions, other.actions)


def test_meta_update_takes_a_step():
    learner, sampler = make_sampler()
    before = vector_of(learner)
    metrics = learner.meta_update(sampler)
    assert metrics["loss/accepted"] == 1.0
    assert not torch.equal(vector_of(learner), before)


# State and settings -----------------------------------------------------------------------------


def test_state_survives_a_file_bit_for_bit():
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


def test_a_context_has_numbers():
    with pytest.raises(InvalidValue, match=r"^context_size must be at least 1, got 0"):
        CAVIAConfig(context_size=0)


def test_the_plain_policy_keeps_its_network():
    plain = GaussianPolicy(MLP((2, 5, 1)))
    policy = CAVIA.policy_for(plain, PointNavigation(), CAVIAConfig(context_size=7))
    assert isinstance(policy, ContextPolicy)
    assert (policy.context_size, policy.network, policy.action_size) == (7, plain.network, 1)


# GPU --------------------------------------------------------------------------------------------


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@actions
def test_cuda_outer_step_is_that_of_the_cpu(discrete):
    learner, pre, post = make_problem(discrete=discrete, inner_steps=2)
    gpu = make_problem(discrete=discrete, inner_steps=2, device="cuda")[0]
    metrics = learner.outer_step(pre, post)
    gpu_metrics = gpu.outer_step([batch.to("cuda") for batch in pre], post.to("cuda"))
    assert gpu_metrics == pytest.approx(metrics, rel=1e-7, abs=1e-9)
    torch.testing.assert_close(vector_of(gpu).cpu(), vector_of(learner), rtol=1e-7, atol=1e-9)

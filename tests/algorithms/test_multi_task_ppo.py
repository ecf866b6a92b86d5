"""PPO of one policy on many tasks."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from metarl.algorithms.multi_task_ppo import MultiTaskPPO, MultiTaskPPOConfig
from metarl.algorithms.ppo import ActorCritic, PPOConfig, StackedPPO
from metarl.algorithms.shared_ppo import SharedOptimizer, SharedPPO
from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.policies import GaussianPolicy, stack
from metarl.policies.mlp import MLP
from metarl.tasks import stream
from tests.algorithms.baselines import (
    SMALL,
    TASKS,
    adapted,
    assert_resumes,
    assert_same_episodes,
    assert_threads_change_nothing,
    begin,
    make_problem,
    train,
)

CONFIG = MultiTaskPPOConfig(training=SMALL, adaptation=SMALL)
PLAIN = replace(SMALL, optimizer="sgd", max_gradient_norm=None)
"""Plain gradient descent, in which weights can be recomputed."""


def quadratic(optimizer: SharedOptimizer, centres: torch.Tensor):
    """Losses (theta - c_i)^2."""

    def losses(chunk: slice) -> dict[str, torch.Tensor]:
        total = (optimizer.parameters["theta"] - centres[chunk]).square().sum(dim=1)
        return {"total": total, "twice": 2.0 * total}

    return losses


def test_a_shared_step_descends_the_mean_of_the_task_losses():
    config = PPOConfig(
        optimizer="sgd", learning_rate=0.5, max_gradient_norm=None, tasks_per_chunk=2
    )
    optimizer = SharedOptimizer({"theta": torch.tensor([1.0, 0.0])}, config)
    centres = torch.tensor([[0.0, 0.0], [2.0, 3.0], [4.0, 3.0]])
    found = optimizer.step(3, quadratic(optimizer, centres))
    # gradient 2 (theta - mean of the centres) = 2 ((1, 0) - (2, 2)) = (-2, -4)
    torch.testing.assert_close(optimizer.parameters["theta"].detach(), torch.tensor([2.0, 2.0]))
    assert found["total"].tolist() == [1.0, 10.0, 18.0]
    assert found["twice"].tolist() == [2.0, 20.0, 36.0]


def test_long_gradients_are_shortened_as_a_whole():
    config = PPOConfig(optimizer="sgd", learning_rate=1.0, max_gradient_norm=1.0)
    optimizer = SharedOptimizer({"theta": torch.tensor([0.0, 0.0])}, config)
    optimizer.step(1, quadratic(optimizer, torch.tensor([[30.0, 40.0]])))
    # a gradient of length 100 along -(0.6, 0.8)
    torch.testing.assert_close(optimizer.parameters["theta"].detach(), torch.tensor([0.6, 0.8]))


def make_ppo(config: PPOConfig = PLAIN):
    """Shared parameters, and what they did in three tasks."""
    learner, sampler = make_problem(MultiTaskPPOConfig(training=config, adaptation=config))
    trajectories = sampler.collect(stack(learner.parameters, TASKS))
    actor_critic = ActorCritic(learner.policy, config)
    return actor_critic, learner.parameters, trajectories


def generators(*tasks: int) -> list[np.random.Generator]:
    return [stream(0, "minibatches", 0, task) for task in tasks]


def assert_close(parameters, expected, atol=1e-6):
    for name, value in parameters.items():
        torch.testing.assert_close(value, expected[name], atol=atol, rtol=0.0)


@pytest.mark.parametrize("config", [PLAIN, SMALL], ids=["sgd", "adam"])
def test_on_one_task_it_is_plain_ppo(config):
    actor_critic, parameters, trajectories = make_ppo(config)
    shared = SharedPPO(actor_critic, parameters)
    alone = StackedPPO(actor_critic, stack(parameters, 1))
    shared.update(trajectories[:1], generators(0))
    alone.update(trajectories[:1], generators(0))
    # Adam divides by the size of a gradient, and so enlarges rounding.
    assert_close(shared.parameters, {n: v[0] for n, v in alone.parameters.items()}, 1e-4)
    assert not torch.allclose(shared.parameters["weight0"], parameters["weight0"], atol=1e-3)


def test_first_step_is_the_weighted_mean_of_the_steps_of_single_tasks():
    # One step of gradient descent on all samples: theta - lr (1/K) sum_i lambda_i grad L_i
    config = replace(PLAIN, epochs=1, minibatches=1)
    actor_critic, parameters, trajectories = make_ppo(config)
    shared = SharedPPO(actor_critic, parameters)
    alone = StackedPPO(actor_critic, stack(parameters, TASKS))
    weights = torch.tensor([0.5, 4.0, 0.0])
    shared.update(trajectories, generators(0, 1, 2), weights)
    alone.update(trajectories, generators(0, 1, 2))
    for name, value in shared.parameters.items():
        steps = alone.parameters[name] - parameters[name]
        expected = (0.5 * steps[0] + 4.0 * steps[1]) / 3.0
        torch.testing.assert_close(value - parameters[name], expected, atol=1e-6, rtol=1e-4)
    assert (shared.parameters["weight0"] - parameters["weight0"]).abs().max() > 1e-4


def test_before_the_first_step_ratios_are_one():
    config = replace(PLAIN, epochs=1, minibatches=1)
    actor_critic, parameters, trajectories = make_ppo(config)
    losses = SharedPPO(actor_critic, parameters).update(trajectories, generators(0, 1, 2))
    # Advantages have mean 0 within each task.
    torch.testing.assert_close(losses["policy"], torch.zeros(TASKS), atol=1e-6, rtol=0.0)
    torch.testing.assert_close(losses["kl"], torch.zeros(TASKS), atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("weighting", ["fixed", "uncertainty"])
def test_resume_is_bit_exact(weighting):
    assert_resumes(replace(CONFIG, weighting=weighting))


@pytest.mark.parametrize("baseline", ["network", "linear"])
def test_threads_change_no_bit(baseline):
    config = replace(SMALL, baseline=baseline)
    assert_threads_change_nothing(MultiTaskPPOConfig(training=config, adaptation=config))


def test_adaptation_is_ppo_from_the_shared_parameters():
    learner, sampler = make_problem(CONFIG)
    train(learner, sampler, 1, 1)
    found = adapted(learner, sampler, 1)
    begin(sampler, 99)
    learners = StackedPPO(ActorCritic(learner.policy, SMALL), stack(learner.parameters, TASKS))
    first = sampler.collect(learners.parameters)
    learners.update(first, sampler.generators("minibatches"))
    assert_same_episodes(found, [first, sampler.collect(learners.parameters)])


def test_log_variances_follow_the_value_error_of_their_tasks():
    learner, _ = make_problem(replace(CONFIG, weighting="uncertainty"))
    chosen = torch.tensor([0, 2])
    assert learner.weights(chosen).tolist() == [1.0, 1.0]
    # s <- s - 0.1 (1 - exp(-s) L): slopes 0.5 and -2, which counts as -1
    learner._learn_weights(chosen, {"value": torch.tensor([0.5, 3.0])})
    assert learner.log_variances.tolist() == pytest.approx([-0.05, 0.0, 0.1])
    assert learner.weights(chosen).tolist() == pytest.approx([math.exp(0.05), math.exp(-0.1)])
    for _ in range(200):
        learner._learn_weights(chosen, {"value": torch.tensor([0.5, 3.0])})
    # exp(-s) L + s is smallest at s = log L
    assert learner.log_variances.tolist() == pytest.approx([math.log(0.5), 0.0, math.log(3.0)])


def test_given_weights_are_those_of_the_chosen_training_tasks():
    learner, sampler = make_problem(replace(CONFIG, task_weights=(1.0, 2.0, 3.0, 4.0)))
    assert learner.weights(torch.tensor([0, 3])).tolist() == [1.0, 4.0]
    sampler.begin(sampler.family.sample(0, 0, TASKS), "train", 0, 1, [0, 2, 3])
    plain, other_sampler = make_problem(CONFIG)
    learner.meta_update(sampler)
    plain.meta_update(other_sampler)
    assert not torch.equal(learner.parameters["weight0"], plain.parameters["weight0"])


def mapping(algorithm: dict, **tasks: int) -> dict:
    return {
        "tasks": {"family": "PointNavigation-v0", "tasks_per_iteration": 2, **tasks},
        "algorithm": {"name": "multi_task_ppo", **algorithm},
    }


@pytest.mark.parametrize(
    ("algorithm", "tasks", "refusal"),
    [
        ({"task_weights": [1.0, 2.0]}, {}, "algorithm.task_weights needs tasks.training_tasks"),
        (
            {"task_weights": [1.0, 2.0]},
            {"training_tasks": 3},
            r"algorithm.task_weights must hold tasks.training_tasks = 3 weights, got 2$",
        ),
        ({"task_weights": [1.0, 0.0]}, {"training_tasks": 2}, r"task_weights\[1\] must be greater"),
        ({"weighting": "uncertainty"}, {}, "tasks.training_tasks must be a number of tasks"),
        (
            {"weighting": "uncertainty", "task_weights": [1.0, 2.0]},
            {"training_tasks": 2},
            "algorithm.task_weights must be null where weighting is uncertainty",
        ),
        (
            {
                "weighting": "uncertainty",
                "training": {"baseline": "linear"},
                "adaptation": {"baseline": "linear"},
            },
            {"training_tasks": 2},
            "algorithm.training.baseline must be network",
        ),
        (
            {"training": {"baseline": "linear"}},
            {},
            "algorithm.adaptation.baseline must be that of training, 'linear'",
        ),
        (
            {"training": {"value_scale": 10.0}},
            {},
            r"algorithm.adaptation.value_scale must be that of training, 10.0: .* got 1.0$",
        ),
    ],
)
def test_settings_that_do_not_fit_are_refused_in_one_line(algorithm, tasks, refusal):
    with pytest.raises(UserError, match=refusal) as error:
        from_mapping(mapping(algorithm, **tasks), "test.yaml")
    assert "\n" not in str(error.value)


def test_weights_of_every_training_task_are_accepted():
    from_mapping(mapping({"task_weights": [1.0, 2.0]}, training_tasks=2), "test.yaml")
    from_mapping(mapping({"weighting": "uncertainty"}, training_tasks=2), "test.yaml")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_cuda_is_the_cpu_to_rounding():
    config = MultiTaskPPOConfig(training=PLAIN, adaptation=PLAIN)
    policy = GaussianPolicy(MLP((2, 4, 2)))
    results = []
    for device in ("cpu", "cuda"):
        _, sampler = make_problem(config)
        learner = MultiTaskPPO(policy, config, np.random.default_rng(0), device)
        learner.meta_update(sampler)
        results.append({n: v.cpu() for n, v in learner.parameters.items()})
    assert_close(results[0], results[1], 1e-5)

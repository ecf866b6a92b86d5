"""Reptile-PPO: its step by hand, against the gradient, and bit-exact resume."""

import copy
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import Normal

from metarl.algorithms.ppo import PPOConfig, StackedPPO
from metarl.algorithms.reptile_ppo import ReptilePPO, ReptilePPOConfig
from metarl.config import Config, from_mapping
from metarl.optimization import to_vector
from metarl.policies import make_policy, stack
from metarl.sampling import ActionBoundary, Sampler, Trajectories, gae, normalize
from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks
from metarl.validation import InvalidValue
from metarl.workers import Workers
from metarl_envs.point import PointNavigation
from tests.training.test_trainer import assert_same, resume, train

TASKS = 3
PLAIN: dict[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.3,
    "epochs": 1,
    "minibatches": 1,
    "max_gradient_norm": None,
}
"""An inner update is one step of gradient descent on all samples."""


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread() -> Iterator[None]:
    """As in a run, where parallelism is over tasks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def make(
    adaptation: dict[str, Any] | None = None, workers: Workers | None = None, **settings: Any
) -> tuple[ReptilePPO, Sampler]:
    """A learner and a sampler of three tasks, four episodes of six steps each."""
    family = PointNavigation()
    family.horizon = 6
    policy = make_policy(family.observation_space, family.action_space, (4,))
    env = TaskVectorEnv(family, TASKS, episodes=4)
    sampler = Sampler(env, policy, ActionBoundary(family.action_space, "none"))
    config = ReptilePPOConfig(adaptation=PPOConfig(**(adaptation or {})), **settings)
    begin(sampler)
    return ReptilePPO(policy, config, np.random.default_rng(0), workers=workers), sampler


def begin(sampler: Sampler, iteration: int = 0) -> None:
    goals = [[0.4, 0.3], [-0.2, 0.4], [0.1, -0.5]]
    sampler.begin(Tasks({"goal": goals}), "train", 0, iteration)


def vector_of(learner: ReptilePPO) -> Tensor:
    return to_vector(learner.parameters).detach().clone()


def reference_gradient(learner: ReptilePPO, trajectories: Trajectories) -> Tensor:
    """Mean over tasks of the gradient at the shared parameters, from the definitions.

    -E[log pi(a | o) A] and half the squared error of the values, with a network of one hidden layer
    each.
    """
    own = {n: v.detach().clone().requires_grad_() for n, v in learner.parameters.items()}
    config = learner.config.adaptation
    time = (torch.arange(6) / 6).view(6, 1).expand(4, 6, 1)
    losses = []
    for task in range(TASKS):
        observations, mask = trajectories.observations[task], trajectories.mask[task]
        inputs = torch.cat([observations, time], dim=-1)
        hidden = torch.tanh(inputs @ own["value.weight0"] + own["value.bias0"])
        values = (hidden @ own["value.weight1"] + own["value.bias1"])[..., 0]
        old = values.detach()[None]
        rewards = trajectories.rewards[task][None]
        advantages = gae(rewards, old, mask[None], config.discount, config.gae_lambda)
        targets = advantages + old
        hidden = torch.tanh(observations @ own["weight0"] + own["bias0"])
        mean = hidden @ own["weight1"] + own["bias1"]
        log_prob = Normal(mean, own["log_std"].exp()).log_prob(trajectories.actions[task]).sum(-1)
        loss = -(log_prob * normalize(advantages, mask[None])[0])[mask].mean()
        loss = loss + config.value_weight * ((values - targets[0])[mask] ** 2).mean()
        losses.append(loss)
    gradients = torch.autograd.grad(torch.stack(losses).mean(), list(own.values()))
    return to_vector(dict(zip(own, gradients, strict=True)))


# The outer step ---------------------------------------------------------------------------------


def test_the_step_is_epsilon_times_the_mean_difference() -> None:
    learner, _ = make(epsilon=0.5)
    learner.parameters["bias0"].fill_(1.0)
    adapted = {n: v.clone() for n, v in stack(learner.parameters, 2).items()}
    adapted["bias0"][0], adapted["bias0"][1] = 3.0, 7.0
    before = {name: value.clone() for name, value in learner.parameters.items()}
    metrics = learner.outer_step(adapted)
    # 1 + 0.5 * ((3 - 1) + (7 - 1)) / 2 = 3
    assert learner.parameters["bias0"].tolist() == pytest.approx([3.0] * 4)
    assert metrics["loss/reptile_direction_norm"] == pytest.approx(8.0)  # four times 4
    assert metrics["loss/epsilon"] == 0.5
    for name, value in before.items():
        assert name == "bias0" or torch.equal(learner.parameters[name], value)


def test_epsilon_1_goes_to_the_mean_of_the_adapted_parameters() -> None:
    learner, _ = make(epsilon=1.0)
    generator = torch.Generator().manual_seed(0)
    adapted = {
        name: value + torch.randn(TASKS, *value.shape, generator=generator)
        for name, value in learner.parameters.items()
    }
    learner.outer_step(adapted)
    for name, value in adapted.items():
        torch.testing.assert_close(learner.parameters[name], value.mean(dim=0))


def test_adam_takes_minus_the_mean_difference_for_a_gradient() -> None:
    # Kingma & Ba 2015, algorithm 1, for gradients -2 and then -4 - (the first step)
    learner, _ = make(epsilon=0.1, outer_optimizer="adam")
    value = learner.parameters["log_std"].fill_(0.0)
    expected, first, second = 0.0, 0.0, 0.0
    for step, target in ((1, 2.0), (2, 4.0)):
        adapted = {n: v.clone() for n, v in stack(learner.parameters, 2).items()}
        adapted["log_std"].fill_(target)
        learner.outer_step(adapted)
        gradient = expected - target
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        scale = (second / (1 - 0.999**step)) ** 0.5 + 1e-8
        expected -= 0.1 * first / (1 - 0.9**step) / scale
        assert value.tolist() == pytest.approx([expected] * 2, rel=1e-5)


def test_epsilon_falls_linearly_to_zero() -> None:
    learner, _ = make(epsilon=0.8, epsilon_decay_iterations=4)
    still = {n: v.clone() for n, v in stack(learner.parameters, 2).items()}
    seen = [learner.outer_step(still)["loss/epsilon"] for _ in range(6)]
    assert seen == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0, 0.0])
    constant, _ = make(epsilon=0.8)
    assert [constant.outer_step(still)["loss/epsilon"] for _ in range(3)] == [0.8] * 3


# The meta-update --------------------------------------------------------------------------------


def test_for_one_plain_inner_step_it_is_the_mean_gradient_times_both_rates() -> None:
    learner, sampler = make(PLAIN, inner_updates=1, epsilon=0.5)
    before = vector_of(learner)
    gradient = reference_gradient(learner, sampler.collect(stack(learner.parameters, TASKS)))
    begin(sampler)
    learner.meta_update(sampler)
    assert gradient.norm() > 0.1
    torch.testing.assert_close(
        vector_of(learner), before - 0.5 * 0.3 * gradient, atol=1e-6, rtol=0.0
    )


@pytest.mark.parametrize(("updates", "epochs"), [(2, 1), (1, 2), (1, 3)])
def test_for_more_inner_steps_it_is_not_so_many_times_the_gradient(
    updates: int, epochs: int
) -> None:
    learner, sampler = make({**PLAIN, "epochs": epochs}, inner_updates=updates, epsilon=0.5)
    before = vector_of(learner)
    gradient = reference_gradient(learner, sampler.collect(stack(learner.parameters, TASKS)))
    begin(sampler)
    learner.meta_update(sampler)
    moved = vector_of(learner) - before
    expected = -0.5 * 0.3 * updates * epochs * gradient
    assert (moved - expected).norm() > 0.05 * expected.norm()
    assert torch.dot(moved, expected) > 0


def test_it_goes_to_the_mean_of_what_separate_ppo_learners_reach() -> None:
    settings: dict[str, Any] = {"learning_rate": 0.01, "epochs": 2, "minibatches": 2}
    learner, sampler = make(settings, inner_updates=2, epsilon=0.25)
    before = vector_of(learner)
    learners = StackedPPO(learner.actor_critic, stack(learner.parameters, TASKS))
    returns = []
    for _ in range(2):
        trajectories = sampler.collect(learners.parameters)
        returns.append(float(trajectories.returns.mean()))
        learners.update(trajectories, sampler.generators("minibatches"))
    mean = to_vector({name: value.mean(dim=0) for name, value in learners.parameters.items()})
    begin(sampler)
    metrics = learner.meta_update(sampler)
    torch.testing.assert_close(vector_of(learner), 0.75 * before + 0.25 * mean)
    assert metrics["train/return_pre"] == returns[0]
    assert metrics["train/return_post"] == returns[1]
    assert metrics["train/adaptation_gain"] == returns[1] - returns[0]
    assert metrics["train/failed_episodes"] == 0.0
    assert sampler.environment_steps == 2 * TASKS * 4 * 6


def test_number_of_worker_threads_changes_no_bit() -> None:
    results = []
    for threads in (1, 3):
        learner, sampler = make({"tasks_per_chunk": 1}, Workers(threads))
        results.append((learner.meta_update(sampler), vector_of(learner)))
    assert results[0][0] == results[1][0]
    assert torch.equal(results[0][1], results[1][1])


# Adaptation -------------------------------------------------------------------------------------


def test_adaptation_leaves_the_learner_as_it_is() -> None:
    learner, sampler = make({"learning_rate": 0.05}, outer_optimizer="adam", epsilon=0.01)
    learner.meta_update(sampler)
    before = copy.deepcopy(learner.state_dict())
    begin(sampler, 1)
    stages = list(learner.adaptation(sampler, 2))
    assert len(stages) == 3
    assert stages[0].mask.shape == (TASKS, 4, 6)
    torch.testing.assert_close(learner.state_dict(), before, atol=0.0, rtol=0.0)
    again, other = make({"learning_rate": 0.05}, outer_optimizer="adam", epsilon=0.01)
    again.meta_update(other)
    for one, its in ((learner, sampler), (again, other)):
        begin(its, 1)
        one.meta_update(its)
    assert torch.equal(vector_of(learner), vector_of(again))


def test_adaptation_is_ppo_from_the_shared_parameters() -> None:
    learner, sampler = make({"learning_rate": 0.05})
    stages = list(learner.adaptation(sampler, 2))
    begin(sampler)
    learners = StackedPPO(learner.actor_critic, stack(learner.parameters, TASKS))
    for step in range(3):
        expected = sampler.collect(learners.parameters)
        assert torch.equal(stages[step].actions, expected.actions)
        learners.update(expected, sampler.generators("minibatches"))


def test_rates_replace_those_of_the_settings_and_the_last_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    learner, sampler = make({"learning_rate": 0.05})
    seen: list[float] = []
    update = StackedPPO.update

    def recording(self: StackedPPO, *arguments: Any) -> Any:
        groups = [group for optimizer in self._optimizers for group in optimizer.param_groups]
        seen.extend({group["lr"] for group in groups})
        return update(self, *arguments)

    monkeypatch.setattr(StackedPPO, "update", recording)
    list(learner.adaptation(sampler, 3, (0.2, 0.1)))
    assert seen == [0.2, 0.1, 0.1]
    begin(sampler)
    list(learner.adaptation(sampler, 2))
    assert seen[3:] == [0.05, 0.05]


# State ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("outer", ["sgd", "adam"])
def test_resumed_learner_goes_on_bit_for_bit(outer: Any) -> None:
    settings: dict[str, Any] = {"outer_optimizer": outer, "epsilon": 0.1}
    settings |= {"epsilon_decay_iterations": 6}
    whole, sampler = make(**settings)
    file = io.BytesIO()
    for iteration in range(4):
        if iteration == 2:
            torch.save(whole.state_dict(), file)
        begin(sampler, iteration)
        whole.meta_update(sampler)
    file.seek(0)
    resumed, _ = make(**settings)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for iteration in (2, 3):
        begin(sampler, iteration)
        resumed.meta_update(sampler)
    assert torch.equal(vector_of(resumed), vector_of(whole))
    assert resumed.iteration == whole.iteration == 4


def tiny(**run: Any) -> Config:
    content = {
        "tasks": {"family": "PointNavigation-v0", "tasks_per_iteration": 3, "episodes_per_task": 2},
        "policy": {"hidden_sizes": [8]},
        "algorithm": {
            "name": "reptile_ppo",
            "inner_updates": 2,
            "outer_optimizer": "adam",
            "epsilon": 0.01,
            "epsilon_decay_iterations": 8,
            "adaptation": {"epochs": 2, "minibatches": 2, "tasks_per_chunk": 2},
        },
        "evaluation": {"tasks": 3, "episodes": 2, "steps": 1},
        "run": {"checkpoint_every": 2, "threads": 1, "device": "cpu", **run},
    }
    return from_mapping(content, "tiny")


def test_an_extended_run_is_as_one_that_was_long_from_the_start(tmp_path: Path) -> None:
    whole = train(tiny(iterations=4), tmp_path / "whole")
    run = train(tiny(iterations=2), tmp_path / "run")
    resume(run, run__iterations=4)
    assert_same(run, whole)
    threads = train(tiny(iterations=4, threads=2), tmp_path / "threads")
    assert_same(threads, whole)


@pytest.mark.parametrize(
    ("key", "value"), [("inner_updates", 0), ("epsilon", 0.0), ("epsilon_decay_iterations", 0)]
)
def test_impossible_settings_are_refused(key: str, value: Any) -> None:
    settings: dict[str, Any] = {key: value}
    with pytest.raises(InvalidValue, match=f"^{key} must "):
        ReptilePPOConfig(**settings)

"""Policies with a memory in rollouts: what they are given, keep, and are told."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.policies import MLP, GaussianPolicy, MemoryPolicy
from metarl.sampling import ActionBoundary, Sampler
from metarl.simulation import TaskVectorEnv, TensorFamily
from metarl.tasks import Choice, Tasks, TaskStreams
from metarl.workers import Workers


class Countdown(TensorFamily):
    """Ends after as many time steps as the task says; the reward is the time step, from 1."""

    parameters = {"steps": Choice((2.0, 4.0))}
    horizon = 4
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return torch.zeros(len(tasks["steps"]), 1, dtype=torch.float64)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + 1

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after[:, 0]

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0] >= tasks["steps"]


class SumActor:
    """Acts by its memory; remembers the sum of its rewards."""

    def __init__(self, memory: Tensor):
        self.memory = memory

    def __call__(self, observations: Tensor, noise: Tensor) -> Tensor:
        return self.memory.clone()

    def after_step(self, actions: Tensor, rewards: Tensor, active: Tensor) -> None:
        self.memory += (rewards * active).unsqueeze(-1)


class SumPolicy(GaussianPolicy, MemoryPolicy):
    memory_size = 1

    def memory_actor(self, parameters: Mapping[str, Tensor], memory: Tensor) -> SumActor:
        return SumActor(memory)


LONG_AND_SHORT = Tasks({"steps": [4.0, 2.0]})


def make(parts: list[int]) -> tuple[Sampler, dict[str, Tensor]]:
    family = Countdown()
    policy = SumPolicy(MLP((1, 1)))
    envs = [TaskVectorEnv(family, tasks, 3) for tasks in parts]
    sampler = Sampler(envs, policy, ActionBoundary(family.action_space, "none"), Workers(2))
    sampler.begin(LONG_AND_SHORT, "train", 0, 0)
    parameters = policy.initial_parameters(np.random.default_rng(0))
    return sampler, {name: value.expand(2, *value.shape) for name, value in parameters.items()}


@pytest.mark.parametrize("parts", [[2], [1, 1]], ids=["one environment", "two environments"])
def test_memory_lives_on_from_episode_to_episode_and_rests_when_one_has_ended(parts: list[int]):
    sampler, parameters = make(parts)
    memory = torch.tensor([[[0.0]] * 3, [[10.0]] * 3])
    first = sampler.collect(parameters, memory)
    # Rewards 1, 2, 3, 4 and 1, 2: the actions are the sums before each time step.
    assert first.actions[0, 0, :, 0].tolist() == [0.0, 1.0, 3.0, 6.0]
    assert first.actions[1, 0, :, 0].tolist() == [10.0, 11.0, 0.0, 0.0]
    assert memory[:, 0, 0].tolist() == [10.0, 13.0]
    second = sampler.collect(parameters, memory)
    assert second.actions[0, 2, :, 0].tolist() == [10.0, 11.0, 13.0, 16.0]
    assert memory[:, 2, 0].tolist() == [20.0, 16.0]


def test_without_a_memory_it_is_blank():
    sampler, parameters = make([2])
    assert (sampler.collect(parameters).actions[:, :, 0] == 0).all()


def test_a_policy_with_a_memory_has_no_plain_actor():
    class Plain(SumPolicy):
        actor: Any = MemoryPolicy.actor

    with pytest.raises(TypeError, match="Plain acts with a memory"):
        Plain(MLP((1, 1))).actor({})

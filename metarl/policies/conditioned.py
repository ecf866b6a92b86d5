"""A policy that is told something about its task, beside the observation."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.policies.mlp import MLP, Parameters
from metarl.policies.policy import MemoryPolicy, Policy


class ConditionedPolicy(MemoryPolicy):
    """The plain policy, its network reading the observation and M numbers more.

    Those numbers are the memory of an environment, `[K, N, M]`; nothing changes them.

    Args:
        plain: decides the kind of actions and the hidden layers.
        memory_size: M.
    """

    def __init__(self, plain: Policy, memory_size: int):
        inputs, *layers = plain.network.sizes
        self.network = MLP((inputs + memory_size, *layers), plain.network.activation)
        self.plain = copy.copy(plain)
        self.plain.network = self.network
        self.action_size = plain.action_size
        self.memory_size = memory_size

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        return self.plain.initial_parameters(generator)

    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> Any:
        """Action distributions at inputs `[..., B, O + M]`: observations, then what is told."""
        return self.plain.distribution(parameters, observations)

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        return self.plain.draw_noise(generator, shape)

    def memory_actor(self, parameters: Mapping[str, Tensor], memory: Tensor) -> "ConditionedActor":
        return ConditionedActor(self, parameters, memory)


class ConditionedActor:
    """Acts with what every environment was told, `[K, N, M]`; see `MemoryActor`."""

    def __init__(self, policy: ConditionedPolicy, parameters: Mapping[str, Tensor], memory: Tensor):
        self.memory = memory
        self._act = policy.plain.actor(parameters)

    def __call__(self, observations: Tensor, noise: Tensor) -> Tensor:
        return self._act(torch.cat([observations, self.memory], dim=-1), noise)

    def after_step(self, actions: Tensor, rewards: Tensor, active: Tensor) -> None:
        """Nothing: what is told stays the same."""

"""A policy with an output layer for each task, on hidden layers that all tasks share."""

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.policies.distributions import Categorical, Gaussian
from metarl.policies.mlp import MLP, Parameters
from metarl.policies.policy import CategoricalPolicy, GaussianPolicy, MemoryPolicy, Policy


class MultiHeadPolicy(MemoryPolicy):
    """The plain policy's hidden layers, with J output layers of which the task chooses one.

    An input `[..., O + J]` is an observation and then the task's one-hot vector. Output columns
    j * A to (j + 1) * A - 1 are task j's; a Gaussian has a standard deviation for each task,
    `log_std` `[J, A]`.

    Args:
        plain: decides the kind of actions and the hidden layers.
        heads: J.
    """

    def __init__(self, plain: Policy, heads: int):
        *layers, outputs = plain.network.sizes
        self.plain = copy.copy(plain)
        self.network = MLP((*layers, heads * outputs), plain.network.activation)
        self.action_size = plain.action_size
        self.memory_size = heads
        self.outputs = outputs
        """Outputs of one head: numbers in an action, or choices."""

    @property
    def input_size(self) -> int:
        return self.network.sizes[0] + self.memory_size

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Every head starts alike, as the plain policy's would."""
        shared = self.plain.initial_parameters(generator)
        last = len(self.network.sizes) - 2
        shared[f"weight{last}"] = shared[f"weight{last}"].repeat(1, self.memory_size)
        shared[f"bias{last}"] = shared[f"bias{last}"].repeat(self.memory_size)
        if "log_std" in shared:
            shared["log_std"] = shared["log_std"].repeat(self.memory_size, 1)
        return shared

    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> Any:
        """Action distributions at inputs `[..., B, O + J]`: observations, then the one-hot task."""
        inputs, told = observations.split([self.network.sizes[0], self.memory_size], dim=-1)
        outputs = self.network(parameters, inputs)
        chosen = (outputs.unflatten(-1, (self.memory_size, -1)) * told.unsqueeze(-1)).sum(dim=-2)
        if isinstance(self.plain, CategoricalPolicy):
            return Categorical(chosen)
        assert isinstance(self.plain, GaussianPolicy)
        log_std = parameters["log_std"].clamp(min=self.plain.min_log_std)
        return Gaussian(chosen, told @ log_std)

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        return self.plain.draw_noise(generator, shape)

    def memory_actor(self, parameters: Mapping[str, Tensor], memory: Tensor) -> "MultiHeadActor":
        return MultiHeadActor(self, parameters, memory)


class MultiHeadActor:
    """Acts with the head that every environment was told, `[K, N, J]`; see `MemoryActor`."""

    def __init__(self, policy: MultiHeadPolicy, parameters: Mapping[str, Tensor], memory: Tensor):
        self.policy, self.parameters, self.memory = policy, parameters, memory

    def __call__(self, observations: Tensor, noise: Tensor) -> Tensor:
        inputs = torch.cat([observations, self.memory], dim=-1)
        return self.policy.distribution(self.parameters, inputs).sample(noise)

    def after_step(self, actions: Tensor, rewards: Tensor, active: Tensor) -> None:
        """Nothing: the head stays the same."""

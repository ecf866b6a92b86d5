"""A policy that also reads a context vector, one for each task (Zintgraf et al. 2019, CAVIA)."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.policies.mlp import Parameters
from metarl.policies.policy import Policy

CONTEXT = "context"
"""Name of the context vector among the parameters."""


class ContextPolicy(Policy):
    """A plain policy whose first layer takes the observation and the context vector.

    Two parameters more than the plain policy's: the `context` `[C]`, 0 at the start, and its
    weights `context_weight` `[C, H]` into the first layer's H units. The input is the same in all
    of a task's time steps, so the layer's bias takes it in: `bias0 + context @ context_weight`
    equals a layer that reads the observation and the context side by side.
    """

    def __init__(self, policy: Policy, context_size: int):
        self.policy = policy
        self.context_size = context_size
        self.network = policy.network
        self.action_size = policy.action_size

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        parameters = self.policy.initial_parameters(generator)
        inputs, units = parameters["weight0"].shape
        # Glorot's limit for a layer with both inputs
        limit = math.sqrt(6.0 / (inputs + self.context_size + units))
        weight = generator.uniform(-limit, limit, (self.context_size, units))
        parameters["context_weight"] = torch.from_numpy(weight).float()
        parameters[CONTEXT] = torch.zeros(self.context_size)
        return parameters

    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> Any:
        return self.policy.distribution(self._plain(parameters), observations)

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        return self.policy.draw_noise(generator, shape)

    def actor(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        return self.policy.actor(self._plain(parameters))

    def _plain(self, parameters: Mapping[str, Tensor]) -> Parameters:
        """Parameters of the plain policy that does the same for this context."""
        product = parameters[CONTEXT].unsqueeze(-2) @ parameters["context_weight"]
        return {**parameters, "bias0": parameters["bias0"] + product.squeeze(-2)}

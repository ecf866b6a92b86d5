"""A value function: the expected return from an observation at a time step."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from metarl.policies.mlp import MLP, Parameters

PREFIX = "value."
"""Of its parameters, where they stand in one dict with a policy's."""


class ValueFunction:
    """V(o, t / T), an MLP; pure in its parameters, which may carry a task axis.

    The horizon is part of the tasks, so values depend on the time step.

    Args:
        inputs: numbers in an observation, O.
        hidden_sizes: units of each hidden layer.
        activation: `tanh` or `relu`.
    """

    def __init__(self, inputs: int, hidden_sizes: tuple[int, ...], activation: str = "tanh"):
        self.network = MLP((inputs + 1, *hidden_sizes, 1), activation)  # pyright: ignore[reportArgumentType]

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Shared initial parameters, their names starting with `value.`."""
        initial = self.network.initial_parameters(generator)
        return {PREFIX + name: value for name, value in initial.items()}

    def inputs(self, observations: Tensor) -> Tensor:
        """`[..., T, O + 1]`: observations `[..., T, O]` of whole episodes, and their t / T."""
        steps = observations.shape[-2]
        time = torch.arange(steps, dtype=observations.dtype, device=observations.device) / steps
        time = time.unsqueeze(-1).expand(*observations.shape[:-1], 1)
        return torch.cat([observations, time], dim=-1)

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Values `[K, B]` at `inputs` `[K, B, O + 1]`; other parameters in the dict are ignored."""
        own = {
            name.removeprefix(PREFIX): value
            for name, value in parameters.items()
            if name.startswith(PREFIX)
        }
        return self.network(own, inputs).squeeze(-1)

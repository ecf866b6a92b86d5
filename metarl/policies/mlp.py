"""A multi-layer perceptron as a pure function of its parameters."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

Parameters = dict[str, Tensor]
"""Named tensors; stacked parameters have a leading task axis K."""


def stack(parameters: Mapping[str, Tensor], tasks: int) -> Parameters:
    """Give shared parameters a task axis, `[...]` to `[K, ...]`, without copying them."""
    return {name: value.expand(tasks, *value.shape) for name, value in parameters.items()}


@dataclass(frozen=True)
class MLP:
    """Layers of `sizes` units, e.g. (inputs, 100, 100, outputs); the last layer is linear."""

    sizes: tuple[int, ...]
    activation: Literal["tanh", "relu"] = "tanh"

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Glorot-uniform weights `[in, out]` (Glorot & Bengio 2010, eq. 16) and zero biases."""
        parameters: Parameters = {}
        for index, (fan_in, fan_out) in enumerate(zip(self.sizes, self.sizes[1:], strict=False)):
            limit = math.sqrt(6.0 / (fan_in + fan_out))
            weight = generator.uniform(-limit, limit, (fan_in, fan_out))
            parameters[f"weight{index}"] = torch.from_numpy(weight).float()
            parameters[f"bias{index}"] = torch.zeros(fan_out)
        return parameters

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Outputs `[K, B, out]` of stacked parameters, or `[..., out]` of shared ones.

        Inputs are `[K, B, in]` or `[..., in]`.
        """
        in_place = not torch.is_grad_enabled()
        hidden = inputs
        for index in range(len(self.sizes) - 1):
            weight, bias = parameters[f"weight{index}"], parameters[f"bias{index}"]
            if weight.dim() == 3:
                hidden = torch.baddbmm(bias.unsqueeze(1), hidden, weight)
            else:
                hidden = hidden @ weight + bias
            if index < len(self.sizes) - 2:
                hidden = self._activate(hidden, in_place)
        return hidden

    def _activate(self, values: Tensor, in_place: bool) -> Tensor:
        if in_place:
            return values.tanh_() if self.activation == "tanh" else values.relu_()
        return values.tanh() if self.activation == "tanh" else values.relu()

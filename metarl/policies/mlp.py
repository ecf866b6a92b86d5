"""A multi-layer perceptron as a pure function of its parameters."""

import math
from collections.abc import Mapping, Sequence
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
        if torch.is_grad_enabled():
            return self._layers(parameters, inputs)[-1]
        return self._layers(parameters, inputs, in_place=True)[-1]

    def kronecker_factors(
        self, parameters: Parameters, inputs: Tensor, roots: Sequence[Tensor], weights: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Second moments of each layer, for `KroneckerPreconditioner`.

        Args:
            parameters: stacked, `[K, ...]`.
            inputs: `[K, B, in]`.
            roots: tensors `[K, B, out]` whose outer products add up to the Fisher matrix of the
                network's outputs.
            weights: `[K, B]`, of the samples.

        Returns A `[in + 1, in + 1]` and G `[out, out]` of each layer, float64, summed over tasks.
        """
        outputs = self._layers(parameters, inputs)
        moments = []
        for index in range(len(outputs)):
            entering = inputs if index == 0 else self._activate(outputs[index - 1])
            ones = torch.ones_like(entering[..., :1])
            moments.append(_second_moment(torch.cat([entering, ones], dim=-1), weights))
        sensitivities = [torch.zeros_like(moments[0][:1, :1])] * len(outputs)
        for root in roots:
            derivative = root
            for index in reversed(range(len(outputs))):
                moment = _second_moment(derivative, weights)
                sensitivities[index] = sensitivities[index] + moment
                if index > 0:
                    back = derivative @ parameters[f"weight{index}"].mT
                    derivative = back * self._slope(outputs[index - 1])
        return list(zip(moments, sensitivities, strict=True))

    def _layers(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, in_place: bool = False
    ) -> list[Tensor]:
        """The outputs of every layer before its activation; after it when `in_place`."""
        outputs: list[Tensor] = []
        hidden = inputs
        for index in range(len(self.sizes) - 1):
            weight, bias = parameters[f"weight{index}"], parameters[f"bias{index}"]
            if weight.dim() == 3:
                outputs.append(torch.baddbmm(bias.unsqueeze(1), hidden, weight))
            else:
                outputs.append(hidden @ weight + bias)
            if index < len(self.sizes) - 2:
                hidden = self._activate(outputs[-1], in_place)
        return outputs

    def _activate(self, values: Tensor, in_place: bool = False) -> Tensor:
        if in_place:
            return values.tanh_() if self.activation == "tanh" else values.relu_()
        return values.tanh() if self.activation == "tanh" else values.relu()

    def _slope(self, values: Tensor) -> Tensor:
        """Derivative of the activation."""
        if self.activation == "tanh":
            return 1.0 - torch.tanh(values).square()
        return (values > 0).to(values.dtype)


def _second_moment(vectors: Tensor, weights: Tensor) -> Tensor:
    """sum_kb weights_kb v_kb v_kb^T `[n, n]` float64 of vectors `[K, B, n]`."""
    flat = vectors.flatten(0, -2)
    return (flat.mT @ (flat * weights.reshape(-1, 1))).double()

"""Layers of few-shot models: pure functions of shared or of stacked parameters."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from metarl.policies import Parameters


def glorot(
    generator: np.random.Generator, shape: Sequence[int], fan_in: int, fan_out: int
) -> Tensor:
    """Glorot-uniform numbers (Glorot & Bengio 2010, eq. 16)."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return torch.from_numpy(generator.uniform(-limit, limit, tuple(shape))).float()


def linear_parameters(
    generator: np.random.Generator, name: str, fan_in: int, fan_out: int
) -> Parameters:
    """Glorot-uniform `NAME.weight` `[in, out]` and a zero `NAME.bias` `[out]`."""
    weight = glorot(generator, (fan_in, fan_out), fan_in, fan_out)
    return {f"{name}.weight": weight, f"{name}.bias": torch.zeros(fan_out)}


def linear(parameters: Mapping[str, Tensor], name: str, values: Tensor) -> Tensor:
    """`[B, n, out]` of values `[B, n, in]`, with the layer that `linear_parameters` named; its bias
    may be missing."""
    weight, bias = parameters[f"{name}.weight"], parameters.get(f"{name}.bias")
    if weight.dim() == 2:
        return values @ weight if bias is None else values @ weight + bias
    if bias is None:
        return torch.bmm(values, weight)
    return torch.baddbmm(bias.unsqueeze(1), values, weight)


def dense_parameters(
    generator: np.random.Generator, fan_in: int, sizes: Sequence[int]
) -> Parameters:
    """Of layers `dense0`, `dense1`, ... with `sizes` units."""
    parameters: Parameters = {}
    for index, (before, after) in enumerate(zip((fan_in, *sizes), sizes, strict=False)):
        parameters |= linear_parameters(generator, f"dense{index}", before, after)
    return parameters


def dense(parameters: Mapping[str, Tensor], values: Tensor, layers: int) -> Tensor:
    """Linear layers with ReLU between them; the last one is linear."""
    for index in range(layers):
        values = linear(parameters, f"dense{index}", values if index == 0 else values.relu())
    return values


def lookup(table: Tensor, tokens: Tensor) -> Tensor:
    """Rows `[B, ..., E]` of a table `[V, E]`, or of each episode's `[B, V, E]`."""
    if table.dim() == 3:
        offsets = torch.arange(len(table), device=tokens.device) * table.shape[1]
        tokens = tokens + offsets.view(-1, *[1] * (tokens.dim() - 1))
        table = table.flatten(0, 1)
    return torch.nn.functional.embedding(tokens, table)

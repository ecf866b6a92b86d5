"""Batch normalisation of each episode by itself, with derivatives of every order."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from metarl.policies import Parameters

EPSILON = 1e-5
"""Added to a variance before its root is taken."""


def normalization_parameters(name: str, channels: int, batch_norm: bool = True) -> Parameters:
    """`NAME.scale` of ones and `NAME.shift` of zeros, `[C]`; the shift alone without BatchNorm."""
    scale = {f"{name}.scale": torch.ones(channels)} if batch_norm else {}
    return {**scale, f"{name}.shift": torch.zeros(channels)}


def normalize_or_shift(
    parameters: Mapping[str, Tensor],
    name: str,
    values: Tensor,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """`normalize` where the parameters have a scale, else the shift alone; and a list of what
    normalised, empty in the second case."""
    if f"{name}.scale" not in parameters:
        return values + _rows(parameters[f"{name}.shift"]), []
    normalized, used = normalize(parameters, name, values, statistics)
    return normalized, [used]


def normalize(
    parameters: Mapping[str, Tensor],
    name: str,
    values: Tensor,
    statistics: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Batch normalisation of values `[B, r, C]`, of each episode by itself.

    Ioffe & Szegedy 2015, algorithm 1. Without `statistics` over the r rows; the variance divides by
    r, here and in the running averages (torch's divide by r - 1).

    Returns the normalised values and the mean and variance, `[B, C]`, that were used.
    """
    scale, shift = (_rows(parameters[f"{name}.{each}"]) for each in ("scale", "shift"))
    if statistics is None:
        found: Any = _Normalize.apply(values, scale, shift)
        normalized, mean, variance = found
        return normalized, (mean.squeeze(1), variance.squeeze(1))
    mean, variance = (_rows(each) for each in statistics)
    factor = scale * (variance + EPSILON).rsqrt()
    return torch.addcmul(shift, values - mean, factor), statistics


def _rows(values: Tensor) -> Tensor:
    """`[C]`, or `[B, C]` as `[B, 1, C]`: to go with `[B, r, C]`."""
    return values.unsqueeze(1) if values.dim() == 2 else values


class _Normalize(torch.autograd.Function):
    """Normalised values, mean and variance of values `[B, r, C]`, and their derivative by hand.

    What autograd makes of the same formula passes three times as often over the values, which
    costs more than the convolutions. The derivative is made of torch's operators, so that it has
    derivatives too.
    """

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, shift: Tensor) -> Any:
        if _is_one_for_torch(values):
            normalized, mean, variance = _forward_by_torch(values, scale, shift)
        else:
            mean = values.mean(dim=1, keepdim=True)
            centred = values - mean
            variance = centred.square().mean(dim=1, keepdim=True)
            factor = scale * (variance + EPSILON).rsqrt()
            normalized = centred.mul_(factor).add_(shift)
        ctx.save_for_backward(values, mean, variance, scale)
        ctx.set_materialize_grads(False)
        return normalized, mean, variance

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        values, mean, variance, scale = ctx.saved_tensors
        of_values, of_mean, of_variance = gradients
        of_statistics = of_mean is not None or of_variance is not None
        differentiable = of_statistics or torch.is_grad_enabled()
        if of_values is not None and not differentiable and _is_one_for_torch(values):
            return _backward_by_torch(of_values, values, mean, variance, scale)
        rows, centred = values.shape[1], values - mean
        # Through the statistics: d mean / dx = 1 / r, d variance / dx = 2 (x - mean) / r.
        to_mean = torch.zeros_like(mean) if of_mean is None else of_mean
        to_variance = torch.zeros_like(variance) if of_variance is None else of_variance
        if of_values is None:  # only the statistics were used
            through = torch.addcmul(to_mean / rows, centred, 2.0 * to_variance / rows)
            return through, None, None
        # y = scale * (x - mean) / std + shift
        inverse = (variance + EPSILON).rsqrt()
        factor = scale * inverse
        sums = of_values.sum(dim=1, keepdim=True)
        products = (of_values * centred).sum(dim=1, keepdim=True)
        to_mean = to_mean - factor * sums
        to_variance = to_variance - 0.5 * factor * inverse.square() * products
        through = torch.addcmul(to_mean / rows, of_values, factor)
        if torch.is_grad_enabled():
            through = torch.addcmul(through, centred, 2.0 * to_variance / rows)
        else:  # nothing will differentiate this: no further tensor as large
            through.add_(centred.mul_(2.0 * to_variance / rows))
        of_scale, of_shift = products * inverse, sums
        if scale.dim() == 1:
            of_scale, of_shift = of_scale.sum(dim=(0, 1)), of_shift.sum(dim=(0, 1))
        return through, of_scale, of_shift


def _is_one_for_torch(values: Tensor) -> bool:
    """One episode on the CPU: torch's operator, which takes all its rows as one batch, passes over
    them less often."""
    return values.device.type == "cpu" and values.shape[0] == 1


def _forward_by_torch(
    values: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    normalized, mean, inverse = torch.native_batch_norm(
        values[0], scale.flatten(), shift.flatten(), None, None, True, 0.0, EPSILON
    )
    variance = (inverse.pow(-2) - EPSILON).clamp_min(0.0)
    return normalized.unsqueeze(0), mean.view(1, 1, -1), variance.view(1, 1, -1)


def _backward_by_torch(
    gradients: Tensor, values: Tensor, mean: Tensor, variance: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    inverse = (variance + EPSILON).rsqrt().flatten()
    through, of_scale, of_shift = torch.ops.aten.native_batch_norm_backward(
        gradients[0].contiguous(),
        values[0],
        scale.flatten(),
        None,
        None,
        mean.flatten(),
        inverse,
        True,
        EPSILON,
        [True, True, True],
    )
    return through.unsqueeze(0), of_scale.view(scale.shape), of_shift.view(scale.shape)

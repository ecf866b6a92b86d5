"""Returns and advantages of `[K, N, T]` episodes."""

import torch
from torch import Tensor


def discounted_returns(rewards: Tensor, mask: Tensor, discount: float) -> Tensor:
    """R_t = r_t + discount * R_{t+1}, zero where the mask is False; all `[K, N, T]`."""
    return _discounted_sums(rewards * mask, discount)


def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, discount: float, gae_lambda: float
) -> Tensor:
    """Generalised advantage estimates `[K, N, T]` (Schulman et al. 2016, eq. 16).

    delta_t = r_t + discount * V_{t+1} - V_t; A_t = delta_t + discount * lambda * A_{t+1}. V is 0
    after the last step of an episode, also at the horizon, which is part of the tasks here: values
    know the time step.
    """
    values = values * mask
    next_values = torch.zeros_like(values)
    next_values[..., :-1] = values[..., 1:]
    deltas = (rewards * mask + discount * next_values - values) * mask
    return _discounted_sums(deltas, discount * gae_lambda)


def normalize(advantages: Tensor, mask: Tensor) -> Tensor:
    """Advantages with mean 0 and standard deviation 1 within each task, 0 where masked."""
    count = mask.sum(dim=(1, 2), keepdim=True).clamp(min=1)
    mean = (advantages * mask).sum(dim=(1, 2), keepdim=True) / count
    centered = (advantages - mean) * mask
    std = (centered.square().sum(dim=(1, 2), keepdim=True) / count).sqrt()
    return centered / (std + 1e-8)


def _discounted_sums(values: Tensor, discount: float) -> Tensor:
    """sum_{s >= t} discount^(s - t) values_s for every t: one product instead of T small steps."""
    times = torch.arange(values.shape[-1], device=values.device)
    ahead = times.unsqueeze(1) - times
    powers = torch.where(ahead >= 0, discount ** ahead.clamp(min=0).to(values.dtype), 0.0)
    return values @ powers

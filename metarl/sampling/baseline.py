"""The linear feature baseline of the field, fitted to each task by itself."""

import torch
from torch import Tensor

RIDGE = 1e-5
"""Added to the diagonal of the normal equations; ten times more after each failed solution."""
MAX_TRIES = 5


class LinearFeatureBaseline:
    """V(s, t) = w . [clip(o), clip(o)^2, t/100, (t/100)^2, (t/100)^3, 1], clipped to [-10, 10].

    Least squares for each task with a small ridge, in float64: float32 normal equations lose the
    solution (Duan et al. 2016, "Benchmarking Deep RL", section 4; rllab's LinearFeatureBaseline).
    """

    @staticmethod
    def features(observations: Tensor) -> Tensor:
        """Features `[K, N, T, 2 O + 4]` float64 of observations `[K, N, T, O]`."""
        tasks, episodes, steps, size = observations.shape
        time = torch.arange(steps, dtype=torch.float64, device=observations.device) / 100.0
        powers = torch.stack([time, time**2, time**3, torch.ones_like(time)], dim=-1)
        features = powers.new_empty(tasks, episodes, steps, 2 * size + 4)
        features[..., :size] = observations.clamp(-10.0, 10.0)
        torch.square(features[..., :size], out=features[..., size : 2 * size])
        features[..., 2 * size :] = powers
        return features

    def fit_predict(self, observations: Tensor, returns: Tensor, mask: Tensor) -> Tensor:
        """Values `[K, N, T]` float64 of a fit to the discounted returns `[K, N, T]` where masked.

        Raises FloatingPointError when no ridge gives a finite solution.
        """
        features = self.features(observations)
        if not mask.all():
            features *= mask.unsqueeze(-1)
        rows = features.flatten(1, 2)
        gram = rows.mT @ rows
        moment = rows.mT @ (returns.double() * mask).flatten(1).unsqueeze(-1)
        weights = _solve(gram, moment)
        return (rows @ weights).view(returns.shape)


def _solve(gram: Tensor, moment: Tensor) -> Tensor:
    """(gram + ridge I)^-1 moment for each task, `[K, F, 1]`."""
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    ridge = torch.full((len(gram), 1, 1), RIDGE, dtype=gram.dtype, device=gram.device)
    weights = torch.full_like(moment, torch.nan)
    for _ in range(MAX_TRIES):
        factor, info = torch.linalg.cholesky_ex(gram + ridge * identity)
        weights = torch.cholesky_solve(moment, factor)
        bad = (info != 0) | ~torch.isfinite(weights).flatten(1).all(dim=1)
        if not bad.any():
            return weights
        ridge = torch.where(bad[:, None, None], ridge * 10.0, ridge)
    raise FloatingPointError("the baseline's normal equations have no finite solution")

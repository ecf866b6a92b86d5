"""Action distributions: log-probability, KL divergence, Fisher information.

Everything is summed, never averaged, over action dimensions: a trust region of 0.01 means 0.01 for
any number of actuators.
"""

import math
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor

_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class Distribution(Protocol):
    """A batch of action distributions; its tensors are the distribution's own parameters."""

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability (density) of actions `[..., B, A]`, summed over A: `[..., B]`."""
        ...

    def kl_from(self, old: Self) -> Tensor:
        """KL(old || self) for each observation, `[..., B]`."""
        ...

    def entropy(self) -> Tensor:
        """Entropy in nats for each observation, `[..., B]`."""
        ...

    def fisher_product(self, tangent: Self, weights: Tensor) -> Self:
        """F v, with F the Fisher information in the distribution's own parameters.

        F is the Hessian of sum_b weights_b KL(old_b || new_b) in `new` at new = old (Schulman et
        al. 2015, appendix C); `weights` is `[..., B]`.
        """
        ...

    def sample(self, noise: Tensor) -> Tensor:
        """Actions `[..., B, A]` of the noise that the policy's `draw_noise` gives."""
        ...

    def detach(self) -> Self:
        """The same distributions, cut from the graph."""
        ...


class Gaussian(NamedTuple):
    """Diagonal Gaussians: `mean` `[..., B, A]`, `log_std` `[..., 1, A]` for all observations."""

    mean: Tensor
    log_std: Tensor

    def log_prob(self, actions: Tensor) -> Tensor:
        # sum_a -(a - mu)^2 / (2 sigma^2) - log sigma - log(2 pi) / 2
        standardized = (actions - self.mean) * torch.exp(-self.log_std)
        constant = (self.log_std + _HALF_LOG_TWO_PI).sum(dim=-1)
        return -0.5 * standardized.square().sum(dim=-1) - constant

    def kl_from(self, old: "Gaussian") -> Tensor:
        # sum_a log(s/s0) + (s0^2 + (mu0 - mu)^2) / (2 s^2) - 1/2
        variance = torch.exp(2.0 * self.log_std)
        old_variance = torch.exp(2.0 * old.log_std)
        quadratic = (old_variance + (old.mean - self.mean).square()) / (2.0 * variance)
        return (self.log_std - old.log_std + quadratic - 0.5).sum(dim=-1)

    def entropy(self) -> Tensor:
        per_dimension = self.log_std + 0.5 + _HALF_LOG_TWO_PI
        return per_dimension.sum(dim=-1).expand(self.mean.shape[:-1])

    def fisher_product(self, tangent: "Gaussian", weights: Tensor) -> "Gaussian":
        # F = 1 / sigma^2 for the mean and 2 for log sigma, which all observations share.
        mean = tangent.mean * torch.exp(-2.0 * self.log_std) * weights.unsqueeze(-1)
        total = weights.sum(dim=-1)[..., None, None]
        return Gaussian(mean, 2.0 * total * tangent.log_std)

    def sample(self, noise: Tensor) -> Tensor:
        return torch.addcmul(self.mean, self.log_std.exp(), noise)

    def detach(self) -> "Gaussian":
        return Gaussian(self.mean.detach(), self.log_std.detach())


class Categorical(NamedTuple):
    """Categorical distributions given by unnormalised `logits` `[..., B, C]`."""

    logits: Tensor

    def log_prob(self, actions: Tensor) -> Tensor:
        """Log-probability of action indices `[..., B, 1]`: `[..., B]`."""
        return self.logits.log_softmax(dim=-1).gather(-1, actions.long()).squeeze(-1)

    def kl_from(self, old: "Categorical") -> Tensor:
        # sum_c p0 (log p0 - log p)
        old_log, new_log = old.logits.log_softmax(dim=-1), self.logits.log_softmax(dim=-1)
        return (old_log.exp() * (old_log - new_log)).sum(dim=-1)

    def entropy(self) -> Tensor:
        log_probabilities = self.logits.log_softmax(dim=-1)
        return -(log_probabilities.exp() * log_probabilities).sum(dim=-1)

    def fisher_product(self, tangent: "Categorical", weights: Tensor) -> "Categorical":
        # F = diag(p) - p p^T
        probabilities = self.logits.softmax(dim=-1)
        expectation = (probabilities * tangent.logits).sum(dim=-1, keepdim=True)
        product = probabilities * (tangent.logits - expectation)
        return Categorical(product * weights.unsqueeze(-1))

    def sample(self, noise: Tensor) -> Tensor:
        # Inverse of the cumulative distribution: how many classes end at or below u.
        edges = self.logits.softmax(dim=-1).cumsum(dim=-1)[..., :-1]
        return (noise >= edges).sum(dim=-1, keepdim=True)

    def detach(self) -> "Categorical":
        return Categorical(self.logits.detach())

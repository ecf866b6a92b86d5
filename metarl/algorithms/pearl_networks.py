"""What PEARL learns beside its policy: the posterior over a task's latent variable, twin Q values.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables", section 4.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from metarl.policies import MLP, Parameters

MIN_VARIANCE = 1e-7
"""Floor of the variance that one transition claims, as in the authors' code."""


class Posterior(NamedTuple):
    """q(z | c), a product of Gaussians, one for each transition of the context c (section 4.1).

    Natural parameters add up in a product: `precision` is the sum of 1 / var and `weighted_mean`
    that of mean / var, `[..., L]` each. Without a transition both are 0 and z has its prior
    N(0, 1).
    """

    precision: Tensor
    weighted_mean: Tensor

    @classmethod
    def empty(cls, *shape: int) -> "Posterior":
        """The posterior of an empty context, which is the prior; `shape` `[..., L]`."""
        return cls(torch.zeros(shape), torch.zeros(shape))

    def times(self, other: "Posterior") -> "Posterior":
        """The posterior of both contexts together."""
        return Posterior(self.precision + other.precision, self.weighted_mean + other.weighted_mean)

    @property
    def variance(self) -> Tensor:
        """`[..., L]`"""
        return 1.0 / torch.where(self.precision > 0, self.precision, 1.0)

    @property
    def mean(self) -> Tensor:
        """`[..., L]`"""
        return self.weighted_mean * self.variance

    def sample(self, noise: Tensor) -> Tensor:
        """z `[..., L]`, differentiable, of standard normal `noise`."""
        return self.mean + self.variance.sqrt() * noise

    def kl_to_prior(self) -> Tensor:
        """KL(q || N(0, 1)), summed over the latent dimensions, `[...]`."""
        # 1/2 sum (var + mean^2 - 1 - log var)
        mean, variance = self.mean, self.variance
        return 0.5 * (variance + mean.square() - 1.0 - variance.log()).sum(dim=-1)


class ContextEncoder:
    """The Gaussian over z that one transition (observation, action, reward) stands for.

    Args:
        inputs: numbers in (o, a, r), O + A + 1.
        latent_size: L.
        hidden_sizes: units of each hidden layer.
    """

    def __init__(self, inputs: int, latent_size: int, hidden_sizes: tuple[int, ...]):
        self.network = MLP((inputs, *hidden_sizes, 2 * latent_size), "relu")

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Shared initial parameters."""
        return self.network.initial_parameters(generator)

    def posterior(
        self, parameters: Mapping[str, Tensor], context: Tensor, mask: Tensor | None = None
    ) -> Posterior:
        """q(z | c) `[..., L]` of contexts `[..., C, O + A + 1]`, in whatever order they come.

        `mask` `[..., C]` bool says which transitions there are; None: all.
        """
        mean, spread = self.network(parameters, context).chunk(2, dim=-1)
        precision = 1.0 / softplus(spread).clamp(min=MIN_VARIANCE)
        if mask is not None:
            precision = precision * mask.unsqueeze(-1)
        return Posterior(precision.sum(dim=-2), (precision * mean).sum(dim=-2))


class TwinQ:
    """Two functions Q(o, a, z) side by side: parameters `[2, ...]`.

    Args:
        inputs: numbers in (o, a, z), O + A + L.
        hidden_sizes: units of each hidden layer.
        activation: `tanh` or `relu`.
    """

    def __init__(self, inputs: int, hidden_sizes: tuple[int, ...], activation: str):
        self.network = MLP((inputs, *hidden_sizes, 1), activation)  # pyright: ignore[reportArgumentType]

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Initial parameters `[2, ...]`, drawn one function after the other."""
        pair = [self.network.initial_parameters(generator) for _ in range(2)]
        return {name: torch.stack([one[name] for one in pair]) for name in pair[0]}

    def __call__(self, parameters: Mapping[str, Tensor], inputs: Tensor) -> Tensor:
        """Values `[2, B]` at inputs `[B, O + A + L]`."""
        return self.network(parameters, inputs.expand(2, *inputs.shape)).squeeze(-1)

"""A tanh-Gaussian policy that is told a latent variable, the memory of its environment."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from metarl.policies.mlp import MLP, Parameters
from metarl.policies.policy import MemoryPolicy

LOG_STD_RANGE = (-20.0, 2.0)
"""Where the log standard deviation is kept, as in the SAC authors' code."""
_HALF_LOG_TWO_PI = 0.5 * math.log(2.0 * math.pi)


class TanhGaussian(NamedTuple):
    """Actions tanh(u) with u ~ N(mean, std^2): `mean` and `log_std` `[..., B, A]`.

    Haarnoja et al. 2018, "Soft Actor-Critic", appendix C.
    """

    mean: Tensor
    log_std: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Actions `[..., B, A]` in (-1, 1), differentiable, of standard normal `noise`."""
        return torch.tanh(torch.addcmul(self.mean, self.log_std.exp(), noise))

    def sample_with_log_prob(self, noise: Tensor) -> tuple[Tensor, Tensor]:
        """Actions `[..., B, A]` and their log-densities `[..., B]`, summed over A."""
        before_tanh = torch.addcmul(self.mean, self.log_std.exp(), noise)
        # log p(a) = log N(u) - sum log(1 - tanh(u)^2), whose last term is
        # 2 (log 2 - u - softplus(-2 u)): exact where tanh(u) rounds to 1.
        gaussian = -0.5 * noise.square() - self.log_std - _HALF_LOG_TWO_PI
        squashing = 2.0 * (math.log(2.0) - before_tanh - softplus(-2.0 * before_tanh))
        return torch.tanh(before_tanh), (gaussian - squashing).sum(dim=-1)


class LatentPolicy(MemoryPolicy):
    """pi(a | o, z): a tanh-Gaussian whose mean and standard deviation an MLP computes from both.

    The memory of an environment, `[K, N, L]`, is its latent variable z; nothing changes it during
    an episode. The optional parameter `noise_scale` `[K]` multiplies the noise of rollouts: with 0
    the policy takes tanh(mean).

    Args:
        observation_size: O.
        action_size: A; every action lies in (-1, 1).
        latent_size: L.
        hidden_sizes: units of each hidden layer.
        activation: `tanh` or `relu`.
    """

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        latent_size: int,
        hidden_sizes: tuple[int, ...],
        activation: str = "relu",
    ):
        sizes = (observation_size + latent_size, *hidden_sizes, 2 * action_size)
        self.network = MLP(sizes, activation)  # pyright: ignore[reportArgumentType]
        self.observation_size = observation_size
        self.action_size = action_size
        self.memory_size = latent_size

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        return self.network.initial_parameters(generator)

    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> TanhGaussian:
        """Action distributions at inputs `[..., B, O + L]`: observations, then latents."""
        mean, log_std = self.network(parameters, observations).chunk(2, dim=-1)
        return TanhGaussian(mean, log_std.clamp(*LOG_STD_RANGE))

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    def memory_actor(self, parameters: Mapping[str, Tensor], memory: Tensor) -> "_LatentActor":
        return _LatentActor(self, parameters, memory)


class _LatentActor:
    """Acts with one latent variable per environment, `[K, N, L]`."""

    def __init__(self, policy: LatentPolicy, parameters: Mapping[str, Tensor], latents: Tensor):
        self.policy, self.parameters, self.latents = policy, parameters, latents
        self.noise_scale = parameters.get("noise_scale")

    def __call__(self, observations: Tensor, noise: Tensor) -> Tensor:
        inputs = torch.cat([observations, self.latents], dim=-1)
        if self.noise_scale is not None:
            noise = noise * self.noise_scale[:, None, None]
        return self.policy.distribution(self.parameters, inputs).sample(noise)

    def after_step(self, actions: Tensor, rewards: Tensor, active: Tensor) -> None:
        """Nothing: what an episode tells, the learner reads from its trajectory."""

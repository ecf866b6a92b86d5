"""Gaussian and categorical policies over an MLP."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.policies.distributions import Categorical, Gaussian
from metarl.policies.mlp import MLP, Parameters


class Policy(ABC):
    """Maps parameters and observations to action distributions; holds no parameters itself.

    With stacked parameters `[K, ...]` and observations `[K, B, O]` every task has a policy of its
    own.
    """

    network: MLP
    action_size: int
    """Numbers that describe one action, A."""

    @property
    def input_size(self) -> int:
        """Numbers that `distribution` wants at every time step: O, and what else it is told."""
        return self.network.sizes[0]

    @abstractmethod
    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Shared (not stacked) initial parameters."""

    @abstractmethod
    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> Any:
        """Action distributions at observations `[K, B, O]` (or `[B, O]`)."""

    @abstractmethod
    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        """The random numbers that `act` needs for actions of this shape `[..., A]`, float32."""

    @abstractmethod
    def actor(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """(observations `[K, B, O]`, noise `[K, B, A]`) -> actions `[K, B, A]`.

        For many calls with the same parameters: what depends on them alone is computed once.
        """

    def act(self, parameters: Mapping[str, Tensor], observations: Tensor, noise: Tensor) -> Tensor:
        """Actions `[K, B, A]` drawn with the given noise."""
        return self.actor(parameters)(observations, noise)


class MemoryActor(Protocol):
    """Acts for K * N environments whose memories, `[K, N, M]`, it reads and changes in place."""

    def __call__(self, observations: Tensor, noise: Tensor) -> Tensor:
        """Actions `[K, N, A]` at observations `[K, N, O]` with noise `[K, N, A]`."""
        ...

    def after_step(self, actions: Tensor, rewards: Tensor, active: Tensor) -> None:
        """Remember a time step: actions `[K, N, A]`, rewards `[K, N]`, and which took place."""
        ...


class MemoryPolicy(Policy):
    """A policy that knows more than the observation: what it was told, or what went before.

    Every environment has a memory of its own, `[K, N, M]`, that outlives an episode: rollouts get
    it from the learner (`Sampler.collect`) and leave in it what the next episode is to start from.
    """

    memory_size: int
    """Numbers in the memory of one environment, M."""

    @abstractmethod
    def memory_actor(self, parameters: Mapping[str, Tensor], memory: Tensor) -> MemoryActor:
        """Acts in one episode of each environment, with stacked parameters `[K, ...]`."""

    def actor(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        raise TypeError(f"{type(self).__name__} acts with a memory: use memory_actor")


class GaussianPolicy(Policy):
    """Diagonal Gaussian with a learned, state-independent log standard deviation.

    The parameter `log_std` `[A]` is kept at or above log(`min_std`) where it is used, as in the
    MAML authors' code.
    """

    def __init__(self, network: MLP, initial_std: float = 1.0, min_std: float = 1e-6):
        self.network = network
        self.action_size = network.sizes[-1]
        self.initial_std = initial_std
        self.min_log_std = math.log(min_std)

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        parameters = self.network.initial_parameters(generator)
        parameters["log_std"] = torch.full((self.action_size,), math.log(self.initial_std))
        return parameters

    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> Gaussian:
        log_std = parameters["log_std"].clamp(min=self.min_log_std).unsqueeze(-2)
        return Gaussian(self.network(parameters, observations), log_std)

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    def actor(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        std = parameters["log_std"].clamp(min=self.min_log_std).exp().unsqueeze(-2)

        def act(observations: Tensor, noise: Tensor) -> Tensor:
            return torch.addcmul(self.network(parameters, observations), std, noise)

        return act


class CategoricalPolicy(Policy):
    """Softmax over the network's outputs; an action is one index, `[..., 1]` int64."""

    action_size = 1

    def __init__(self, network: MLP):
        self.network = network

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        return self.network.initial_parameters(generator)

    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> Categorical:
        return Categorical(self.network(parameters, observations))

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(generator.random(shape, dtype=np.float32))

    def actor(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        def act(observations: Tensor, noise: Tensor) -> Tensor:
            return self.distribution(parameters, observations).sample(noise)

        return act


def make_policy(
    observation_space: gymnasium.Space,
    action_space: gymnasium.Space,
    hidden_sizes: tuple[int, ...],
    activation: Any = "tanh",
    initial_std: float = 1.0,
    min_std: float = 1e-6,
) -> Policy:
    """The policy that fits the spaces: Gaussian for boxes, categorical for discrete actions."""
    inputs = observation_size(observation_space)
    if isinstance(action_space, gymnasium.spaces.Discrete):
        network = MLP((inputs, *hidden_sizes, int(action_space.n)), activation)
        return CategoricalPolicy(network)
    if isinstance(action_space, gymnasium.spaces.Box) and len(action_space.shape) == 1:
        network = MLP((inputs, *hidden_sizes, action_space.shape[0]), activation)
        return GaussianPolicy(network, initial_std, min_std)
    raise UserError(f"no policy for the action space {action_space}; use a flat Box or Discrete")


def observation_size(space: gymnasium.Space) -> int:
    """Inputs of a policy network for an observation space, O."""
    if isinstance(space, gymnasium.spaces.Box) and len(space.shape) == 1:
        return space.shape[0]
    raise UserError(f"no policy for the observation space {space}; use a flat Box")

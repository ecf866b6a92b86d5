"""A policy with a recurrent memory: what it did in a task so far decides what it does next.

RL^2 (Duan et al. 2016, section 2.2; Wang et al. 2016): a gated recurrent unit reads the
observation, the previous action, the previous reward and whether an episode has ended, and keeps
its hidden state from one episode to the next.
"""

import copy
import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot, pad

from metarl.policies.distributions import Distribution
from metarl.policies.mlp import MLP, Parameters
from metarl.policies.policy import CategoricalPolicy, MemoryPolicy, Policy

PREFIX = "gru."
"""Of the recurrent unit's parameters, where they stand in one dict with the action head's."""

ALIGNMENT = 4
"""Numbers in 16 bytes."""


class GRU:
    """A gated recurrent unit (Cho et al. 2014), pure in its parameters.

    r = sigmoid(x Wr + ar + h Ur + br), z = sigmoid(x Wz + az + h Uz + bz),
    n = tanh(x Wn + an + r (h Un + bn)), h' = (1 - z) n + z h: the form of `torch.nn.GRU`.

    Args:
        inputs: numbers read in a time step, I.
        hidden_size: numbers in the hidden state, H.
    """

    def __init__(self, inputs: int, hidden_size: int):
        self.inputs = inputs
        self.hidden_size = hidden_size

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """`gru.weight_input` [I, 3 H], `gru.weight_hidden` [H, 3 H] and their biases [3 H].

        Hidden weights orthogonal (Saxe et al. 2014), the others Glorot-uniform, biases zero.
        """
        size = self.hidden_size
        limit = math.sqrt(6.0 / (self.inputs + size))
        weight_input = generator.uniform(-limit, limit, (self.inputs, 3 * size))
        factors = (np.linalg.qr(generator.standard_normal((size, size))) for _ in range(3))
        # Times the signs of R's diagonal, without which Q is not uniform over the rotations.
        gates = [q * np.sign(np.diagonal(r)) for q, r in factors]
        return {
            PREFIX + "weight_input": torch.from_numpy(weight_input).float(),
            PREFIX + "weight_hidden": torch.from_numpy(np.concatenate(gates, axis=1)).float(),
            PREFIX + "bias_input": torch.zeros(3 * size),
            PREFIX + "bias_hidden": torch.zeros(3 * size),
        }

    def stepper(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """(inputs `[K, B, I]`, hidden states `[K, B, H]`) -> the next ones, by stacked parameters.

        For many calls with the same parameters: what depends on them alone is computed once.
        """
        size = self.hidden_size
        read_by = _aligned_affine(parameters, "input")
        kept_by = _aligned_affine(parameters, "hidden")

        def step(inputs: Tensor, hidden: Tensor) -> Tensor:
            read, kept = read_by(inputs), kept_by(hidden)
            # sigmoid(x) = (1 + tanh(x / 2)) / 2. Torch's own rounds the last numbers of a tensor
            # unlike the others, so that its bits depend on how many tasks there are.
            gates = 0.5 + 0.5 * torch.tanh(0.5 * (read[..., : 2 * size] + kept[..., : 2 * size]))
            reset, update = gates.split(size, dim=-1)
            last = slice(2 * size, 3 * size)
            new = torch.tanh(torch.addcmul(read[..., last], reset, kept[..., last]))
            return torch.lerp(new, hidden, update)

        return step

    def run(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, hidden: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Hidden states of sequences, for shared parameters.

        Args:
            inputs: `[B, L, I]`.
            hidden: `[B, H]` before the first time step.

        Returns them after every time step, `[B, L, H]`, and after the last, `[B, H]`.
        """
        weights = (
            parameters[PREFIX + "weight_input"].mT.contiguous(),
            parameters[PREFIX + "weight_hidden"].mT.contiguous(),
            parameters[PREFIX + "bias_input"],
            parameters[PREFIX + "bias_hidden"],
        )
        # One layer, with biases, no dropout, training, one direction, batch first.
        states, last = torch.gru(
            inputs, hidden.unsqueeze(0), weights, True, 1, 0.0, True, False, True
        )
        return states, last.squeeze(0)


class RecurrentPolicy(MemoryPolicy):
    """A GRU whose hidden state the given policy's network reads in place of the observation.

    Memory of an environment, `[K, N, M]`: hidden state [H], previous action (one-hot where it is
    discrete), previous reward, and 1 in the first step of an episode that is not the trial's
    first. Zeros start a trial. An environment whose episode has ended remembers nothing more.

    Args:
        plain: decides the kind of actions and the layers between hidden state and action.
        hidden_size: H.
    """

    def __init__(self, plain: Policy, hidden_size: int):
        observation_size, *layers = plain.network.sizes
        self.head = copy.copy(plain)
        self.head.network = MLP((hidden_size, *layers), plain.network.activation)
        self.network = self.head.network
        self.action_size = plain.action_size
        self._choices = layers[-1] if isinstance(plain, CategoricalPolicy) else None
        told = layers[-1] + 2
        self.gru = GRU(observation_size + told, hidden_size)
        self.memory_size = hidden_size + told

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        head = self.head.initial_parameters(generator)
        return {**self.gru.initial_parameters(generator), **head}

    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> Distribution:
        """Action distributions at hidden states `[..., H]`, which stand for observations here."""
        return self.head.distribution(parameters, observations)

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        return self.head.draw_noise(generator, shape)

    def memory_actor(self, parameters: Mapping[str, Tensor], memory: Tensor) -> "RecurrentActor":
        return RecurrentActor(self, parameters, memory)

    def next_episode(self, memory: Tensor) -> None:
        """Mark in a memory that the next step is the first of a further episode of the trial."""
        memory[..., -1] = 1.0

    def told_of(self, actions: Tensor) -> Tensor:
        """Actions `[..., A]` as the unit reads them: one-hot where they are discrete."""
        if self._choices is None:
            return actions
        return one_hot(actions.squeeze(-1), self._choices)

    def inputs(
        self, observations: Tensor, actions: Tensor, rewards: Tensor, boundaries: Tensor
    ) -> Tensor:
        """What the unit read in the time steps of whole trials, `[B, L, I]`.

        Args:
            observations: `[B, L, O]`.
            actions: `[B, L, A]`, taken there.
            rewards: `[B, L]`, got for them.
            boundaries: `[B, L]`, 1 in the first step of each episode but the first.
        """
        told = self.told_of(actions).to(observations.dtype)
        gone = torch.cat([told, rewards.unsqueeze(-1)], dim=-1)
        previous = torch.cat([torch.zeros_like(gone[:, :1]), gone[:, :-1]], dim=1)
        return torch.cat([observations, previous, boundaries.unsqueeze(-1)], dim=-1)


class RecurrentActor:
    """Acts with the memories of K * N environments; see `MemoryActor`."""

    def __init__(self, policy: RecurrentPolicy, parameters: Mapping[str, Tensor], memory: Tensor):
        self.policy = policy
        self.parameters = parameters
        self.memory = memory
        self._step = policy.gru.stepper(parameters)
        self._act = policy.head.actor(parameters)
        self._hidden = memory[..., : policy.gru.hidden_size]

    def __call__(self, observations: Tensor, noise: Tensor) -> Tensor:
        size = self.policy.gru.hidden_size
        inputs = torch.cat([observations, self.memory[..., size:]], dim=-1)
        self._hidden = self._step(inputs, self.memory[..., :size])
        return self._act(self._hidden, noise)

    def after_step(self, actions: Tensor, rewards: Tensor, active: Tensor) -> None:
        told = self.policy.told_of(actions)
        rewards = rewards.unsqueeze(-1)
        after = torch.cat([self._hidden, told, rewards, torch.zeros_like(rewards)], dim=-1)
        self.memory.copy_(torch.where(active.unsqueeze(-1), after, self.memory))


def _aligned_affine(parameters: Mapping[str, Tensor], name: str) -> Callable[[Tensor], Tensor]:
    """values `[K, B, I]` -> values @ weight + bias, whose bits are each task's own.

    MKL's batched product rounds differently where the outputs of a task do not start at a multiple
    of 16 bytes, which would let bits depend on the tasks beside it: columns of zeros prevent that.
    """
    weight, bias = parameters[f"{PREFIX}weight_{name}"], parameters[f"{PREFIX}bias_{name}"]
    missing = -weight.shape[-1] % ALIGNMENT
    if missing:
        weight, bias = pad(weight, (0, missing)), pad(bias, (0, missing))
    bias = bias.unsqueeze(-2)
    return lambda values: torch.baddbmm(bias, values, weight)

"""Multi-armed bandits."""

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.simulation import TensorFamily
from metarl.tasks import Parameter, Tasks, TaskStreams, Uniform, register
from metarl_envs.options import require_integer

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes

ARMS, PULLS = 5, 10
"""k and n of the smallest problem in RL^2."""

# The state: pulls so far, the arm of the last pull, its reward; then the noise of every pull of the
# episode, drawn with the start, so that equal states and actions always have equal rewards.
PULLED, ARM, REWARD, NOISE = range(4)


class Bandit(TensorFamily):
    """k arms with hidden means; a time step is a pull, an episode n pulls.

    Args:
        arms: k, at least 2.
        pulls: n, the horizon.
    """

    robot = "bandit"
    parameters = {"means": Uniform(0.0, 1.0, (ARMS,))}
    horizon = PULLS
    # Gymnasium does not like a space of one point.
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(ARMS)

    def __init__(self, arms: int = ARMS, pulls: int = PULLS):
        require_integer("arms", arms, 2)
        require_integer("pulls", pulls, 1)
        self.parameters = _resized(self.parameters, arms)
        self.ood_parameters = _resized(self.ood_parameters, arms)
        self.horizon = pulls
        self.action_space = gymnasium.spaces.Discrete(arms)

    @abstractmethod
    def draw_noise(self, random: TaskStreams) -> Tensor:
        """The noise of every pull of an episode, `[n, pulls]`."""

    @abstractmethod
    def payoff(self, mean: Tensor, noise: Tensor) -> Tensor:
        """Rewards `[n]` of arms with these means."""

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        noise = self.draw_noise(random)
        nothing_yet = noise.new_tensor([0.0, -1.0, 0.0]).expand(len(noise), NOISE)
        return torch.cat([nothing_yet, noise], dim=1)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        # Episodes that have ended come along unused, so the last column may be asked for again.
        pull = state[:, PULLED, None].long().clamp(max=self.horizon - 1)
        noise = state.gather(1, NOISE + pull)[:, 0]
        mean = tasks["means"].gather(1, action.long()[:, None])[:, 0]
        after = state.clone()
        after[:, PULLED] += 1.0
        after[:, ARM] = action.to(state.dtype)
        after[:, REWARD] = self.payoff(mean, noise)
        return after

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return torch.zeros_like(state[:, :1])

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after[:, REWARD]

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        means = tasks["means"][0].tolist()
        pulled, arm, reward = state[0, :NOISE].tolist()
        axes.bar(range(len(means)), means, color="lightgrey")
        axes.set(xlim=(-0.5, len(means) - 0.5), ylim=(-2.5, 4.5), xlabel="arm", ylabel="mean")
        if pulled:
            axes.bar(arm, means[int(arm)], color="tab:blue")
            axes.plot(arm, reward, "o", color="tab:orange")
        axes.set_title(f"{int(pulled)} of {self.horizon} pulls")


@register("BernoulliBandit-v0")
class BernoulliBandit(Bandit):
    """Pull the arm that pays most often: k arms with hidden probabilities of reward 1.

    Observation: always 0, `[1]`.
    Action: the arm to pull, 0 to k - 1. Options: `arms`, k = 5, and `pulls`, n = 10; RL^2 has k of
        5, 10, 50 and n of 10, 100, 500.
    Reward: 1 with the arm's probability, else 0.
    Termination: never. Horizon 10: an episode is n pulls.
    Start: nothing to start from.
    Task parameters: `means` [k], the probabilities, each ~ U[0, 1]. Those are all that there are,
        so there is no task out of distribution.
    Source: RL^2 (Duan et al. 2016), section 3.1; tristandeleu/pytorch-maml-rl,
        maml_rl/envs/bandit.py, where an episode is a single pull.
    """

    def draw_noise(self, random: TaskStreams) -> Tensor:
        return random.uniform(0.0, 1.0, (self.horizon,))

    def payoff(self, mean: Tensor, noise: Tensor) -> Tensor:
        return (noise < mean).to(noise.dtype)


@register("GaussianBandit-v0")
class GaussianBandit(Bandit):
    """Pull the arm that pays most on average: k arms with hidden means and normal noise.

    Observation: always 0, `[1]`.
    Action: the arm to pull, 0 to k - 1. Options: `arms`, k = 5, and `pulls`, n = 10.
    Reward: normal with the arm's mean and standard deviation 1.
    Termination: never. Horizon 10: an episode is n pulls.
    Start: nothing to start from.
    Task parameters: `means` [k], each ~ U[0, 1]; out of distribution: U[1, 2].
    Source: tristandeleu/pytorch-maml-rl, maml_rl/envs/bandit.py, where an episode is a single pull.
    """

    ood_parameters = {"means": Uniform(1.0, 2.0, (ARMS,))}

    def draw_noise(self, random: TaskStreams) -> Tensor:
        return random.normal(1.0, (self.horizon,))

    def payoff(self, mean: Tensor, noise: Tensor) -> Tensor:
        return mean + noise


def _resized(parameters: Mapping[str, Any], arms: int) -> dict[str, Parameter]:
    """The same ranges for another number of arms."""
    return {name: dataclasses.replace(kind, shape=(arms,)) for name, kind in parameters.items()}

"""Environments written as tensor functions: point robots, bandits, classic control."""

import math
from abc import abstractmethod
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from metarl.simulation.engine import Engine, SimulatedFamily, StepResult
from metarl.simulation.render import draw_bars, draw_on_axes
from metarl.tasks import Tasks, TaskStreams

if TYPE_CHECKING:  # matplotlib takes long to import, and pictures are rare
    from matplotlib.axes import Axes


class TensorFamily(SimulatedFamily):
    """A family whose environment is a handful of functions of batched tensors.

    `n` is the number of environments; `tasks` holds one row for each of them. No function may
    change its arguments.
    """

    @abstractmethod
    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        """Initial states `[n, ...]`, float64."""

    @abstractmethod
    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        """States `[n, ...]` one time step later; `random` draws for all n environments."""

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        """Observations `[n, *observation]`; the state itself unless overridden."""
        return state

    @abstractmethod
    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        """Rewards `[n]` of the step from state `before` to state `after`."""

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        """Whether the episode ends in this state, bool `[n]`; never unless overridden."""
        return torch.zeros(len(state), dtype=torch.bool, device=state.device)

    def draw(self, axes: "Axes", state: Tensor, tasks: Tasks) -> None:
        """Draw one environment on matplotlib `axes`; the observation as bars unless overridden.

        Sets limits and aspect too, so that they stay the same from picture to picture.

        Args:
            axes: empty, with matplotlib's usual frame and ticks.
            state: `[1, ...]`.
            tasks: of one row.
        """
        draw_bars(axes, self.observation(state, tasks)[0].flatten().tolist())

    def make_engine(self, environments: int, threads: int) -> Engine:
        return TensorEngine(self)


class TensorEngine:
    """Steps a `TensorFamily`: all environments in one call, on the calling thread."""

    def __init__(self, family: TensorFamily):
        self.family = family
        self._tasks: Tasks
        self._random: TaskStreams
        self._state: Tensor | None = None

    def set_tasks(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def reset(self, streams: TaskStreams, ids: Tensor | None) -> Tensor:
        self._random = streams
        fresh = self.family.reset(streams, self._tasks)
        if ids is None or self._state is None:
            self._state = fresh
        else:
            self._state = self._state.index_copy(0, ids, fresh[ids])
        return self.family.observation(self._state, self._tasks).clone()

    def step(self, actions: Tensor, ids: Tensor | None) -> StepResult:
        assert self._state is not None, "reset before step"
        family, tasks, before = self.family, self._tasks, self._state
        after = family.transition(before, actions, tasks, self._random)
        if ids is not None:
            after = before.index_copy(0, ids, after[ids])
        reward = family.reward(before, after, actions, tasks)
        failed = _failures(after, reward)
        if failed.any():
            after = before.index_copy(0, (~failed).nonzero()[:, 0], after[~failed])
        self._state = after
        observation = family.observation(after, tasks).clone()
        return StepResult(observation, reward, family.terminated(after, tasks), failed)

    def copy_state(self, source: int) -> Tensor:
        assert self._state is not None, "reset before copy_state"
        self._state = self._state[source].expand_as(self._state).clone()
        return self.family.observation(self._state, self._tasks).clone()

    def frame(self, index: int, width: int, height: int) -> np.ndarray:
        assert self._state is not None, "reset before frame"
        state, tasks = self._state[index].unsqueeze(0), self._tasks[index]
        return draw_on_axes(lambda axes: self.family.draw(axes, state, tasks), width, height)

    def close(self) -> None:
        pass


def _failures(state: Tensor, reward: Tensor) -> Tensor:
    """Which environments have a state or a reward that is not finite, bool `[n]`."""
    # A sum is finite only where all its terms are: the usual case, at a tenth of the cost.
    if math.isfinite(float(state.sum() + reward.sum())):
        return torch.zeros(len(state), dtype=torch.bool, device=state.device)
    return ~(torch.isfinite(state).flatten(1).all(dim=1) & torch.isfinite(reward))

"""`Replay`: the transitions of a fixed set of tasks, for off-policy learners."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.sampling.trajectories import Trajectories


@dataclass(frozen=True)
class Transitions:
    """Transitions, one in each row of `rows` `[..., 2 O + A + 2]`; the properties are views.

    A row holds observation, action, reward, next observation, and 1 where the task goes on after
    it or 0 where it ended, so that nothing may be bootstrapped.
    """

    rows: Tensor
    observation_size: int
    action_size: int

    @property
    def observations(self) -> Tensor:
        """`[..., O]`"""
        return self.rows[..., : self.observation_size]

    @property
    def actions(self) -> Tensor:
        """`[..., A]`"""
        return self.rows[..., self.observation_size : self.observation_size + self.action_size]

    @property
    def rewards(self) -> Tensor:
        """`[...]`"""
        return self.rows[..., self.observation_size + self.action_size]

    @property
    def evidence(self) -> Tensor:
        """Observation, action and reward, `[..., O + A + 1]`: what tells one task from another."""
        return self.rows[..., : self.observation_size + self.action_size + 1]

    @property
    def next_observations(self) -> Tensor:
        """`[..., O]`; zero where `continues` is 0."""
        return self.rows[..., -self.observation_size - 1 : -1]

    @property
    def continues(self) -> Tensor:
        """`[...]`, 1 or 0."""
        return self.rows[..., -1]


def transitions(trajectories: Trajectories) -> list[Tensor]:
    """The transitions of each task, K tensors `[n_k, 2 O + A + 2]`, laid out as `Transitions`.

    Trajectories hold what the policy saw before each step, so the last step of an episode has no
    next observation. Where the task ended the episode none is needed and the step is kept with
    `continues` 0; where the horizon (or diverged physics) cut it, the step is left out.
    """
    mask = trajectories.mask
    goes_on = torch.zeros_like(mask)
    goes_on[..., :-1] = mask[..., 1:]
    is_last = mask & ~goes_on
    kept = goes_on | (is_last & trajectories.terminated.unsqueeze(-1))
    following = torch.zeros_like(trajectories.observations)
    following[..., :-1, :] = trajectories.observations[..., 1:, :]
    columns = [
        trajectories.observations,
        trajectories.actions.to(trajectories.rewards.dtype),
        trajectories.rewards.unsqueeze(-1),
        following,
        goes_on.to(trajectories.rewards.dtype).unsqueeze(-1),
    ]
    rows = torch.cat(columns, dim=-1)
    return [rows[task][kept[task]] for task in range(len(rows))]


class Replay:
    """The newest transitions of each task, at most `capacity` of them, in a ring.

    Memory and state grow with the tasks met and what they hold: at most tasks * capacity *
    (2 O + A + 2) * 4 bytes.

    Args:
        capacity: transitions kept of one task; a new one then replaces the oldest.
        row_size: numbers in a transition, 2 O + A + 2.
    """

    def __init__(self, capacity: int, row_size: int):
        self.capacity = capacity
        self.row_size = row_size
        self._rings: dict[int, Tensor] = {}
        self._written: dict[int, int] = {}

    @property
    def tasks(self) -> list[int]:
        """Indices of the tasks with at least one transition, ascending."""
        return sorted(task for task, written in self._written.items() if written)

    def size(self, task: int) -> int:
        """Transitions that are there of a task."""
        return min(self._written.get(task, 0), self.capacity)

    def add(self, task: int, rows: Tensor) -> None:
        """Append transitions `[n, row_size]` of a task, the oldest first."""
        if task not in self._rings:
            # By numpy, whose zeros take no memory before they are written to.
            empty = np.zeros((self.capacity, self.row_size), dtype=np.float32)
            self._rings[task] = torch.from_numpy(empty)
        first = self._written.get(task, 0)
        self._written[task] = first + len(rows)
        newest = rows[-self.capacity :]
        positions = torch.arange(self._written[task] - len(newest), self._written[task])
        self._rings[task][positions % self.capacity] = newest

    def sample(self, tasks: Sequence[int], uniform: np.ndarray) -> Tensor:
        """Rows `[k, B, row_size]` of k tasks, with replacement, by numbers `[k, B]` in [0, 1)."""
        drawn = []
        for task, numbers in zip(tasks, uniform, strict=True):
            positions = (numbers * self.size(task)).astype(np.int64)
            drawn.append(self._rings[task][torch.from_numpy(positions)])
        return torch.stack(drawn)

    def clear(self, task: int) -> None:
        """Forget the transitions of a task."""
        self._written[task] = 0

    def state_dict(self) -> dict[str, Any]:
        """A copy of what is there: `rows` and `written` for each task, by its index as text."""
        return {
            str(task): {"rows": ring[: self.size(task)].clone(), "written": self._written[task]}
            for task, ring in self._rings.items()
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self._rings, self._written = {}, {}
        for name, saved in state.items():
            task = int(name)
            self.add(task, saved["rows"][:0])
            self._rings[task][: len(saved["rows"])] = saved["rows"].cpu()
            self._written[task] = int(saved["written"])

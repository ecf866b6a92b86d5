"""The record of a continual run: every number that its pictures, tables and reports are made from."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from metarl.errors import UserError
from metarl.files import write_text_atomically

PLASTICITY = ("dormant_units", "stable_rank", "weight_norm")
"""What `ContinualRecord.plasticity` holds; see `metarl.continual.plasticity`."""


@dataclass(frozen=True)
class TaskRecord:
    """A task: how it is called, and its parameters as JSON."""

    name: str
    parameters: dict[str, Any]


@dataclass(frozen=True)
class SequenceRecord:
    """The tasks of a run and the order of training."""

    family: str
    tasks: tuple[TaskRecord, ...]
    """The J distinct tasks."""
    stages: tuple[int, ...]
    """Which of the distinct tasks, 0 to J - 1, each of the S stages trains on."""
    held_out: TaskRecord | None
    """The task that is never trained on."""
    iterations: int
    """PPO updates of a stage."""
    episodes: int
    """Episodes of an update, N."""
    horizon: int
    """Time steps of an episode, T."""
    hash: str
    """Of the tasks and their order."""

    @property
    def names(self) -> list[str]:
        """The names of the distinct tasks."""
        return [task.name for task in self.tasks]


@dataclass(frozen=True)
class Row:
    """One of the L learners."""

    method: str
    strength: float | None
    """Lambda; None where the method has none."""
    seed: int


@dataclass(frozen=True, eq=False)
class ContinualRecord:
    """What L learners did in a sequence of S stages over J distinct tasks.

    Arrays are float64, read-only, and NaN where the run has not got to yet. Row 0 of the axis
    S + 1 is before any training, row s after stage s = 1..S. Returns are undiscounted, means over
    episodes.

    Raises ValueError for arrays whose shapes do not fit the sequence and the rows.
    """

    sequence: SequenceRecord
    algorithm: dict[str, Any]
    """The `ContinualPPOConfig`, as JSON."""
    seed: int
    """Of the run."""
    evaluation_episodes: int
    """Episodes behind each number in `matrix`."""
    rows: tuple[Row, ...]
    """The L learners."""
    matrix: np.ndarray
    """R, `[L, S + 1, J]`: return on every task."""
    training_returns: np.ndarray
    """`[L, S * iterations]`: mean return of each update's episodes."""
    curve_iterations: np.ndarray
    """`[E]`, int64: iterations 0..S * iterations before which `curve_returns` were measured."""
    curve_returns: np.ndarray
    """`[L, E, J]`: return on every task, during training."""
    adaptation: np.ndarray
    """`[L, S + 1, n + 1]`: return on the held-out task after 0..n updates on it; `[L, S + 1, 0]`
    where no task is held out."""
    plasticity: dict[str, np.ndarray]
    """`dormant_units`, `stable_rank` and `weight_norm`, each `[L, S + 1]`."""
    random: np.ndarray
    """`[J]`: return of uniformly random actions."""
    iteration: int
    """The last iteration that was trained."""
    environment_steps: int
    """Of all learners together, in training."""
    versions: dict[str, Any]
    """Of the packages."""

    @property
    def identity(self) -> str:
        """What the policies know of the task they are in: `hidden`, `given` or `heads`."""
        return str(self.algorithm.get("identity", "hidden"))

    def to_json(self) -> str:
        """One JSON object, a line for each key; NaN is null."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, text: str) -> "ContinualRecord":
        """The inverse of `to_json`, exact. ValueError for other text."""
        raise NotImplementedError

    def save(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all; UserError when the disk refuses."""
        write_text_atomically(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "ContinualRecord":
        """Read the JSON file; UserError, in one line, when it is missing, damaged or another."""
        raise NotImplementedError

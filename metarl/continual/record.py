"""The record of a continual run: all numbers its pictures, tables and reports are made from."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
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
    """`[E]`, int64: after how many iterations, 0..S * iterations, the curve was measured."""
    curve_returns: np.ndarray
    """`[L, E, J]`: return on every task."""
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

    def __post_init__(self) -> None:
        for name in _ARRAYS:
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        object.__setattr__(self, "curve_iterations", _frozen(self.curve_iterations, np.int64))
        plasticity = {name: _frozen(values) for name, values in self.plasticity.items()}
        object.__setattr__(self, "plasticity", plasticity)
        self._check()

    @property
    def identity(self) -> str:
        """What the policies know of the task they are in: `hidden`, `given` or `heads`."""
        return str(self.algorithm.get("identity", "hidden"))

    def to_json(self) -> str:
        """One JSON object, a line for each key; NaN is null.

        Raises ValueError for an infinite number.
        """
        record = {
            "sequence": asdict(self.sequence),
            "algorithm": self.algorithm,
            "seed": self.seed,
            "evaluation_episodes": self.evaluation_episodes,
            "rows": [asdict(row) for row in self.rows],
            "matrix": _plain(self.matrix),
            "training_returns": _plain(self.training_returns),
            "curve": {
                "iteration": self.curve_iterations.tolist(),
                "returns": _plain(self.curve_returns),
            },
            "adaptation": _plain(self.adaptation) if self.adaptation.size else [],
            "plasticity": {name: _plain(values) for name, values in self.plasticity.items()},
            "random": _plain(self.random),
            "iteration": self.iteration,
            "environment_steps": self.environment_steps,
            "versions": self.versions,
        }
        lines = [f" {json.dumps(k)}: {json.dumps(v, allow_nan=False)}" for k, v in record.items()]
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "ContinualRecord":
        """The inverse of `to_json`, exact. ValueError for other text."""
        record = json.loads(text)
        try:
            return cls._from_mapping(record)
        except KeyError as error:
            raise ValueError(f"the key {error} is missing") from error
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not the record of a continual run: {error}") from error

    @classmethod
    def _from_mapping(cls, record: Mapping[str, Any]) -> "ContinualRecord":
        sequence, rows = _sequence(record["sequence"]), record["rows"]
        return cls(
            sequence=sequence,
            algorithm=dict(record["algorithm"]),
            seed=int(record["seed"]),
            evaluation_episodes=int(record["evaluation_episodes"]),
            rows=tuple(_row(row) for row in rows),
            matrix=record["matrix"],
            training_returns=record["training_returns"],
            curve_iterations=record["curve"]["iteration"],
            curve_returns=record["curve"]["returns"],
            adaptation=record["adaptation"] or np.empty((len(rows), len(sequence.stages) + 1, 0)),
            plasticity=dict(record["plasticity"]),
            random=record["random"],
            iteration=int(record["iteration"]),
            environment_steps=int(record["environment_steps"]),
            versions=dict(record["versions"]),
        )

    def save(self, path: str | Path) -> None:
        """Write the JSON file, whole or not at all; UserError when the disk refuses."""
        write_text_atomically(path, self.to_json())

    @classmethod
    def load(cls, path: str | Path) -> "ContinualRecord":
        """Read the JSON file; UserError, in one line, when it is missing, damaged or another."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read the continual record {path}: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"the continual record {path} is damaged: {reason}; "
                "write it anew with `metarl evaluate RUN`"
            ) from error

    def _check(self) -> None:
        tasks, stages = len(self.sequence.tasks), len(self.sequence.stages)
        learners, points = len(self.rows), len(self.curve_iterations)
        outside = sorted(set(range(tasks)) ^ set(self.sequence.stages))
        if outside or not stages:
            raise ValueError(f"stages must go through tasks 0 to {tasks - 1}: {outside}")
        _check_shape("matrix", self.matrix, (learners, stages + 1, tasks))
        updates = stages * self.sequence.iterations
        _check_shape("training_returns", self.training_returns, (learners, updates))
        _check_shape("curve", self.curve_returns, (learners, points, tasks))
        _check_shape("adaptation", self.adaptation[..., :0], (learners, stages + 1, 0))
        _check_shape("random", self.random, (tasks,))
        if set(self.plasticity) != set(PLASTICITY):
            raise ValueError(f"plasticity must hold {', '.join(PLASTICITY)}")
        for name, values in self.plasticity.items():
            _check_shape(name, values, (learners, stages + 1))


_ARRAYS = ("matrix", "training_returns", "curve_returns", "adaptation", "random")


def _frozen(values: Any, dtype: type = np.float64) -> np.ndarray:
    array = np.array(values, dtype=dtype)
    array.setflags(write=False)
    return array


def _check_shape(name: str, array: np.ndarray, shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise ValueError(f"{name} must have the shape {list(shape)}, got {list(array.shape)}")


def _plain(values: np.ndarray) -> Any:
    """Nested lists, None for NaN."""
    if values.ndim > 1:
        return [_plain(part) for part in values]
    return [None if math.isnan(value) else value for value in values.tolist()]


def _sequence(record: Mapping[str, Any]) -> SequenceRecord:
    held_out = record["held_out"]
    return SequenceRecord(
        family=str(record["family"]),
        tasks=tuple(_task(task) for task in record["tasks"]),
        stages=tuple(int(stage) for stage in record["stages"]),
        held_out=None if held_out is None else _task(held_out),
        iterations=int(record["iterations"]),
        episodes=int(record["episodes"]),
        horizon=int(record["horizon"]),
        hash=str(record["hash"]),
    )


def _task(record: Mapping[str, Any]) -> TaskRecord:
    return TaskRecord(str(record["name"]), dict(record["parameters"]))


def _row(record: Mapping[str, Any]) -> Row:
    strength = record["strength"]
    return Row(
        str(record["method"]), None if strength is None else float(strength), int(record["seed"])
    )

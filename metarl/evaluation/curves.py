"""The adaptation curve: what a learner gains from its first steps on tasks it has never seen."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from metarl.errors import UserError
from metarl.evaluation.statistics import bootstrap_interval, interquartile_mean
from metarl.files import cannot_write, write_atomically, write_text_atomically

# A constant, not the run's seed: a curve and its reloaded copy must report the same interval.
_BOOTSTRAP_SEED = 0
_DERIVED = ("steps", "mean", "iqm", "low", "high", "adaptation_gain", "final_gain", "note")


@dataclass(frozen=True, eq=False)
class AdaptationCurve:
    """Return on K held-out tasks after 0..S adaptation steps, for one trained learner.

    Attributes:
        returns: `[K, S + 1]`, mean undiscounted return over the episodes of a task.
        environment_steps: `[S + 1]`, mean environment steps that a task has spent on adaptation
            before each point: 0 at step 0, never decreasing. Evaluation episodes do not count.
        details: what was evaluated and how (family, version, split, seed, episodes, ...),
            JSON-able. Two keys are read here: `tasks`, a list of K objects with the parameters of
            each task, and `distinct_tasks`, where fewer than K tasks are repeated cyclically.

    The interval is over tasks. Where a finite family (two directions, say) has fewer than K
    distinct tasks, repetitions are resampled within each of them: the interval then measures the
    noise of adaptation, not the diversity of tasks, and `note` says so.

    Raises ValueError for arrays of other shapes or with values that are not finite.
    """

    returns: np.ndarray
    environment_steps: np.ndarray
    details: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("returns", "environment_steps"):
            array = np.array(getattr(self, name), dtype=np.float64)
            array.setflags(write=False)  # mean, low, ... are computed once
            object.__setattr__(self, name, array)
        _check(self.returns, self.environment_steps, self.details)

    @property
    def steps(self) -> np.ndarray:
        """Adaptation steps 0..S, integers `[S + 1]`."""
        return np.arange(self.returns.shape[1])

    @property
    def mean(self) -> np.ndarray:
        """Mean over tasks, `[S + 1]`."""
        return self.returns.mean(axis=0)

    @cached_property
    def iqm(self) -> np.ndarray:
        """Interquartile mean over tasks (Agarwal et al. 2021), `[S + 1]`."""
        return interquartile_mean(self.returns, axis=0)

    @property
    def low(self) -> np.ndarray:
        """Lower end of the 95 % bootstrap interval of `iqm` over tasks, `[S + 1]`."""
        return self._interval[0]

    @property
    def high(self) -> np.ndarray:
        """Upper end of the 95 % bootstrap interval of `iqm` over tasks, `[S + 1]`."""
        return self._interval[1]

    @cached_property
    def _interval(self) -> tuple[np.ndarray, np.ndarray]:
        return bootstrap_interval(
            self.returns,
            interquartile_mean,
            seed=_BOOTSTRAP_SEED,
            distinct_tasks=self.details.get("distinct_tasks"),
        )

    @property
    def adaptation_gain(self) -> float:
        """Mean over tasks of the return after the first step minus before it; 0 without steps."""
        return float(self.mean[min(1, self.steps[-1])] - self.mean[0])

    @property
    def final_gain(self) -> float:
        """Mean over tasks of the return after the last step minus before the first."""
        return float(self.mean[-1] - self.mean[0])

    @property
    def note(self) -> str | None:
        """What the interval does not mean, where it means less than it seems; else None."""
        tasks = len(self.returns)
        distinct = self.details.get("distinct_tasks", tasks)
        if tasks == 1:
            return "one task only: the interval collapses to the point and says nothing"
        if distinct >= tasks:
            return None
        return (
            f"{distinct} distinct tasks repeated to {tasks}: the interval measures the noise of "
            "adaptation over repetitions, not the diversity of tasks"
        )

    def to_json(self) -> str:
        """One JSON object: numbers per step, `returns` as [tasks][steps], details at top level."""
        record: dict[str, Any] = {name: _plain(getattr(self, name)) for name in _DERIVED}
        record["environment_steps"] = self.environment_steps.tolist()
        record |= self.details
        record["returns"] = self.returns.tolist()
        return json.dumps(record, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "AdaptationCurve":
        """The inverse of `to_json`; aggregates are computed anew. ValueError for other text."""
        try:
            record = json.loads(text)
            details = {name: value for name, value in record.items() if name not in _DERIVED}
            return cls(details.pop("returns"), details.pop("environment_steps"), details)
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not an adaptation curve: {error}") from error
        except KeyError as error:
            raise ValueError(f"the key {error} is missing") from error

    def save(
        self,
        folder: str | Path,
        split_name: str,
        others: Mapping[str, "AdaptationCurve"] | None = None,
    ) -> Path:
        """Write `<split_name>.json`, `.csv` and `.png` to `folder`; returns the picture's path.

        `others` are baselines for the picture. Each file appears whole or not at all; UserError
        when the disk refuses.
        """
        # Late: matplotlib takes longer to import than everything else here.
        from metarl.evaluation.plots import plot_curve

        base = Path(folder) / split_name
        text = self.to_json()
        title = " · ".join(
            str(self.details[key])
            for key in ("family", "algorithm", "split")
            if key in self.details
        )
        try:
            base.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(base.parent, error) from error
        write_text_atomically(base.with_name(base.name + ".json"), text)
        write_text_atomically(base.with_name(base.name + ".csv"), self._csv())
        picture = base.with_name(base.name + ".png")
        write_atomically(picture, lambda file: plot_curve(self, file, title, others))
        return picture

    @classmethod
    def load(cls, path: str | Path) -> "AdaptationCurve":
        """Read a curve's JSON file; UserError, in one line, when it is missing or damaged."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise UserError(f"cannot read the adaptation curve {path}: {error.strerror}") from error
        except ValueError as error:
            raise UserError(f"the adaptation curve {path} is damaged: {error}") from error

    def _csv(self) -> str:
        parameters = [_columns(task) for task in self.details.get("tasks", [])]
        names = list(parameters[0]) if parameters else []
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["task", "step", "environment_steps", "return", *names])
        for (task, step), value in np.ndenumerate(self.returns):
            row = [task, step, float(self.environment_steps[step]), float(value)]
            writer.writerow(row + [parameters[task][name] for name in names])
        return text.getvalue()


def table(curve: AdaptationCurve) -> Table:
    """The adaptation table for a terminal, one row per step; `curve.note` is its caption."""
    result = Table(title="return after adaptation", caption=curve.note)
    headings = ("step", "environment steps per task", "mean", "IQM", "95 % interval")
    for heading in headings:
        result.add_column(heading, justify="right")
    for step in curve.steps:
        result.add_row(
            str(step),
            f"{curve.environment_steps[step]:,.0f}",
            f"{curve.mean[step]:.2f}",
            f"{curve.iqm[step]:.2f}",
            f"{curve.low[step]:.2f} to {curve.high[step]:.2f}",
        )
    return result


def _check(returns: np.ndarray, environment_steps: np.ndarray, details: Mapping[str, Any]) -> None:
    if returns.ndim != 2 or returns.size == 0:
        raise ValueError(f"returns must be [tasks, steps + 1], got shape {returns.shape}")
    if environment_steps.shape != returns.shape[1:]:
        raise ValueError(
            f"environment_steps must be [steps + 1] = {list(returns.shape[1:])}, "
            f"got shape {environment_steps.shape}"
        )
    if not (np.isfinite(returns).all() and np.isfinite(environment_steps).all()):
        raise ValueError("returns and environment steps must be finite")
    if environment_steps[0] != 0 or (np.diff(environment_steps) < 0).any():
        raise ValueError(f"environment steps must rise from 0, got {environment_steps.tolist()}")
    taken = sorted(details.keys() & {*_DERIVED, "returns", "environment_steps"})
    if taken:
        raise ValueError(f"the curve itself writes these keys, not details: {', '.join(taken)}")
    if len(details.get("tasks", returns)) != len(returns):
        raise ValueError(f"details name {len(details['tasks'])} tasks, returns {len(returns)}")


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _columns(task: Mapping[str, Any]) -> dict[str, float]:
    """A task's parameters as CSV columns: `goal: [x, y]` becomes `goal_0` and `goal_1`."""
    columns = {}
    for name, value in task.items():
        if isinstance(value, list):
            columns |= {f"{name}_{index}": number for index, number in enumerate(value)}
        else:
            columns[name] = value
    return columns

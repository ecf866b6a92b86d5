"""`FewShotResult`: what a method reached in test episodes, how sure that is, and of what."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from metarl.errors import UserError
from metarl.evaluation.comparison.tables import csv_text
from metarl.evaluation.statistics import bootstrap_interval
from metarl.fewshot.calibration import BINS, Calibration, of_classes, of_intervals
from metarl.fewshot.evaluate import EpisodeScores
from metarl.files import write_text_atomically

ENOUGH_EPISODES = 600
"""What published tables are made of, at least."""
_Z = 1.959964
"""Half-width of the central 95 % of a standard normal distribution."""
# A constant: a result and its reloaded copy must report the same interval.
_BOOTSTRAP_SEED = 0


@dataclass(frozen=True, eq=False)
class FewShotResult:
    """Scores of E episodes after 0, 1, ..., S adaptation steps (S = 0 for methods without)."""

    kind: str
    """`classification` or `regression`."""
    scores: np.ndarray
    """`[E, S + 1]`: accuracy, or mean squared error."""
    log_likelihood: np.ndarray
    """`[E, S + 1]`: mean log-probability of the queries' targets; NaN where none is given."""
    calibration: Calibration | None
    """Of the last step; None where a method does not say how sure it is."""
    details: dict[str, Any] = field(default_factory=dict)
    """What was evaluated and how, JSON-able: data, protocol, method, settings, versions, ..."""

    @classmethod
    def of(cls, found: EpisodeScores, details: dict[str, Any] | None = None) -> "FewShotResult":
        """The result of an evaluation."""
        first, second = found.confidence[..., 0], found.confidence[..., 1]
        calibration = None
        if found.kind == "classification":
            calibration = of_classes(first, second)
        elif np.isfinite(first).all():
            calibration = of_intervals(first)
        return cls(found.kind, found.scores, found.log_likelihood, calibration, details or {})

    @property
    def score_name(self) -> str:
        """What `scores` are called."""
        return "accuracy" if self.kind == "classification" else "mean squared error"

    @property
    def episodes(self) -> int:
        """E."""
        return len(self.scores)

    @property
    def steps(self) -> np.ndarray:
        """Adaptation steps, integers `[S + 1]`."""
        return np.arange(self.scores.shape[1])

    @property
    def mean(self) -> np.ndarray:
        """Mean score `[S + 1]`."""
        return self.scores.mean(axis=0)

    @property
    def half_width(self) -> np.ndarray:
        """Of the 95 % interval of the mean over episodes by the normal approximation, 1.96 s /
        sqrt(E), as few-shot papers print it, `[S + 1]`."""
        return half_width(self.scores)

    @cached_property
    def bootstrap(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the 95 % percentile bootstrap interval of the mean over episodes, `[S + 1]`."""
        # Step by step: all at once would be gigabytes.
        ends = [_bootstrap(column) for column in self.scores.T]
        low, high = zip(*ends, strict=True)
        return np.array(low), np.array(high)

    @property
    def has_likelihood(self) -> bool:
        """Whether the method gives probabilities or densities."""
        return bool(np.isfinite(self.log_likelihood).all())

    @property
    def nll(self) -> np.ndarray:
        """Mean negative log-likelihood of a query, nats, `[S + 1]`; NaN where there is none."""
        return -self.log_likelihood.mean(axis=0)

    @property
    def remarks(self) -> list[str]:
        """What qualifies the numbers."""
        found = []
        if self.episodes < ENOUGH_EPISODES:
            found.append(
                f"{self.episodes} episodes: published tables take at least {ENOUGH_EPISODES}"
            )
        done, wanted = (self.details.get(name) for name in ("iteration", "iterations"))
        if done is not None and wanted is not None and done < wanted:
            found.append(f"the training is not finished: {done:,} of {wanted:,} iterations")
        if "missing_stage" in self.details:
            found.append(f"not yet the whole method: {self.details['missing_stage']}")
        if "best_iteration" in self.details:
            best = self.details["best_iteration"]
            found.append(f"the parameters are those of iteration {best:,}, which validated best")
        if self.details.get("normalization") == "transductive":
            found.append("transductive: BatchNorm sees all queries of an episode at once")
        return found

    def rows(self) -> list[dict[str, Any]]:
        """One row per step, with both intervals; None where there is no likelihood."""
        low, high = self.bootstrap
        likelihood = self.has_likelihood
        spread = half_width(self.log_likelihood) if likelihood else self.nll
        return [
            {
                "step": int(step),
                "score": self.score_name.replace(" ", "_"),
                "mean": float(self.mean[step]),
                "half_width_normal": float(self.half_width[step]),
                "low_bootstrap": float(low[step]),
                "high_bootstrap": float(high[step]),
                "nll": float(self.nll[step]) if likelihood else None,
                "nll_half_width_normal": float(spread[step]) if likelihood else None,
            }
            for step in self.steps
        ]

    def to_json(self) -> str:
        """One JSON object: details, rows per step, calibration, and the scores of each episode."""
        record: dict[str, Any] = {
            "kind": self.kind,
            "details": self.details,
            "remarks": self.remarks,
            "steps": self.rows(),
            "calibration_error": self.calibration.error if self.calibration else None,
            "calibration": _calibration_record(self.calibration),
            "scores": self.scores.tolist(),
            "log_likelihood": self.log_likelihood.tolist() if self.has_likelihood else None,
        }
        return json.dumps(record, indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "FewShotResult":
        """The inverse of `to_json`; aggregates are computed anew. ValueError for other text."""
        try:
            record = json.loads(text)
            scores = np.array(record["scores"], dtype=np.float64)
            given = record["log_likelihood"]
            likelihood = np.full_like(scores, np.nan) if given is None else np.array(given)
            calibration = _calibration_of(record["calibration"])
            return cls(record["kind"], scores, likelihood, calibration, record["details"])
        except (AttributeError, TypeError) as error:
            raise ValueError(f"not a few-shot result: {error}") from error
        except KeyError as error:
            raise ValueError(f"the key {error} is missing") from error

    @classmethod
    def load(cls, path: str | Path) -> "FewShotResult":
        """A saved result; UserError for a file that is missing or damaged."""
        try:
            return cls.from_json(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read the few-shot result {path}: {error}; remove it and evaluate again"
            ) from error

    def save(self, folder: str | Path, name: str) -> Path:
        """Write NAME.json and NAME.csv to a folder; the path of the first. UserError when the disk
        refuses."""
        base = Path(folder) / name
        write_text_atomically(base.with_suffix(".json"), self.to_json())
        write_text_atomically(base.with_suffix(".csv"), csv_text(self.rows()))
        return base.with_suffix(".json")


def half_width(values: np.ndarray) -> np.ndarray:
    """1.96 s / sqrt(E) of values `[E, ...]`: half of the 95 % interval of their mean."""
    return _Z * values.std(axis=0, ddof=1) / math.sqrt(len(values))


def with_half_width(kind: str, mean: float, width: float) -> str:
    """`98.71 ± 0.25 %` of accuracies, `0.352 ± 0.041` of errors."""
    if kind == "classification":
        return f"{100 * mean:.2f} ± {100 * width:.2f} %"
    return f"{mean:.3f} ± {width:.3f}"


def table(result: FewShotResult) -> Table:
    """The result for a terminal, a row per step (one without); `captions` belong below it."""
    details = result.details
    title = " · ".join(str(details[key]) for key in ("data", "method", "size") if key in details)
    found = Table(
        # On one line, although the table may be narrower.
        title=Text(title, no_wrap=True, overflow="ignore"),
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        title_justify="left",
    )
    has_steps = len(result.steps) > 1
    if has_steps:
        found.add_column("step", justify="right")
    found.add_column(result.score_name, justify="right")
    if result.has_likelihood:
        found.add_column("NLL, nats", justify="right")
    spread = half_width(result.log_likelihood)
    for step in result.steps:
        pair = float(result.mean[step]), float(result.half_width[step])
        score = with_half_width(result.kind, *pair)
        likelihood = f"{result.nll[step]:.3f} ± {spread[step]:.3f}"
        row = [*([str(step)] if has_steps else []), score]
        found.add_row(*row, *([likelihood] if result.has_likelihood else []))
    return found


def captions(result: FewShotResult) -> Sequence[str]:
    """What stands below a table: how many episodes, calibration, protocol, remarks."""
    details, calibration = result.details, result.calibration
    lines = [f"{result.episodes} episodes; ± is 1.96 standard errors over episodes"]
    if calibration is not None and result.kind == "classification":
        lines.append(f"expected calibration error {100 * calibration.error:.2f} % ({BINS} bins)")
    elif calibration is not None:
        inside = calibration.coverage(0.95)
        text = f"95 % intervals hold {100 * inside:.1f} % of the queries"
        lines.append(f"calibration error {100 * calibration.error:.2f} %; {text}")
    if "protocol" in details:
        lines.append(str(details["protocol"]))
    if "normalization" in details:
        lines.append(f"BatchNorm: {details['normalization']}")
    return [*lines, *result.remarks]


def _bootstrap(column: np.ndarray) -> tuple[float, float]:
    low, high = bootstrap_interval(column, np.mean, seed=_BOOTSTRAP_SEED)
    return float(low), float(high)


def _calibration_record(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {
        name: [None if math.isnan(value) else value for value in getattr(calibration, name)]
        for name in ("expected", "observed", "weights")
    }


def _calibration_of(record: dict[str, Any] | None) -> Calibration | None:
    if record is None:
        return None
    # None becomes NaN.
    arrays = (np.array(record[n], dtype=np.float64) for n in ("expected", "observed", "weights"))
    return Calibration(*arrays)

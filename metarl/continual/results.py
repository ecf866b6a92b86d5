"""`Results`: the summary of continual runs beside the curves that pictures are drawn from."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, reduce

import numpy as np

from metarl.continual.analysis import Analysis, Group, Learner
from metarl.continual.metrics import Normalization
from metarl.continual.record import ContinualRecord, SequenceRecord
from metarl.continual.summary import MethodSummary, Summary, summarize
from metarl.evaluation.comparison_statistics import BOOTSTRAP_SEED, RESAMPLES
from metarl.evaluation.statistics import bootstrap_interval

BEFORE = "before"
"""How stage 0, before any training, is called."""


@dataclass(frozen=True, eq=False)
class Line:
    """One method at one strength: its metrics, and the learners they are from."""

    summary: MethodSummary
    learners: tuple[Learner, ...]
    kind: str
    """The method, with identity and settings where they tell two of one name apart."""

    @property
    def label(self) -> str:
        """`ewc (heads), λ=0.1`."""
        strength = self.summary.strength
        return self.kind if strength is None else f"{self.kind}, λ={strength:g}"

    def stacked(self, values: Callable[[ContinualRecord], np.ndarray]) -> np.ndarray:
        """What `values` finds in the learners' records `[L, ...]`, as `[seeds, ...]`."""
        return np.stack([values(each.record)[each.index] for each in self.learners])

    @property
    def matrix(self) -> np.ndarray:
        """R `[seeds, S + 1, J]`."""
        return self.stacked(lambda record: record.matrix)

    @property
    def adaptation(self) -> np.ndarray:
        """Returns on the held-out task `[seeds, S + 1, n + 1]`."""
        return self.stacked(lambda record: record.adaptation)

    def plasticity(self, name: str) -> np.ndarray:
        """A measure of plasticity `[seeds, S + 1]`."""
        return self.stacked(lambda record: record.plasticity[name])

    @cached_property
    def curve_iterations(self) -> np.ndarray:
        """`[E]`: the iterations at which all learners were evaluated."""
        all_iterations = [each.record.curve_iterations for each in self.learners]
        return reduce(np.intersect1d, all_iterations)

    @property
    def curve_returns(self) -> np.ndarray:
        """Returns on every task at `curve_iterations`, `[seeds, E, J]`."""
        shared = self.curve_iterations
        return self.stacked(
            lambda record: record.curve_returns[:, np.isin(record.curve_iterations, shared)]
        )


@dataclass(frozen=True, eq=False)
class Results:
    """All methods of one or several runs on one sequence."""

    records: tuple[ContinualRecord, ...]
    summary: Summary
    lines: tuple[Line, ...]

    @classmethod
    def of(cls, records: Sequence[ContinualRecord]) -> "Results":
        """Errors are those of `summarize`."""
        summary = summarize(records)
        groups = Analysis.of(records).groups
        lines = [
            Line(one, tuple(groups[_group(one)]), kind)
            for one, kind in zip(summary.methods, _kinds(summary.methods), strict=True)
        ]
        return cls(tuple(records), summary, tuple(lines))

    @property
    def sequence(self) -> SequenceRecord:
        """The tasks and their order."""
        return self.records[0].sequence

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the J distinct tasks."""
        return self.summary.tasks

    @property
    def stage_names(self) -> list[str]:
        """`before`, then the task that each stage trains on: S + 1 names."""
        return [BEFORE, *(self.tasks[task] for task in self.sequence.stages)]

    @property
    def normalization(self) -> Normalization:
        """What makes 0 of random actions and 1 of from-scratch."""
        return Normalization(self.summary.random, self.summary.scratch)

    @property
    def is_normalized(self) -> bool:
        """Whether there are from-scratch learners that learned any task."""
        return bool(self.normalization.learned.any())

    def performance(self, returns: np.ndarray) -> np.ndarray:
        """Normalised returns `[..., J]`, or the returns themselves where nothing can be."""
        return self.normalization(returns) if self.is_normalized else returns

    @property
    def unit(self) -> str:
        """What `performance` gives."""
        return "normalised return" if self.is_normalized else "return"

    @cached_property
    def best(self) -> tuple[Line, ...]:
        """Of each kind the line at its best strength, in the order of the runs.

        The summary's best: by average performance at the end. By the return at the end where there
        are no from-scratch learners, and the first strength where a run has not come to its end.
        """
        kinds = {line.kind: None for line in self.lines}
        return tuple(
            max((line for line in self.lines if line.kind == kind), key=_goodness) for kind in kinds
        )

    def swept(self) -> Iterator[list[Line]]:
        """The kinds that have strengths, each as its lines of lambda > 0, ascending."""
        for kind in {line.kind: None for line in self.lines}:
            lines = [
                line
                for line in self.lines
                if line.kind == kind and line.summary.strength is not None
            ]
            lines = [line for line in lines if line.summary.strength]
            if lines:
                yield sorted(lines, key=lambda line: line.summary.strength or 0.0)


def interval_over_seeds(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean over seeds of `[seeds, points]` and its pointwise 95 % bootstrap interval, `[points]`.

    NaN where a seed has no number; an interval of one seed is NaN, too.
    """
    mean = values.mean(axis=0)
    low, high = np.full_like(mean, np.nan), np.full_like(mean, np.nan)
    known = np.isfinite(mean)
    if len(values) > 1 and known.any():
        low[known], high[known] = bootstrap_interval(
            values[:, None, known],
            np.mean,
            seed=BOOTSTRAP_SEED,
            resamples=RESAMPLES,
            resample_tasks=False,
        )
    return mean, low, high


def _goodness(line: Line) -> tuple[bool, float]:
    value = line.summary.metrics["final_return"].value
    return line.summary.best, -math.inf if math.isnan(value) else value


def _group(one: MethodSummary) -> Group:
    return Group(one.method, one.strength, one.identity, one.variant)


def _kinds(methods: Sequence[MethodSummary]) -> list[str]:
    """Names of methods, with what tells two of one name apart."""
    many = len({one.identity for one in methods}) > 1
    kinds = []
    for one in methods:
        parts = [one.identity] if many else []
        parts += [one.variant] if one.variant else []
        kinds.append(f"{one.method} ({', '.join(parts)})" if parts else one.method)
    return kinds

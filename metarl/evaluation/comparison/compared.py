"""`Comparison`: what the runs say together, computed once and written by tables, plots, report."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from metarl.errors import UserError
from metarl.evaluation.comparison.learners import LearnerResult, group
from metarl.evaluation.comparison.runs import EvaluatedRun
from metarl.evaluation.comparison_statistics import Estimate, difference, improvement

_UNEQUAL = 0.05
"""Training budgets that differ by more than this share are pointed out."""
_FEW_SEEDS = 5
_UNTRAINED = ("random", "ppo_from_scratch")
"""They learn nothing before they see a test task, however long they were trained."""
EXPECTED = {
    ("oracle", "learner"),
    ("oracle", "pre-trained"),
    ("oracle", "other baseline"),
    ("oracle", "random"),
    ("learner", "pre-trained"),
    ("learner", "random"),
    ("pre-trained", "random"),
    ("other baseline", "random"),
}
"""Roles of which the first should return at least as much as the second."""
_VERSIONS = ("metarl", "torch", "gymnasium", "numpy")


@dataclass(frozen=True)
class Improvement:
    """P(first > second), averaged over tasks, with ties as a half."""

    first: LearnerResult
    second: LearnerResult
    last: Estimate
    """After the last adaptation step of each."""
    common: Estimate
    """At `environment_steps`."""
    environment_steps: float | None
    """The most environment steps per task that both spent; None where neither adapts."""


@dataclass(frozen=True)
class OrderCheck:
    """Whether the interquartile mean of `upper` is at least that of `lower`, as it should be."""

    upper: LearnerResult
    lower: LearnerResult
    difference: Estimate
    """Interquartile mean of upper minus that of lower, after the last step."""

    @property
    def holds(self) -> bool:
        """Whether the point estimate keeps the order."""
        return self.difference.value >= 0

    @property
    def verdict(self) -> str:
        """In words: holds or violated, and whether the interval leaves a doubt."""
        doubt = self.difference.low < 0 <= self.difference.high
        return ("holds" if self.holds else "violated") + (", but within noise" if doubt else "")

    @property
    def sentence(self) -> str:
        """The expectation and what was found, in one line."""
        found = self.difference
        return (
            f"{self.upper.label} ({self.upper.role}) ≥ {self.lower.label} ({self.lower.role}) "
            f"{self.verdict}: difference {found.value:.3g} [{found.low:.3g}, {found.high:.3g}]"
        )


@dataclass(frozen=True, eq=False)
class FamilyComparison:
    """All learners on one family, best first."""

    name: str
    """The family with its version and options."""
    learners: tuple[LearnerResult, ...]
    mixed: Mapping[str, Mapping[str, Sequence[str]]]
    """Parts of the protocol in which runs differ: the runs that have each value."""

    @property
    def slug(self) -> str:
        """The name as part of a file name."""
        kept = (letter if letter.isalnum() or letter in "-." else "_" for letter in self.name)
        return "".join(kept).strip("_")

    @property
    def runs(self) -> list[EvaluatedRun]:
        """All runs on this family."""
        return [run for learner in self.learners for run in learner.runs]

    @cached_property
    def improvements(self) -> list[Improvement]:
        """Every pair of learners that saw the same tasks, the better one first."""
        pairs = itertools.combinations(self.learners, 2)
        return [_improvement(*pair) for pair in pairs if _share_tasks(*pair)]

    @cached_property
    def order(self) -> list[OrderCheck]:
        """oracle >= learner >= pre-trained >= random, for each pair of `EXPECTED` that is there."""
        pairs = itertools.product(self.learners, self.learners)
        return [
            OrderCheck(upper, lower, difference(*_last_scores(upper, lower), distinct_tasks=d))
            for upper, lower in pairs
            if (upper.role, lower.role) in EXPECTED and _share_tasks(upper, lower)
            for d in [upper.distinct_tasks]
        ]

    @property
    def violations(self) -> list[OrderCheck]:
        """The checks of `order` that fail."""
        return [check for check in self.order if not check.holds]

    @cached_property
    def warnings(self) -> list[str]:
        """What a reader must know before believing any number."""
        mixed = [
            f"these runs differ in {name}: "
            + "; ".join(f"{value} in {_some(runs)}" for value, runs in values.items())
            for name, values in self.mixed.items()
        ]
        violations = [check.sentence for check in self.violations]
        return mixed + violations

    @cached_property
    def remarks(self) -> list[str]:
        """What qualifies the numbers without putting them in doubt."""
        found = [*self._seed_remarks(), *self._budget_remarks(), *self._protocol_remarks()]
        return list(dict.fromkeys(found))

    def _seed_remarks(self) -> list[str]:
        remarks = []
        single = [each.label for each in self.learners if len(each.runs) == 1]
        if single:
            remarks.append(
                f"one seed only: {', '.join(single)}; the intervals are over tasks and say nothing "
                "about the luck of the training"
            )
        few = [each.label for each in self.learners if 1 < len(each.runs) < _FEW_SEEDS]
        if few:
            remarks.append(
                f"fewer than {_FEW_SEEDS} seeds: {', '.join(few)}; intervals from so few trainings "
                "are likely too narrow"
            )
        return remarks

    def _budget_remarks(self) -> list[str]:
        trained = [
            (each, each.training_steps)
            for each in self.learners
            if each.training_steps and each.algorithm not in _UNTRAINED
        ]
        remarks = []
        if trained:
            least, most = (pick(trained, key=lambda pair: pair[1]) for pick in (min, max))
            if most[1] > (1.0 + _UNEQUAL) * least[1]:
                remarks.append(
                    f"unequal training: {most[0].label} took {most[1]:,.0f} environment steps, "
                    f"{least[0].label} {least[1]:,.0f}"
                )
        for each in self.learners:
            budgets = [run.training_steps for run in each.runs]
            if max(budgets) > (1.0 + _UNEQUAL) * min(budgets):
                remarks.append(
                    f"unequal training among the seeds of {each.label}: {min(budgets):,} to "
                    f"{max(budgets):,} environment steps"
                )
        return remarks

    def _protocol_remarks(self) -> list[str]:
        remarks = [run.curve.note for run in self.runs if run.curve.note]
        lengths = {each.label: int(each.steps[-1]) for each in self.learners if each.adapts}
        if len(set(lengths.values())) > 1:
            texts = ", ".join(f"{label} {count}" for label, count in lengths.items())
            remarks.append(f"the last adaptation step differs: {texts}")
        failed = [(each.label, each.failed_episodes) for each in self.learners]
        remarks += [
            f"{count} evaluation episodes of {label} failed in the simulator"
            for label, count in failed
            if count
        ]
        for name in _VERSIONS:
            versions = sorted({str(run.versions.get(name, "unknown")) for run in self.runs})
            if len(versions) > 1:
                remarks.append(f"trained with different versions of {name}: {', '.join(versions)}")
        return remarks


@dataclass(frozen=True, eq=False)
class Comparison:
    """All families that the runs belong to, on one split."""

    split: str
    families: tuple[FamilyComparison, ...]


def compare_runs(runs: Sequence[EvaluatedRun], split: str, allow_mixed: bool = False) -> Comparison:
    """Group runs by family, learner and seed.

    Runs of one family that differ in its version, the horizon, the task list, the number of
    tasks or episodes, or the version of MuJoCo are refused by UserError; with `allow_mixed` they
    are different learners, side by side, and the family's `warnings` say what differs.
    """
    families: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        families.setdefault(run.family, []).append(run)
    compared = [_compare_family(members, allow_mixed) for members in families.values()]
    return Comparison(split, tuple(sorted(compared, key=lambda family: family.name)))


def _compare_family(runs: Sequence[EvaluatedRun], allow_mixed: bool) -> FamilyComparison:
    mixed = _mixed(runs)
    if mixed and not allow_mixed:
        name, values = next(iter(mixed.items()))
        found = "; ".join(f"{value} in {_some(paths)}" for value, paths in values.items())
        raise UserError(
            f"runs on {runs[0].family} differ in {name}: {found}; compare runs of one kind, or add "
            "--allow-mixed and the report will say what differs"
        )
    names = sorted({run.config.tasks.family for run in runs})
    options = runs[0].family.partition(" (")[1:]
    name = " and ".join(names) + "".join(options)
    return FamilyComparison(name, tuple(group(runs, tuple(mixed))), mixed)


def _mixed(runs: Sequence[EvaluatedRun]) -> dict[str, dict[str, list[str]]]:
    found: dict[str, dict[str, list[str]]] = {}
    for run in runs:
        for name, value in run.protocol.items():
            found.setdefault(name, {}).setdefault(str(value), []).append(str(run.path))
    return {name: values for name, values in found.items() if len(values) > 1}


def _some(paths: Sequence[str]) -> str:
    return paths[0] if len(paths) == 1 else f"{paths[0]} and {len(paths) - 1} more"


def _improvement(first: LearnerResult, second: LearnerResult) -> Improvement:
    distinct = first.distinct_tasks
    last = improvement(*_last_scores(first, second), distinct_tasks=distinct)
    both = [each.curve for learner in (first, second) if learner.adapts for each in learner.runs]
    if not both:
        return Improvement(first, second, last, last, None)
    count = min(float(curve.environment_steps[-1]) for curve in both)
    scores = _on_common_tasks(first.at_environment_steps(count), second.at_environment_steps(count))
    return Improvement(first, second, last, improvement(*scores, distinct_tasks=distinct), count)


def _last_scores(first: LearnerResult, second: LearnerResult) -> tuple[np.ndarray, np.ndarray]:
    return _on_common_tasks(first.returns[:, :, -1], second.returns[:, :, -1])


def _on_common_tasks(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tasks are taken from the start of a list, so the shorter one is the start of the longer."""
    tasks = min(x.shape[1], y.shape[1])
    return x[:, :tasks], y[:, :tasks]


def _share_tasks(first: LearnerResult, second: LearnerResult) -> bool:
    one, other = (_task_list(each.runs[0]) for each in (first, second))
    return one == other


def _task_list(run: EvaluatedRun) -> tuple[Any, ...]:
    return run.config.tasks.family, run.protocol["task list"]

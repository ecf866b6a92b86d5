"""One learner on one family: all its seeds, their pooled curve and what it says."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np

from metarl.errors import UserError
from metarl.evaluation.comparison.runs import EvaluatedRun
from metarl.evaluation.comparison_statistics import BOOTSTRAP_SEED, Estimate, estimate
from metarl.evaluation.curves import AdaptationCurve
from metarl.evaluation.statistics import bootstrap_interval, interquartile_mean, worst_share_mean

ROLES = {
    "random": "random",
    "multi_task_ppo": "pre-trained",
    "oracle_ppo": "oracle",
    "ppo_from_scratch": "other baseline",
    "distillation_ppo": "other baseline",
    "mutual_distance_ppo": "other baseline",
}
"""What the baselines are there for; any other algorithm is a learner."""
_SHOWN_SETTINGS = 3


@dataclass(frozen=True, eq=False)
class LearnerResult:
    """The runs of one learner on one family, one for each seed, on the same K tasks.

    Every interval is a 95 % percentile bootstrap over whole seeds and tasks.
    """

    label: str
    runs: tuple[EvaluatedRun, ...]

    @property
    def algorithm(self) -> str:
        """The name of the algorithm."""
        return self.runs[0].algorithm

    @property
    def role(self) -> str:
        """random, pre-trained, oracle, other baseline or learner."""
        return ROLES.get(self.algorithm, "learner")

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs, ascending."""
        return tuple(run.seed for run in self.runs)

    @cached_property
    def returns(self) -> np.ndarray:
        """Return of each run on each task after 0..S adaptation steps, `[seeds, K, S + 1]`."""
        return np.stack([run.curve.returns for run in self.runs])

    @cached_property
    def environment_steps(self) -> np.ndarray:
        """Environment steps per task before each point, mean over seeds, `[S + 1]`."""
        return np.mean([run.curve.environment_steps for run in self.runs], axis=0)

    @property
    def steps(self) -> np.ndarray:
        """Adaptation steps 0..S, `[S + 1]`."""
        return np.arange(self.returns.shape[2])

    @property
    def adapts(self) -> bool:
        """Whether the curve has more than one point; else it is a level."""
        return len(self.steps) > 1

    @property
    def mean(self) -> np.ndarray:
        """Mean over seeds and tasks, `[S + 1]`."""
        return self.returns.mean(axis=(0, 1))

    @cached_property
    def iqm(self) -> np.ndarray:
        """Interquartile mean over seeds and tasks, `[S + 1]`."""
        return interquartile_mean(self.returns.reshape(-1, len(self.steps)), axis=0)

    @cached_property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper end of the interval of `iqm`, `[S + 1]` each."""
        return bootstrap_interval(
            self.returns,
            interquartile_mean,
            seed=BOOTSTRAP_SEED,
            whole_seeds=True,
            distinct_tasks=self.distinct_tasks,
        )

    @property
    def final(self) -> Estimate:
        """Interquartile mean after the last step."""
        low, high = self.interval
        return Estimate(float(self.iqm[-1]), float(low[-1]), float(high[-1]))

    @cached_property
    def adaptation_gain(self) -> Estimate | None:
        """Mean return after the first step minus before it; None for a level."""
        return self._gain(1)

    @cached_property
    def final_gain(self) -> Estimate | None:
        """Mean return after the last step minus before the first; None for a level."""
        return self._gain(-1)

    @cached_property
    def worst(self) -> Estimate:
        """Mean of the lowest fifth of the runs' tasks after the last step (CVaR)."""
        statistic = partial(worst_share_mean, share=0.2)
        return estimate(self.returns[:, :, -1], statistic, self.distinct_tasks)

    @property
    def training_steps(self) -> float:
        """Environment steps of one training, mean over seeds."""
        return float(np.mean([run.training_steps for run in self.runs]))

    @property
    def failed_episodes(self) -> int:
        """Evaluation episodes that the simulator broke off."""
        return sum(int(run.curve.details.get("failed_episodes", 0)) for run in self.runs)

    @property
    def distinct_tasks(self) -> int | None:
        """Where a finite family repeats its tasks cyclically, how many there are."""
        return self.runs[0].curve.details.get("distinct_tasks")

    def at_environment_steps(self, count: float) -> np.ndarray:
        """Return after `count` environment steps per task, `[seeds, K]`.

        Between two points of a run's curve on the straight line from one to the other; a level
        everywhere the same.
        """
        return np.stack([_interpolate(run.curve, count) for run in self.runs])

    def _gain(self, step: int) -> Estimate | None:
        if not self.adapts:
            return None
        gains = self.returns[:, :, step] - self.returns[:, :, 0]
        return estimate(gains, np.mean, self.distinct_tasks)


def group(runs: Sequence[EvaluatedRun], separate: Sequence[str] = ()) -> list[LearnerResult]:
    """The runs of one family by learner, best first.

    `separate` names entries of the runs' protocol that are part of a learner too: runs that differ
    there are never pooled. Raises UserError for two runs of one learner and seed, and for curves
    of one learner that differ in length.
    """
    grouped: dict[str, list[EvaluatedRun]] = {}
    for run in runs:
        grouped.setdefault(repr(sorted(_identity(run, separate).items())), []).append(run)
    members = [tuple(sorted(group, key=lambda run: run.seed)) for group in grouped.values()]
    for group in members:
        _check(group)
    labels = _labels([_identity(group[0], separate) for group in members])
    results = [LearnerResult(*pair) for pair in zip(labels, members, strict=True)]
    return sorted(results, key=lambda result: (-result.iqm[-1], result.label))


def differing_settings(learners: Sequence[LearnerResult]) -> dict[str, dict[str, list[str]]]:
    """Per algorithm with several learners: the settings that differ, with the value of each."""
    tables = {}
    for algorithm in dict.fromkeys(learner.algorithm for learner in learners):
        settings = [each.runs[0].settings for each in learners if each.algorithm == algorithm]
        if len(settings) > 1:
            keys = _differing(settings)
            tables[algorithm] = {key: [_text(s.get(key)) for s in settings] for key in keys}
    return tables


def _interpolate(curve: AdaptationCurve, count: float) -> np.ndarray:
    """The returns `[K]` after `count` environment steps per task."""
    steps, returns = curve.environment_steps, curve.returns
    after = int(np.searchsorted(steps, count))
    if after in (0, len(steps)):
        return returns[:, 0 if after == 0 else -1]
    share = (count - steps[after - 1]) / (steps[after] - steps[after - 1])
    return (1.0 - share) * returns[:, after - 1] + share * returns[:, after]


def _identity(run: EvaluatedRun, separate: Sequence[str]) -> dict[str, Any]:
    return run.settings | {name: run.protocol[name] for name in separate}


def _check(runs: Sequence[EvaluatedRun]) -> None:
    for first, second in itertools.pairwise(runs):
        if first.seed == second.seed:
            raise UserError(
                f"{first.path} and {second.path} are the same learner on {first.family} with the "
                f"same seed, {first.seed}; leave one out"
            )
        if first.curve.returns.shape != second.curve.returns.shape:
            raise UserError(
                f"{first.path} and {second.path} are one learner, evaluated after "
                f"{first.curve.steps[-1]} and {second.curve.steps[-1]} adaptation steps; "
                "evaluate both with the same --steps"
            )


def _labels(identities: Sequence[Mapping[str, Any]]) -> list[str]:
    """The algorithm of each, with the settings that differ where several learners share it."""
    names = [identity["algorithm.name"] for identity in identities]
    labels = list(names)
    for name in set(names):
        places = [place for place, other in enumerate(names) if other == name]
        if len(places) > 1:
            texts = _told_apart([identities[place] for place in places])
            for place, text in zip(places, texts, strict=True):
                labels[place] = f"{name} ({text})"
    return labels


def _told_apart(identities: Sequence[Mapping[str, Any]]) -> list[str]:
    """The values of a few settings that differ, or of all where a few do not suffice."""
    keys = _differing(identities)
    for count in (_SHOWN_SETTINGS, len(keys)):
        texts = [
            ", ".join(f"{key.split('.')[-1]}={_text(each.get(key))}" for key in keys[:count])
            for each in identities
        ]
        if len(set(texts)) == len(texts):
            return texts
    raise AssertionError("learners are apart because a setting differs")


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for each in settings for key in each)
    return [key for key in keys if len({repr(each.get(key)) for each in settings}) > 1]


def _text(value: Any) -> str:
    """A setting as its YAML has it."""
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_text, value)) + "]"
    return (
        "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    )

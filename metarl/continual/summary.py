"""From the records of continual runs to one line of metrics for every method and strength."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from metarl.continual import remarks
from metarl.continual.analysis import Analysis, Group
from metarl.continual.record import ContinualRecord
from metarl.evaluation.comparison_statistics import Estimate
from metarl.evaluation.statistics import bootstrap_interval

METRICS: dict[str, str] = {
    "average_performance": "normalised return on all tasks at the end (1: from-scratch, 0: random)",
    "forgetting": "normalised return lost since a task was last trained on, mean over tasks",
    "backward_transfer": "normalised return won since then, mean over tasks but the last trained",
    "forward_transfer": "training AUC above the from-scratch reference's, over what it leaves to 1",
    "auc": "mean normalised training return over the iterations of a stage, mean over stages",
    "auc_reference": "the same of the from-scratch reference",
    "zero_shot_transfer": "normalised return won on a task before it is first trained on",
    "adaptation_gain": "return won on the held-out task by a few updates, after the last stage",
    "adaptation_area": "mean return on the held-out task over these updates, after the last stage",
    "dormant_units": "share of hidden units that are dormant, after the last stage",
    "stable_rank": "stable rank of the last hidden layer's features, after the last stage",
    "weight_norm": "L2 norm of the policy network's parameters, after the last stage",
    "final_return": "return at the end, not normalised, mean over tasks",
}
"""Name and meaning of every metric, in the order of tables; formulas in `continual.metrics`."""

_BOOTSTRAP_SEED = 0  # a constant: the same records give the same intervals
_RESAMPLES = 10_000


@dataclass(frozen=True, eq=False)
class MethodSummary:
    """One method at one strength: its metrics over seeds."""

    method: str
    strength: float | None
    identity: str
    """`hidden`, `given` or `heads`."""
    variant: str
    """Settings of the algorithm in which the runs differ, `key=value, ...`; mostly empty."""
    seeds: int
    """Learners behind every number."""
    metrics: Mapping[str, Estimate]
    """By the names in `METRICS`: mean over seeds with its 95 % interval; NaN where undefined."""
    best: bool
    """Whether its average performance is the highest of the method's strengths, on these runs."""
    matrix: np.ndarray
    """R `[S + 1, J]`, not normalised, mean over seeds."""
    remarks: tuple[str, ...]
    """What these numbers do not mean."""


@dataclass(frozen=True, eq=False)
class Summary:
    """All methods of one or several runs on one sequence."""

    methods: tuple[MethodSummary, ...]
    tasks: tuple[str, ...]
    """Names of the J distinct tasks."""
    random: np.ndarray
    """`[J]`: return that is 0 after normalisation."""
    scratch: np.ndarray
    """`[J]`: return that is 1; NaN without from-scratch learners."""
    remarks: tuple[str, ...]
    """What holds for all of them: tasks that were not learned, interference, ... What concerns one
    method stands with it."""

    def __iter__(self) -> Iterator[MethodSummary]:
        return iter(self.methods)


def summarize(records: Sequence[ContinualRecord]) -> Summary:
    """The metrics of every method, strength, identity and variant.

    Returns are normalised by the mean of all from-scratch learners and of the random policies of
    all records. Seeds of one method are pooled over records; the intervals are percentile
    bootstraps of the mean over seeds.

    Raises UserError for no records, for records of different sequences, iterations, episodes,
    horizons or adaptation steps, and for one learner with different returns in two records.
    """
    analysis = Analysis.of(records)
    values = {
        group: [analysis.metrics_of(each) for each in own] for group, own in analysis.groups.items()
    }
    estimates = {group: _estimates(by_seed) for group, by_seed in values.items()}
    performance = {g: estimate["average_performance"].value for g, estimate in estimates.items()}
    best = _best(performance)
    return Summary(
        methods=tuple(
            _method_summary(analysis, group, estimates[group], group in best) for group in estimates
        ),
        tasks=tuple(analysis.names),
        random=analysis.normalization.random,
        scratch=analysis.normalization.scratch,
        remarks=tuple(remarks.on_all(analysis, performance)),
    )


def as_rows(summaries: Sequence[MethodSummary]) -> list[dict[str, str | float | int | None]]:
    """One flat row for each, for CSV and Markdown.

    Keys: method, strength, identity, variant, seeds, best; and for every metric `name`,
    `name_low`, `name_high`, floats that are NaN where undefined.
    """
    rows: list[dict[str, str | float | int | None]] = []
    for one in summaries:
        keys = ("method", "strength", "identity", "variant", "seeds", "best")
        row: dict[str, str | float | int | None] = {key: getattr(one, key) for key in keys}
        for name in METRICS:
            estimate = one.metrics[name]
            row |= {name: estimate.value, f"{name}_low": estimate.low}
            row[f"{name}_high"] = estimate.high
        rows.append(row)
    return rows


def mean_over_seeds(values: np.ndarray) -> Estimate:
    """The mean of `[seeds]` with its 95 % percentile bootstrap interval over seeds.

    The mean, as in Continual World, not the interquartile mean of our adaptation curves: of five
    seeds that would be the middle three. Intervals from a handful of seeds are too narrow rather
    than too wide. A single seed has no interval, and one NaN makes all NaN.
    """
    value = float(np.mean(values))
    if len(values) < 2 or not math.isfinite(value):
        return Estimate(value, math.nan, math.nan)
    low, high = bootstrap_interval(
        values[:, None, None],
        np.mean,
        seed=_BOOTSTRAP_SEED,
        resamples=_RESAMPLES,
        resample_tasks=False,
    )
    return Estimate(value, float(low[0]), float(high[0]))


def _estimates(by_seed: Sequence[Mapping[str, float]]) -> dict[str, Estimate]:
    return {name: mean_over_seeds(np.array([each[name] for each in by_seed])) for name in METRICS}


def _method_summary(
    analysis: Analysis, group: Group, estimates: Mapping[str, Estimate], best: bool
) -> MethodSummary:
    own = analysis.groups[group]
    return MethodSummary(
        method=group.method,
        strength=group.strength,
        identity=group.identity,
        variant=group.variant,
        seeds=len(own),
        metrics=estimates,
        best=best,
        matrix=np.mean([each.matrix for each in own], axis=0),
        remarks=tuple(remarks.on_group(analysis, group)),
    )


def _best(performance: Mapping[Group, float]) -> set[Group]:
    """Of each method, identity and variant, the strength with the highest performance."""
    highest: dict[tuple[str, ...], Group] = {}
    for group, value in performance.items():
        key = (group.method, *group.setting)
        other = highest.get(key)
        if not math.isnan(value) and (other is None or value > performance[other]):
            highest[key] = group
    return set(highest.values())

"""Statistics of two or more learners, after Agarwal et al. 2021 (rliable), sections 4.2 and 4.3.

Scores are `[seeds, tasks]`: the return of one training run per seed, seen on all tasks. That is
where meta-learning differs from the paper, whose (seed, task) pairs are each a training run of
their own: here resamples draw whole seeds, because the luck of one training shows on all tasks.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from metarl.evaluation.statistics import (
    Statistic,
    bootstrap_interval,
    check_bootstrap,
    draw_tasks,
    interquartile_mean,
    percentile_interval,
)
from metarl.tasks.streams import stream

BOOTSTRAP_SEED = 0
"""A constant: the same runs give the same intervals."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A value and its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


def estimate(
    scores: np.ndarray, statistic: Statistic, distinct_tasks: int | None = None
) -> Estimate:
    """A statistic of `scores` `[seeds, tasks]`, pooled, with its interval over seeds and tasks."""
    low, high = bootstrap_interval(
        scores[:, :, None],
        statistic,
        seed=BOOTSTRAP_SEED,
        resamples=RESAMPLES,
        whole_seeds=True,
        distinct_tasks=distinct_tasks,
    )
    value = statistic(scores.reshape(-1, 1), 0)[0]
    return Estimate(float(value), float(low[0]), float(high[0]))


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """P(X > Y), the mean over tasks of how often a run of X beats a run of Y; ties count half.

    For each task it is the Mann-Whitney U statistic over the product of the numbers of seeds
    (Agarwal et al. 2021, section 4.3).

    Args:
        x: scores `[seeds of X, tasks]`.
        y: scores `[seeds of Y, tasks]` on the same tasks; other numbers of seeds are welcome.

    Raises ValueError for other shapes or scores that are not finite.
    """
    return float(_wins(x, y).mean())


def improvement(
    x: ArrayLike,
    y: ArrayLike,
    *,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    whole_seeds: bool = True,
    distinct_tasks: int | None = None,
) -> Estimate:
    """`probability_of_improvement` with its bootstrap interval.

    Every resample draws whole seeds of X and of Y, each from their own, and the tasks jointly.
    `whole_seeds=False` is the paper's stratified bootstrap: the tasks are fixed, and the seeds of
    each are drawn independently of those of the others. Options as in `bootstrap_interval`.
    """
    wins = _wins(x, y)
    check_bootstrap(resamples, confidence)
    generator = stream(seed, "bootstrap of two")
    tasks = wins.shape[2]
    task_weights = np.ones((resamples, tasks))
    if whole_seeds:
        drawn = draw_tasks(generator, resamples, tasks, distinct_tasks or tasks)
        task_weights = _counts(drawn, tasks)
    columns = 1 if whole_seeds else tasks
    of_x = _seed_weights(generator, resamples, wins.shape[0], columns)
    of_y = _seed_weights(generator, resamples, wins.shape[1], columns)
    total = np.zeros(resamples)
    for i, j in np.ndindex(wins.shape[:2]):
        total += (of_x[:, i] * of_y[:, j] * task_weights) @ wins[i, j]
    low, high = percentile_interval(total / wins.size, confidence)
    return Estimate(float(wins.mean()), float(low), float(high))


def difference(
    x: ArrayLike,
    y: ArrayLike,
    statistic: Statistic = interquartile_mean,
    *,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    distinct_tasks: int | None = None,
) -> Estimate:
    """`statistic(x) - statistic(y)` over pooled seeds and tasks, with its bootstrap interval.

    Tasks are drawn jointly, so their difficulty, which both share, does not widen the interval;
    whole seeds are drawn from each learner's own.
    """
    x, y = _same_tasks(x, y)
    check_bootstrap(resamples, confidence)
    generator = stream(seed, "bootstrap of two")
    tasks = x.shape[1]
    drawn = draw_tasks(generator, resamples, tasks, distinct_tasks or tasks)[:, None, :]
    resampled = []
    for scores in (x, y):
        seeds = generator.integers(len(scores), size=(resamples, len(scores), 1))
        resampled.append(statistic(scores[seeds, drawn].reshape(resamples, -1), 1))
    low, high = percentile_interval(resampled[0] - resampled[1], confidence)
    value = statistic(x.ravel(), 0) - statistic(y.ravel(), 0)
    return Estimate(float(value), float(low), float(high))


def performance_profile(
    scores: ArrayLike,
    thresholds: ArrayLike,
    *,
    seed: int = BOOTSTRAP_SEED,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    distinct_tasks: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The fraction of runs and tasks that score above each threshold, and a pointwise band.

    The run-score distribution of Agarwal et al. 2021, section 4.2, with a strict inequality.

    Args:
        scores: `[seeds, tasks]`.
        thresholds: tau, `[points]`.

    Returns the profile and the low and high ends of its band, `[points]` each.
    """
    array = _scores(scores)
    check_bootstrap(resamples, confidence)
    above = (array.reshape(-1, 1) > np.asarray(thresholds)).astype(np.float64)
    generator = stream(seed, "bootstrap")
    seeds, tasks = array.shape
    drawn = draw_tasks(generator, resamples, tasks, distinct_tasks or tasks)
    weights = _seed_weights(generator, resamples, seeds, 1) * _counts(drawn, tasks)[:, None]
    resampled = weights.reshape(resamples, -1) @ above / array.size
    return above.mean(axis=0), *percentile_interval(resampled, confidence)


def _wins(x: ArrayLike, y: ArrayLike) -> np.ndarray:
    """Whether run i of X beats run j of Y on task k, `[seeds of X, seeds of Y, tasks]`."""
    x, y = _same_tasks(x, y)
    return (np.sign(x[:, None] - y[None]) + 1.0) / 2.0


def _same_tasks(x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    first, second = _scores(x), _scores(y)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"both need the same tasks: {first.shape[1]} and {second.shape[1]}")
    return first, second


def _scores(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"scores must be finite and [seeds, tasks], got shape {array.shape}")
    return array


def _seed_weights(
    generator: np.random.Generator, resamples: int, seeds: int, columns: int
) -> np.ndarray:
    """How often each seed is drawn, `[resamples, seeds, columns]`."""
    drawn = generator.integers(seeds, size=(resamples, columns, seeds))
    flat = _counts(drawn.reshape(-1, seeds), seeds)
    return flat.reshape(resamples, columns, seeds).swapaxes(1, 2)


def _counts(drawn: np.ndarray, size: int) -> np.ndarray:
    """How often each of 0..size-1 stands in every row of `drawn`, `[rows, size]`."""
    rows = np.arange(len(drawn))[:, None] * size
    counted = np.bincount((drawn + rows).ravel(), minlength=len(drawn) * size)
    return counted.reshape(len(drawn), size).astype(np.float64)

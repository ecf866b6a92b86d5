"""Robust aggregates and bootstrap intervals, after Agarwal et al. 2021 (rliable).

"Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021. We own these
few lines because rliable neither imports with current pandas nor honours its seed.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from metarl.tasks.streams import stream

Statistic = Callable[[np.ndarray, int], np.ndarray]
"""Reduces the given axis of an array: `interquartile_mean`, `np.mean`, `np.median`, ..."""


def interquartile_mean(values: ArrayLike, axis: int | None = None) -> np.ndarray:
    """The mean of the middle half (Agarwal et al. 2021, section 4.3): a 25 % trimmed mean.

    Of n sorted values the floor(n / 4) smallest and largest are dropped, as `scipy.stats.trim_mean`
    and rliable do, so fewer than four values give the plain mean. `axis=None` pools all values.

    Raises:
        ValueError: no values, or one that is not finite.
    """
    array = _finite(values)
    if axis is None:
        array, axis = array.ravel(), 0
    from scipy.stats import trim_mean  # late: it takes a second to import

    return np.asarray(trim_mean(array, 0.25, axis=axis))


def bootstrap_interval(
    values: ArrayLike,
    statistic: Statistic,
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
    resample_tasks: bool = True,
    whole_seeds: bool = False,
    distinct_tasks: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The percentile bootstrap interval `(low, high)` of a statistic over tasks and seeds.

    `values` is `[tasks]`, `[tasks, steps]` or `[seeds, tasks, steps]`; low and high are `[]`,
    `[steps]` and `[steps]`. Pass `[seeds, tasks]` as `[seeds, tasks, 1]`. Every resample has the
    shape of `values`; its seeds and tasks are pooled into one axis that `statistic(array, axis)`
    reduces. What is drawn, with replacement, in every resample:

    - the tasks, unless `resample_tasks` is False (then the tasks are taken as fixed, as rliable
      does by default, and the interval speaks of these tasks only);
    - for every task of the resample, the stratum, the seeds, independently of the other tasks
      (the stratified bootstrap of Agarwal et al. 2021, section 4.1). One run has no seeds to draw.

    All steps share the draw, so the points of a curve stay paired. A single task of a single run
    has one resample only: the interval collapses to the point.

    Args:
        seed: names the random stream (Philox); the same seed gives the same interval.
        resamples: number of bootstrap resamples.
        confidence: probability mass between low and high, in (0, 1).
        resample_tasks: draw the tasks as well.
        whole_seeds: draw the seeds once for all tasks of a resample. The strata are independent
            where every (seed, task) is a training run of its own; a meta-learner's seed is *one*
            training run seen on all tasks, and only this option then keeps its luck in the
            interval.
        distinct_tasks: D tasks repeated cyclically, rows k, k + D, ... being one task: the
            repetitions are drawn within each distinct task, so every resample keeps all D tasks.

    Raises:
        ValueError: values of another shape, none, or one that is not finite; options out of range.
    """
    cube = _seeds_tasks_steps(values)
    seeds, tasks, steps = cube.shape
    if seeds == 1 and not resample_tasks:
        raise ValueError("one run with resample_tasks=False leaves nothing to resample")
    check_bootstrap(resamples, confidence)
    generator = stream(seed, "bootstrap")
    drawn_tasks = np.arange(tasks)[None]
    if resample_tasks:
        drawn_tasks = draw_tasks(generator, resamples, tasks, distinct_tasks or tasks)
    drawn_seeds = generator.integers(seeds, size=(resamples, seeds, 1 if whole_seeds else tasks))
    pooled = cube[drawn_seeds, drawn_tasks[:, None, :]].reshape(resamples, seeds * tasks, steps)
    low, high = percentile_interval(statistic(pooled, 1), confidence)
    return (low[0], high[0]) if np.ndim(values) == 1 else (low, high)


def worst_share_mean(values: np.ndarray, axis: int, share: float = 0.2) -> np.ndarray:
    """The mean of the lowest `share` of the values: their conditional value at risk (CVaR).

    Of n sorted values the lowest floor(share n) count fully and the next one with the rest of
    share n, so that exactly this share of the probability is averaged (Rockafellar and Uryasev
    2002, for a discrete distribution).

    Raises ValueError for a share outside (0, 1], no values, or one that is not finite.
    """
    if not 0.0 < share <= 1.0:
        raise ValueError(f"the share must lie in (0, 1], got {share}")
    array = np.moveaxis(_finite(values), axis, -1)
    mass = share * array.shape[-1]
    count = math.ceil(mass)
    lowest = np.sort(np.partition(array, count - 1, axis=-1)[..., :count], axis=-1)
    weights = np.minimum(1.0, mass - np.arange(count))
    return lowest @ weights / mass


def check_bootstrap(resamples: int, confidence: float) -> None:
    """ValueError for fewer than one resample or a confidence outside (0, 1)."""
    if not (resamples >= 1 and 0.0 < confidence < 1.0):
        raise ValueError(f"need resamples >= 1 and 0 < confidence < 1: {resamples}, {confidence}")


def percentile_interval(
    resampled: np.ndarray, confidence: float = 0.95
) -> tuple[np.ndarray, np.ndarray]:
    """The percentile interval of a statistic's resamples `[resamples, ...]`."""
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(resampled, [tail, 1.0 - tail], axis=0)
    return low, high


def draw_tasks(
    generator: np.random.Generator, resamples: int, tasks: int, distinct: int
) -> np.ndarray:
    """Row indices `[resamples, tasks]`; a repeated task is drawn from its own rows."""
    if distinct < 1:
        raise ValueError(f"distinct_tasks must be at least 1, got {distinct}")
    if distinct >= tasks:
        return generator.integers(tasks, size=(resamples, tasks))
    first = np.arange(tasks) % distinct
    repetitions = (tasks - first + distinct - 1) // distinct
    return first + distinct * generator.integers(repetitions, size=(resamples, tasks))


def _seeds_tasks_steps(values: ArrayLike) -> np.ndarray:
    array = _finite(values)
    if array.ndim not in (1, 2, 3):
        raise ValueError(
            f"expected [tasks], [tasks, steps] or [seeds, tasks, steps], got shape {array.shape}"
        )
    array = array[:, None] if array.ndim == 1 else array
    return array[None] if array.ndim == 2 else array


def _finite(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError("no values to aggregate")
    bad = array.size - int(np.isfinite(array).sum())
    if bad:
        raise ValueError(f"{bad} of {array.size} values are not finite: NaN or infinity")
    return array

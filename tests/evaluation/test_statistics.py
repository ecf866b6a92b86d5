"""Aggregates and intervals, against arithmetic by hand and exact enumeration of resamples."""

from collections import Counter

import numpy as np
import pytest

from metarl.evaluation.statistics import bootstrap_interval, interquartile_mean


def test_interquartile_mean_drops_a_quarter_at_each_end():
    # 8 values: 0, 1 and 6, 1000 are dropped, (2 + 3 + 4 + 5) / 4 = 3.5
    assert interquartile_mean([1000, 0, 5, 1, 4, 2, 3, 6]) == 3.5


def test_interquartile_mean_rounds_the_dropped_share_down():
    # 3 / 4 of a value is none: (0 + 3 + 12) / 3; of 5 values one goes at each end: (1 + 2 + 3) / 3
    assert interquartile_mean([0, 3, 12]) == 5.0
    assert interquartile_mean([-50, 1, 2, 3, 99]) == 2.0


def test_interquartile_mean_reduces_the_axis_it_is_given():
    values = np.array([[1, 10], [2, 20], [3, 30], [100, 1000]])
    assert interquartile_mean(values, axis=0).tolist() == [2.5, 25.0]
    # pooled: 1 2 | 3 10 20 30 | 100 1000
    assert interquartile_mean(values) == 15.75


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad):
    with pytest.raises(ValueError, match="1 of 3 values are not finite"):
        interquartile_mean([1.0, bad, 2.0])
    with pytest.raises(ValueError, match="1 of 3 values are not finite"):
        bootstrap_interval([1.0, bad, 2.0], np.mean, seed=0)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        interquartile_mean([])


# The 27 resamples of (0, 3, 12) by their sum; each is equally likely.
SUMS = {0: 1, 3: 3, 6: 3, 9: 1, 12: 3, 15: 6, 18: 3, 24: 3, 27: 3, 36: 1}


@pytest.mark.parametrize(
    ("confidence", "low", "high"),
    [
        (0.95, 0.0, 12.0),  # 2.5 % lies within the 1/27 = 3.7 % of sum 0 and of sum 36
        (0.80, 1.0, 9.0),  # 10 % lies between 1/27 and 4/27 = 14.8 %: sums 3 and 27
    ],
)
def test_interval_of_three_tasks_is_that_of_the_27_resamples(confidence, low, high):
    interval = bootstrap_interval([0, 3, 12], np.mean, seed=1, confidence=confidence)
    assert interval == (low, high)


def test_resamples_of_three_tasks_have_the_enumerated_frequencies():
    seen = Counter()

    def recording_sum(values, axis):
        sums = values.sum(axis)
        seen.update(sums.ravel().astype(int).tolist())
        return sums

    bootstrap_interval([0, 3, 12], recording_sum, seed=2, resamples=27_000)
    assert seen.keys() == SUMS.keys()
    for total, ways in SUMS.items():
        # binomial standard deviation: at most sqrt(27000 * 6/27 * 21/27) = 68
        assert abs(seen[total] - 1000 * ways) < 4 * 69


def test_the_same_seed_gives_the_same_interval_and_another_does_not():
    values = np.random.default_rng(3).normal(size=40)
    first = bootstrap_interval(values, interquartile_mean, seed=5)
    np.random.seed(0)  # a global generator must not matter
    assert bootstrap_interval(values, interquartile_mean, seed=5) == first
    assert bootstrap_interval(values, interquartile_mean, seed=6) != first


def test_all_steps_of_a_curve_share_their_resampled_tasks():
    before = np.array([0.0, 3.0, 12.0, 40.0])
    gains = []

    def recording_mean(values, axis):
        means = values.mean(axis)
        gains.extend(means[:, 1] - means[:, 0])
        return means

    low, high = bootstrap_interval(np.stack([before, before + 5], 1), recording_mean, seed=0)
    assert low.shape == high.shape == (2,)
    assert len(gains) == 2000
    assert set(gains) == {5.0}


def test_one_task_has_an_interval_of_no_width():
    assert bootstrap_interval([7.0], interquartile_mean, seed=0) == (7.0, 7.0)


# Two seeds on two tasks at one step: task 0 gave 0 and 1, task 1 gave 100 and 101.
SEEDS_AND_TASKS = np.array([[0.0, 100.0], [1.0, 101.0]])[:, :, None]


def test_seeds_are_resampled_within_each_task():
    # Task means are 0, .5, .5, 1 above their base: the sum 50 has 1/16, 50.25 has 4/16, ...
    def interval(confidence):
        return bootstrap_interval(
            SEEDS_AND_TASKS, np.mean, seed=0, resample_tasks=False, confidence=confidence
        )

    assert interval(0.95) == ([50.0], [51.0])  # 2.5 % < 1/16 = 6.25 %
    assert interval(0.80) == ([50.25], [50.75])  # 6.25 % < 10 % < 31.25 %


def test_resampling_tasks_as_well_widens_the_interval():
    # Task 0 twice (1/4) and then seed 0 in all of four draws (1/16) is 1.6 %, mean 0;
    # in three of the four draws (4/16) another 6.2 %, mean .25: 2.5 % lies there.
    assert bootstrap_interval(SEEDS_AND_TASKS, np.mean, seed=0) == ([0.25], [100.75])


def test_whole_seeds_keep_the_luck_of_a_training_run_in_the_interval():
    # Both draws seed 0 on all tasks: 1/4, so 10 % is the mean of seed 0, (0 + 100) / 2.
    interval = bootstrap_interval(
        SEEDS_AND_TASKS, np.mean, seed=0, resample_tasks=False, whole_seeds=True, confidence=0.8
    )
    assert interval == ([50.0], [51.0])


def test_repetitions_are_resampled_within_each_distinct_task():
    # Every resample has two rows of 0 and two of 100: the mean is always 50.
    values = [0.0, 100.0, 0.0, 100.0]
    assert bootstrap_interval(values, np.mean, seed=0, distinct_tasks=2) == (50.0, 50.0)
    assert bootstrap_interval(values, np.mean, seed=0) == (0.0, 100.0)  # 1/16 each


def test_every_repetition_of_an_uneven_cycle_can_be_drawn():
    # Task 0 is rows 0, 2, 4 and task 1 rows 1, 3.
    seen = set()

    def recording_mean(values, axis):
        seen.update(map(tuple, values[:, :, 0].astype(int).tolist()))
        return values.mean(axis)

    bootstrap_interval([0, 1, 2, 3, 4], recording_mean, seed=0, distinct_tasks=2)
    assert len(seen) == 3**3 * 2**2
    assert all({row[0], row[2], row[4]} <= {0, 2, 4} for row in seen)
    assert all({row[1], row[3]} <= {1, 3} for row in seen)


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([1.0, 2.0], {"resample_tasks": False}, "nothing to resample"),
        ([1.0, 2.0], {"confidence": 95}, "confidence"),
        ([1.0, 2.0], {"resamples": 0}, "resamples"),
        ([1.0, 2.0], {"distinct_tasks": -1}, "distinct_tasks"),
        (1.0, {}, "expected"),
    ],
)
def test_impossible_requests_are_refused(values, options, message):
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, np.mean, seed=0, **options)

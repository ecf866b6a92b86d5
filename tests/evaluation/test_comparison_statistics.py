"""Statistics of two learners, against arithmetic by hand and exact enumeration of resamples."""

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from metarl.evaluation.comparison_statistics import (
    difference,
    estimate,
    improvement,
    performance_profile,
    probability_of_improvement,
)
from metarl.evaluation.statistics import interquartile_mean, worst_share_mean


def test_probability_of_improvement_by_hand():
    # task 0: 3 beats 1 and 2, 1 ties with 1 and loses to 2: (2 + .5) / 4; task 1: all lost
    x = np.array([[3.0, 0.0], [1.0, 0.0]])
    y = np.array([[1.0, 5.0], [2.0, 6.0]])
    assert probability_of_improvement(x, y) == (2.5 / 4 + 0) / 2
    assert probability_of_improvement(y, x) == 1 - 2.5 / 8


def test_probability_of_improvement_is_the_papers_mann_whitney_statistic():
    # Agarwal et al. 2021, section 4.3: the mean over tasks of U / (N M); seeds may differ in number
    generator = np.random.default_rng(0)
    x, y = generator.integers(0, 5, (4, 7)) + 0.0, generator.integers(0, 4, (3, 7)) + 0.0
    u = [mannwhitneyu(x[:, task], y[:, task]).statistic / 12 for task in range(7)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(u))


def test_only_the_order_within_a_task_matters():
    x, y = np.array([[1.0, 2000.0]]), np.array([[0.0, 3000.0]])
    assert probability_of_improvement(x, y) == 0.5


def test_one_run_each_resamples_the_tasks_jointly():
    # Wins on 2 of 3 tasks: of 27 resamples 8 win all, 12 two, 6 one, 1 none.
    x, y = np.array([[1.0, 1.0, 0.0]]), np.array([[0.0, 0.0, 1.0]])

    def interval(confidence):
        found = improvement(x, y, confidence=confidence)
        return found.value, found.low, found.high

    assert interval(0.95) == pytest.approx((2 / 3, 0.0, 1.0))  # none: 1/27 = 3.7 % > 2.5 %
    assert interval(0.80) == pytest.approx((2 / 3, 1 / 3, 1.0))  # 7/27 = 26 % > 10 % > 3.7 %


# Seed 0 of X wins on both tasks, seed 1 on none; Y has one run.
LUCKY = np.array([[1.0, 1.0], [-1.0, -1.0]])
LEVEL = np.zeros((1, 2))


def test_whole_seeds_keep_the_luck_of_a_training_run():
    # Seed 1 twice is 1/4 of the resamples: everything is lost.
    found = improvement(LUCKY, LEVEL, confidence=0.8)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)


def test_the_papers_strata_draw_seeds_within_each_task():
    # Four draws, two for each task: none wins 1/16, one 4/16, so 10 % is a quarter.
    found = improvement(LUCKY, LEVEL, confidence=0.8, whole_seeds=False)
    assert (found.value, found.low, found.high) == (0.5, 0.25, 0.75)


def test_repetitions_of_a_task_are_drawn_within_it():
    x, y = np.array([[1.0, 0.0, 1.0, 0.0]]), np.array([[0.0, 1.0, 0.0, 1.0]])
    found = improvement(x, y, distinct_tasks=2)
    assert (found.low, found.high) == (0.5, 0.5)
    found = difference(x, y, np.mean, distinct_tasks=2)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)


def test_the_difficulty_of_tasks_does_not_widen_a_difference():
    difficulty = np.array([0.0, 10.0, 500.0, 1000.0, 7.0])
    found = difference(difficulty[None] + 3.0, difficulty[None])
    assert (found.value, found.low, found.high) == pytest.approx((3.0, 3.0, 3.0))


def test_difference_draws_the_seeds_of_both_from_their_own():
    # X has runs 0 and 8, Y 0 and 2, on one task: X's means 0, 4, 4, 8 and Y's 0, 1, 1, 2, so that
    # -2 (1/16) and -1 (2/16) are the lowest of 16: 10 % lies in -1.
    x, y = np.array([[0.0], [8.0]]), np.array([[0.0], [2.0]])
    found = difference(x, y, np.mean, confidence=0.8)
    assert (found.value, found.low, found.high) == (3.0, -1.0, 7.0)


def test_difference_of_interquartile_means():
    x = np.array([[0.0, 1.0, 2.0, 3.0]])  # (1 + 2) / 2
    y = np.array([[-9.0, 1.0, 1.0, 99.0]])  # (1 + 1) / 2
    assert difference(x, y).value == 0.5


def test_profile_counts_runs_and_tasks_strictly_above():
    scores = np.array([[1.0, 2.0], [3.0, 4.0]])
    profile, low, high = performance_profile(scores, [0.0, 1.0, 2.5, 4.0])
    assert profile.tolist() == [1.0, 0.75, 0.5, 0.0]
    assert low.tolist() == [1.0, 0.0, 0.0, 0.0]  # above 1: seed 0 on task 0 in all draws is 1/16
    assert high.tolist() == [1.0, 1.0, 1.0, 0.0]


def test_profile_band_draws_whole_seeds_and_tasks():
    # Seed 0 is above everywhere, seed 1 nowhere: 0 and 1 have 1/4 each, whatever the tasks.
    scores = np.array([[1.0, 2.0, 3.0], [-1.0, -2.0, -3.0]])
    profile, low, high = performance_profile(scores, [0.0], confidence=0.6)
    assert (profile[0], low[0], high[0]) == (0.5, 0.0, 1.0)
    profile, low, high = performance_profile(scores, [0.0], confidence=0.4)
    assert (profile[0], low[0], high[0]) == (0.5, 0.5, 0.5)


def test_worst_share_is_the_mean_of_the_lowest_fifth():
    values = np.array([9.0, 1.0, 8.0, 3.0, 7.0, 6.0, 5.0, 4.0, 10.0, 20.0])
    assert worst_share_mean(values, 0) == 2.0  # (1 + 3) / 2
    assert worst_share_mean(values, 0, share=1.0) == values.mean()


def test_worst_share_takes_a_part_of_the_next_value():
    # 0.2 of 7 values are 1.4: the lowest and 0.4 of the second: (1 + 0.4 * 2) / 1.4
    assert worst_share_mean(np.arange(1.0, 8.0), 0) == pytest.approx(1.8 / 1.4)
    # fewer than five values: the lowest alone
    assert worst_share_mean(np.array([3.0, 1.0, 2.0]), 0) == 1.0


def test_worst_share_reduces_the_axis_it_is_given():
    values = np.array([[1.0, 10.0], [2.0, 20.0], [3.0, 5.0], [4.0, 40.0], [5.0, 50.0]])
    assert worst_share_mean(values, 0).tolist() == [1.0, 5.0]
    assert worst_share_mean(values, 1, share=0.5).tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]


@pytest.mark.parametrize("share", [0.0, 1.5])
def test_worst_share_refuses_an_impossible_share(share):
    with pytest.raises(ValueError, match="share"):
        worst_share_mean(np.ones(3), 0, share)


def test_estimate_pools_seeds_and_tasks_and_draws_whole_seeds():
    scores = np.array([[0.0, 0.0], [4.0, 4.0]])  # a lucky run and an unlucky one
    found = estimate(scores, np.mean)
    assert (found.value, found.low, found.high) == (2.0, 0.0, 4.0)
    assert estimate(np.array([[1.0, 2.0, 3.0, 99.0]]), interquartile_mean).value == 2.5


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.ones((1, 2)), np.ones((1, 3)), "the same tasks: 2 and 3"),
        (np.ones(2), np.ones(2), "seeds, tasks"),
        (np.full((1, 2), np.nan), np.ones((1, 2)), "finite"),
    ],
)
def test_scores_of_other_tasks_or_shapes_are_refused(x, y, message):
    for function in (probability_of_improvement, improvement, difference):
        with pytest.raises(ValueError, match=message):
            function(x, y)

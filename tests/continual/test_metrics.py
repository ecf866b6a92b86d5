"""Metrics of continual learning on matrices small enough to redo on paper."""

import numpy as np
import pytest

from metarl.continual import metrics
from metarl.continual.metrics import Normalization

NAN = np.nan
ONCE = (0, 1, 2)
P_ONCE = np.array([[0.0, 0.0, 0.1], [1.0, 0.2, 0.0], [0.5, 0.8, 0.3], [0.0, 0.6, 0.9]])
TWICE = (0, 1, 0, 1)
P_TWICE = np.array([[0.0, 0.0], [1.0, 0.2], [0.4, 1.0], [0.9, 0.5], [0.7, 0.8]])


def test_stages_of_tasks():
    assert metrics.first_stages(ONCE).tolist() == metrics.last_stages(ONCE).tolist() == [1, 2, 3]
    assert metrics.first_stages((1, 0, 0, 1, 2)).tolist() == [2, 1, 5]
    assert metrics.last_stages((1, 0, 0, 1, 2)).tolist() == [3, 4, 5]


def test_after_training_takes_the_last_stage_of_each_task():
    assert metrics.after_training(P_ONCE, ONCE).tolist() == [1.0, 0.8, 0.9]
    assert metrics.after_training(P_TWICE, TWICE).tolist() == [0.9, 0.8]


def test_normalization_by_hand():
    scale = Normalization(np.array([0.0, 10.0]), np.array([100.0, 60.0]))
    assert scale([[50.0, 60.0], [-20.0, 0.0]]).tolist() == [[0.5, 1.0], [-0.2, -0.2]]
    assert scale.of_stages([35.0, 50.0, 10.0], (1, 0, 1)).tolist() == [0.5, 0.5, 0.0]


def test_scratch_is_the_mean_over_seeds_after_the_last_stage_of_each_task():
    matrices = [
        [[9, 9], [1, 9], [9, 9], [10, 9], [9, 30]],
        [[9, 9], [2, 9], [9, 9], [20, 9], [9, 50]],
    ]
    assert Normalization.of([0.0, 0.0], matrices, TWICE).scratch.tolist() == [15.0, 40.0]


@pytest.mark.parametrize("scratch", [-5.0, -7.0, NAN])
def test_a_task_that_is_not_learned_is_flagged_and_never_divided(scratch):
    scale = Normalization(np.array([-5.0, 0.0]), np.array([scratch, 2.0]))
    assert scale.learned.tolist() == [False, True]
    np.testing.assert_array_equal(scale([1.0, 1.0]), [NAN, 0.5])


def test_average_performance_by_hand():
    assert metrics.average_performance(P_ONCE) == pytest.approx((0.0 + 0.6 + 0.9) / 3)
    assert metrics.average_performance(P_TWICE) == pytest.approx((0.7 + 0.8) / 2)


def test_exact_zeros_count():
    # COOM's averages drop them: the forgotten task would leave (0.6 + 0.9) / 2.
    assert metrics.average_performance(P_ONCE) == pytest.approx(0.5)
    assert metrics.average_performance(np.zeros((3, 2))) == 0.0
    assert metrics.forgetting(np.array([[0.0, 0.0], [0.6, 0.0], [0.6, 0.5]]), (0, 1)) == 0.0


def test_forgetting_counts_the_last_task_with_its_zero():
    assert metrics.forgetting(P_ONCE, ONCE) == pytest.approx((1.0 + 0.2 + 0.0) / 3)


def test_forgetting_with_repetition_starts_at_the_last_time():
    assert metrics.forgetting(P_TWICE, TWICE) == pytest.approx(((0.9 - 0.7) + 0.0) / 2)


def test_backward_transfer_leaves_the_last_task_out():
    assert metrics.backward_transfer(P_ONCE, ONCE) == pytest.approx((-1.0 - 0.2) / 2)
    assert metrics.backward_transfer(P_TWICE, TWICE) == pytest.approx(-0.2)


def test_forgetting_and_backward_transfer_are_the_same_sum():
    performance = np.random.default_rng(0).normal(size=(5, 7, 3))
    stages = (2, 0, 1, 2, 0, 1)
    forgetting = metrics.forgetting(performance, stages)
    np.testing.assert_allclose(3 * forgetting, -2 * metrics.backward_transfer(performance, stages))


def test_zero_shot_transfer_by_hand():
    # task 1: .2 - 0 after stage 1; task 2: .3 - .1 after stage 2
    assert metrics.zero_shot_transfer(P_ONCE, ONCE) == pytest.approx((0.2 + 0.2) / 2)
    assert metrics.zero_shot_transfer(P_TWICE, TWICE) == pytest.approx(0.2)


def test_one_task_has_nothing_to_transfer():
    performance = np.array([[0.0], [0.5], [0.7]])
    assert metrics.forgetting(performance, (0, 0)) == 0.0
    assert np.isnan(metrics.backward_transfer(performance, (0, 0)))
    assert np.isnan(metrics.zero_shot_transfer(performance, (0, 0)))


def test_isolated_forgetting_by_hand():
    expected = [[NAN, NAN, NAN], [0.5, NAN, NAN], [0.5, 0.2, NAN]]
    np.testing.assert_allclose(metrics.isolated_forgetting(P_ONCE, ONCE), expected)
    twice = [[NAN, NAN], [0.6, NAN], [NAN, 0.5], [0.2, NAN]]
    np.testing.assert_allclose(metrics.isolated_forgetting(P_TWICE, TWICE), twice)


def test_isolated_transfer_by_hand():
    expected = [[NAN, 0.2, -0.1], [NAN, NAN, 0.3], [NAN, NAN, NAN]]
    np.testing.assert_allclose(metrics.isolated_transfer(P_ONCE, ONCE), expected)
    twice = [[NAN, 0.2], [NAN, NAN], [NAN, NAN], [NAN, NAN]]
    np.testing.assert_allclose(metrics.isolated_transfer(P_TWICE, TWICE), twice)
    sums = np.nansum(expected, axis=0)[1:]
    assert metrics.zero_shot_transfer(P_ONCE, ONCE) == pytest.approx(sums.mean())


def test_only_counted_tasks_are_in_the_means():
    performance = P_ONCE.copy()
    performance[:, 1] = NAN
    counted = np.array([True, False, True])
    assert metrics.average_performance(performance, counted) == pytest.approx(0.45)
    assert metrics.forgetting(performance, ONCE, counted) == pytest.approx(0.5)
    assert metrics.backward_transfer(performance, ONCE, counted) == pytest.approx(-1.0)
    assert metrics.zero_shot_transfer(performance, ONCE, counted) == pytest.approx(0.2)
    assert np.isnan(metrics.average_performance(performance, np.zeros(3, dtype=bool)))


def test_a_stage_not_reached_makes_means_nan_instead_of_dropping_out():
    performance = P_ONCE.copy()
    performance[3] = NAN
    for value in (
        metrics.average_performance(performance),
        metrics.forgetting(performance, ONCE),
        metrics.backward_transfer(performance, ONCE),
    ):
        assert np.isnan(value)
    assert metrics.zero_shot_transfer(performance, ONCE) == pytest.approx(0.2)


def test_training_auc_by_hand():
    scale = Normalization(np.array([10.0, 0.0]), np.array([20.0, 4.0]))
    # stage 1 on task 1: mean 1 of 0 .. 4; stage 2 on task 0: mean 15 of 10 .. 20
    auc = metrics.training_auc([[0.0, 2.0, 10.0, 20.0], [4.0, 4.0, 10.0, 10.0]], (1, 0), scale)
    assert auc.tolist() == [[0.25, 0.5], [1.0, 0.0]]


def test_forward_transfer_by_hand():
    auc, reference = [0.5, 0.2], [0.25, 0.6]
    terms = metrics.forward_transfer_per_stage(auc, reference)
    np.testing.assert_allclose(terms, [0.25 / 0.75, -0.4 / 0.4])
    assert metrics.forward_transfer(auc, reference) == pytest.approx((1 / 3 - 1) / 2)
    assert metrics.forward_transfer(reference, reference) == 0.0


def test_forward_transfer_is_undefined_where_the_reference_reaches_one():
    terms = metrics.forward_transfer_per_stage([0.5, 2.0, 0.5], [1.0, 1.5, 0.5])
    np.testing.assert_array_equal(terms, [NAN, NAN, 0.0])
    assert np.isnan(metrics.forward_transfer([0.5, 0.5], [1.0, 0.0]))
    counted = np.array([False, True])
    assert metrics.forward_transfer([0.5, 0.5], [1.0, 0.0], counted) == 0.5
    assert metrics.mean_over_stages([0.5, 0.7], counted) == 0.7


def test_adaptation_by_hand():
    curves = np.array([[[0.0, 8.0, 10.0], [0.0, 2.0, 10.0]]])
    assert metrics.adaptation_gain(curves).tolist() == [[10.0, 10.0]]
    # trapezoids: (0 + 8) / 2 + (8 + 10) / 2 = 13, over 2 updates
    assert metrics.adaptation_area(curves).tolist() == [[6.5, 3.5]]


def test_adaptation_without_updates_or_without_a_held_out_task():
    assert metrics.adaptation_gain(np.array([[3.0]])).tolist() == [0.0]
    assert metrics.adaptation_area(np.array([[3.0]])).tolist() == [3.0]
    assert np.isnan(metrics.adaptation_gain(np.empty((4, 0)))).all()
    assert np.isnan(metrics.adaptation_area(np.empty((4, 0)))).all()

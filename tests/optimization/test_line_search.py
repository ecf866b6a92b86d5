"""Backtracking line search: what is accepted, and that nothing else moves the point."""

import math

import pytest
import torch
from torch import Tensor

from metarl.optimization import backtracking_line_search

POINT, STEP = torch.tensor([1.0]), torch.tensor([8.0])
# Candidates with decay 1/2: 1 - 8 = -7, 1 - 4 = -3, 1 - 2 = -1, 1 - 1 = 0, ...


def search(evaluate, old_loss: float = 1.0, limit: float = 10.0, max_steps: int = 5):
    return backtracking_line_search(evaluate, POINT, STEP, old_loss, limit, 0.5, max_steps)


def test_full_step_is_taken_when_it_improves_within_the_limit():
    result = search(lambda x: (-2.0, 3.0))
    assert result == (torch.tensor([-7.0]), True, -2.0, 3.0, 1)


def test_first_step_that_improves_is_taken_though_a_later_one_is_better():
    # loss x^2 < 10 first at -3 (9); 0 would be better
    result = search(lambda x: (float(x) ** 2, 0.0), old_loss=10.0)
    assert result == (torch.tensor([-3.0]), True, 9.0, 0.0, 2)


def test_step_beyond_the_limit_is_not_taken_though_it_improves():
    # |x - 1| = 8, 4, 2: within 2 at the third try
    result = search(lambda x: (-100.0, abs(float(x) - 1.0)), limit=2.0)
    assert result == (torch.tensor([-1.0]), True, -100.0, 2.0, 3)


def test_equal_loss_is_no_improvement():
    assert not search(lambda x: (1.0, 0.0)).accepted


@pytest.mark.parametrize(
    "values",
    [(2.0, 0.0), (0.0, 11.0), (math.nan, 0.0), (0.0, math.nan), (math.inf, 0.0), (0.0, math.inf)],
)
def test_old_point_is_restored_when_nothing_is_accepted(values):
    tried = []

    def evaluate(x: Tensor) -> tuple[float, float]:
        tried.append(float(x))
        return values

    result = search(evaluate)
    assert tried == [-7.0, -3.0, -1.0, 0.0, 0.5]
    assert result.point is POINT
    assert POINT.tolist() == [1.0]
    assert result[1:] == (False, 1.0, 0.0, 5)


def test_step_after_values_that_are_not_finite_is_still_found():
    result = search(lambda x: (math.nan if float(x) < -1 else 0.0, 0.0))
    assert result == (torch.tensor([-1.0]), True, 0.0, 0.0, 3)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_step_that_is_not_finite_is_never_tried(bad):
    def never(_: Tensor) -> tuple[float, float]:
        raise AssertionError("nothing to evaluate")

    result = backtracking_line_search(never, POINT, torch.tensor([bad]), 1.0, 10.0)
    assert result.point is POINT
    assert result[1:] == (False, 1.0, 0.0, 0)

"""Backtracking line search under a constraint."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor


class LineSearchResult(NamedTuple):
    """Where a line search ended."""

    point: Tensor
    """The accepted point, or the old one when none was accepted."""
    accepted: bool
    loss: float
    """Loss at `point`."""
    constraint: float
    """Constraint at `point` (0 where nothing was accepted)."""
    evaluations: int


def backtracking_line_search(
    evaluate: Callable[[Tensor], tuple[float, float]],
    point: Tensor,
    step: Tensor,
    old_loss: float,
    limit: float,
    decay: float = 0.8,
    max_steps: int = 15,
) -> LineSearchResult:
    """The first of point - decay^j * step, j = 0, 1, ..., that lowers the loss within the limit.

    Nothing is accepted when `max_steps` tries fail, or the values are not finite; the result is
    then the old point.

    Args:
        evaluate: point -> (loss, constraint).
        limit: largest constraint accepted.
    """
    if bool(torch.isfinite(step).all()):
        for attempt in range(max_steps):
            candidate = point - decay**attempt * step
            loss, constraint = evaluate(candidate)
            # False as well for NaN.
            if loss < old_loss and constraint <= limit:
                return LineSearchResult(candidate, True, loss, constraint, attempt + 1)
        return LineSearchResult(point, False, old_loss, 0.0, max_steps)
    return LineSearchResult(point, False, old_loss, 0.0, 0)

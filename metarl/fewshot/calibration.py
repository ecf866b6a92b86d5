"""Calibration: whether what a method is sure of comes true as often as it says."""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtri

BINS = 15
"""Bins of confidence, as in Guo et al. 2017."""
LEVELS = np.linspace(0.05, 0.95, 19)
"""Probabilities of central intervals whose coverage is measured."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """What was promised beside what came true, `[n]` each.

    Classification: of every bin of confidence the mean confidence, the accuracy and the share of
    all queries. Regression: of every central interval its probability, the share of queries in it,
    and equal weights.
    """

    expected: np.ndarray
    """NaN where a bin is empty."""
    observed: np.ndarray
    """NaN where a bin is empty."""
    weights: np.ndarray
    """Sum to 1."""

    @property
    def error(self) -> float:
        """Weighted mean of |observed - expected|: the expected calibration error of Guo et al. 2017
        (equation 3), or its counterpart for intervals (Kuleshov et al. 2018, section 3.5, there
        with squares)."""
        known = self.weights > 0
        distance = np.abs(self.observed[known] - self.expected[known])
        return float(self.weights[known] @ distance)

    def coverage(self, level: float) -> float:
        """Regression: the share of queries in the central interval of this probability."""
        return float(self.observed[np.argmin(np.abs(self.expected - level))])


def of_classes(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Calibration:
    """Of classification.

    Args:
        confidence: probabilities of the chosen classes, any shape.
        right: 1 where the class was right, else 0; of the same shape.
        bins: bins of equal width; a value on an edge belongs to the lower one.
    """
    confidence, right = confidence.ravel(), right.ravel()
    # Probabilities that sum to a little more than 1 are rounding.
    index = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights=each, minlength=bins) for each in (confidence, right))
    with np.errstate(invalid="ignore"):
        expected, observed = (each / counts for each in sums)
    return Calibration(expected, observed, counts / counts.sum())


def of_intervals(standardized: np.ndarray, levels: np.ndarray = LEVELS) -> Calibration:
    """Of regression with normal predictions.

    Args:
        standardized: errors (y - mean) / std, any shape.
        levels: probabilities of central intervals.
    """
    bounds = ndtri(0.5 + 0.5 * levels)
    inside = np.abs(standardized).reshape(-1, 1) <= bounds
    return Calibration(levels, inside.mean(axis=0), np.full(len(levels), 1.0 / len(levels)))

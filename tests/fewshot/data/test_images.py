"""Area averages against a plain loop, and turned copies."""

from fractions import Fraction

import numpy as np
import pytest

from metarl.fewshot.data.images import ImageClass, area_average, image_examples


def test_area_average_by_hand() -> None:
    """3 x 3 to 2 x 2: a cell is 1.5 pixels wide, so it covers a corner pixel whole, two halves and
    a quarter, of 2.25 in all."""
    ink = np.array([[[1, 0, 0], [0, 1, 0], [0, 0, 0]]], dtype=bool)
    corner, edge = 255 * 1.25 / 2.25, 255 * 0.25 / 2.25
    expected = [[round(corner), round(edge)], [round(edge), round(edge)]]
    assert area_average(ink, 2).tolist() == [expected]


@pytest.mark.parametrize("size", [1, 4, 5, 7])
def test_area_average_against_a_loop(size: int) -> None:
    ink = np.random.default_rng(0).random((2, 7, 7)) < 0.4
    found = area_average(ink, size)
    for image, row, column in np.ndindex(2, size, size):
        total = sum(
            _overlap(row, y, size) * _overlap(column, x, size) * int(ink[image, y, x])
            for y, x in np.ndindex(7, 7)
        )
        exact = 255 * total * size * size / 49
        assert found[image, row, column] == int(exact + Fraction(1, 2))


def _overlap(cell: int, pixel: int, size: int) -> Fraction:
    """How much of a pixel is in a cell that is 7 / size pixels wide."""
    low, high = Fraction(7 * cell, size), Fraction(7 * (cell + 1), size)
    return max(Fraction(0), min(high, Fraction(pixel + 1)) - max(low, Fraction(pixel)))


def test_averaging_and_turning_commute() -> None:
    ink = np.random.default_rng(1).random((3, 105, 105)) < 0.1
    turned = area_average(np.rot90(ink, 1, (1, 2)), 28)
    assert np.array_equal(turned, np.rot90(area_average(ink, 28), 1, (1, 2)))


def test_classes_of_different_sizes() -> None:
    classes = [
        ImageClass("a", "", np.zeros((2, 1, 3, 3), dtype=np.uint8)),
        ImageClass("b", "", np.ones((4, 1, 3, 3), dtype=np.uint8)),
    ]
    examples = image_examples(classes, "classes")
    assert examples.counts.tolist() == [2, 2, 2, 2, 4, 4, 4, 4]
    assert examples.names[3:5] == ("a/rot270", "b/rot000")
    assert examples.groups == ()
    assert examples.inputs.sum() == 16 * 9

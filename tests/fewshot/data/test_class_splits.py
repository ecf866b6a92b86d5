"""Splits of classes: sizes, disjoint, independent of the order of names."""

import itertools
from typing import Any

import pytest

from metarl.errors import UserError
from metarl.fewshot.data.class_splits import (
    FractionOptions,
    shuffled,
    split_by_fraction,
    split_by_size,
    split_groups,
)
from metarl.validation import InvalidValue

NAMES = [f"class {number}" for number in range(20)]


def test_every_class_is_in_one_split() -> None:
    dealt = split_by_size(NAMES, (10, 4, 6), "a test")
    assert [len(each) for each in dealt.values()] == [10, 4, 6]
    assert sorted(itertools.chain(*dealt.values())) == sorted(NAMES)


def test_order_of_names_does_not_matter() -> None:
    assert split_by_size(NAMES[::-1], (10, 4, 6), "a") == split_by_size(NAMES, (10, 4, 6), "a")
    assert shuffled(NAMES, "a") != shuffled(NAMES, "b")
    assert shuffled(NAMES, "a", seed=1) != shuffled(NAMES, "a", seed=0)


def test_groups_stay_together() -> None:
    groups = {name: [f"{name} {number}" for number in range(3)] for name in "abcde"}
    dealt = split_groups(groups, (2, 1, 2), "a test")
    assert [len(each) for each in dealt.values()] == [6, 3, 6]
    for each in dealt.values():
        assert all(len([name for name in each if name[0] == group[0]]) == 3 for group in each)


@pytest.mark.parametrize(
    ("count", "sizes"), [(20, [12, 3, 5]), (100, [60, 15, 25]), (6, [2, 2, 2]), (7, [3, 2, 2])]
)
def test_fractions(count: int, sizes: list[int]) -> None:
    dealt = split_by_fraction([str(number) for number in range(count)], FractionOptions())
    assert [len(each) for each in dealt.values()] == sizes


def test_large_fractions_leave_two_training_classes() -> None:
    options = FractionOptions(validation_fraction=0.45, test_fraction=0.5)
    dealt = split_by_fraction(NAMES[:6], options)
    assert [len(each) for each in dealt.values()] == [2, 2, 2]


def test_too_few_classes() -> None:
    with pytest.raises(UserError, match="5 classes are too few to split"):
        split_by_fraction(NAMES[:5], FractionOptions())


@pytest.mark.parametrize("options", [{"test_fraction": 0.0}, {"test_fraction": 0.9}])
def test_wrong_fractions(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match="test_fraction must"):
        FractionOptions(**options)

"""Which classes are for training, validation and test, where nobody has published it."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from metarl.errors import UserError
from metarl.fewshot.data.examples import SPLITS
from metarl.tasks import stream
from metarl.validation import require, require_at_least

ClassSplit = dict[str, list[str]]
"""Names of the classes of `train`, `validation` and `test`."""


@dataclass(frozen=True)
class FractionOptions:
    """How classes are dealt out to the splits."""

    validation_fraction: float = 0.15
    """Part of the classes for validation, where the data has no splits of its own."""
    test_fraction: float = 0.25
    """Part of the classes to test on, where the data has no splits of its own."""
    split_seed: int = 0
    """Seed of the shuffle that deals the classes out."""

    def __post_init__(self) -> None:
        fractions = (self.validation_fraction, self.test_fraction)
        for key, value in zip(("validation_fraction", "test_fraction"), fractions, strict=True):
            require(0.0 < value < 1.0, key, f"must be between 0 and 1, got {value}")
        require(sum(fractions) < 1.0, "test_fraction", "must leave classes to train on")
        require_at_least(0, self, "split_seed")


def shuffled(names: Sequence[str], purpose: str, seed: int = 0) -> list[str]:
    """The names in an order that depends on the names, the purpose and the seed alone."""
    order = stream(seed, purpose).random(len(names)).argsort()
    return [sorted(names)[place] for place in order]


def split_by_size(names: Sequence[str], sizes: tuple[int, int, int], purpose: str) -> ClassSplit:
    """A fixed shuffle, cut into training, validation and test classes of these sizes."""
    return _cut(shuffled(names, purpose), sizes)


def split_by_fraction(names: Sequence[str], options: FractionOptions) -> ClassSplit:
    """A shuffle, cut by fractions; two classes at least for each split.

    UserError for fewer than six classes.
    """
    count = len(names)
    if count < 6:
        raise UserError(
            f"{count} classes are too few to split: training, validation and test take 2 each"
        )
    test = min(max(2, round(options.test_fraction * count)), count - 4)
    validation = min(max(2, round(options.validation_fraction * count)), count - test - 2)
    order = shuffled(names, "classes of the splits", options.split_seed)
    return _cut(order, (count - test - validation, validation, test))


def split_groups(
    groups: Mapping[str, Sequence[str]], sizes: tuple[int, int, int], purpose: str
) -> ClassSplit:
    """Whole groups to one split: so many groups to each, by a fixed shuffle."""
    dealt = _cut(shuffled(list(groups), purpose), sizes)
    return {split: [name for each in dealt[split] for name in groups[each]] for split in SPLITS}


def _cut(names: Sequence[str], sizes: tuple[int, int, int]) -> ClassSplit:
    assert sum(sizes) == len(names)
    left = iter(names)
    return {
        split: sorted(itertools.islice(left, size))
        for split, size in zip(SPLITS, sizes, strict=True)
    }

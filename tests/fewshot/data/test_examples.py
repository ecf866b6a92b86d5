"""Examples and data sets: hashes, classes in one split only, validation classes trained on too."""

import dataclasses

import pytest
import torch

from metarl.errors import UserError
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data import DataSet, Examples, load_data


def images(names: tuple[str, ...], value: int = 0) -> Examples:
    inputs = torch.full((2 * len(names), 1, 2, 2), value, dtype=torch.uint8)
    return Examples(inputs, torch.tensor([2] * len(names)), names, names)


def test_hash_tells_everything_apart() -> None:
    one = images(("a", "b"))
    others = [
        images(("a", "c")),
        images(("a", "b"), 1),
        dataclasses.replace(one, groups=()),
        dataclasses.replace(one, rotations=True),
        dataclasses.replace(one, counts=torch.tensor([1, 3])),
        dataclasses.replace(one, inputs=one.inputs.view(4, 1, 1, 4)),
    ]
    assert images(("a", "b")).content_hash() == one.content_hash()
    assert len({each.content_hash() for each in (one, *others)}) == 7


def test_a_class_in_two_splits() -> None:
    splits = {"train": images(("a", "b")), "validation": images(("c",)), "test": images(("b",))}
    with pytest.raises(UserError, match="class 'b' is in train and in test; every class belongs"):
        DataSet("own", "images", splits, "how")


def test_merged() -> None:
    splits = {
        "train": images(("a",), 1),
        "validation": images(("b", "c"), 2),
        "test": images(("d",), 3),
    }
    data = DataSet("own", "images", splits, "how")
    merged = data.merged()
    train = merged.splits["train"]
    assert train.inputs[:, 0, 0, 0].tolist() == [1, 1, 2, 2, 2, 2]
    assert (train.names, train.groups) == (("a", "b", "c"), ("a", "b", "c"))
    assert train.counts.tolist() == [2, 2, 2]
    assert merged.splits["test"] is splits["test"]
    assert (data.protocol, merged.protocol) == ("how", "how; trained on the validation classes too")


def test_merged_is_asked_for_by_the_configuration() -> None:
    small = {"training_classes": 4, "validation_classes": 3, "test_classes": 2, "examples": 2}
    data = load_data(DataConfig("glyphs", train_on_validation=True, options=small))
    assert isinstance(data, DataSet)
    assert len(data.splits["train"]) == 7
    with pytest.raises(UserError, match="curves have no validation classes"):
        load_data(DataConfig("sinusoids", train_on_validation=True))


def test_unknown_data_set() -> None:
    with pytest.raises(UserError, match="unknown data set 'omniglott'; did you mean 'omniglot'"):
        load_data(DataConfig("omniglott"))

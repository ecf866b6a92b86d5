"""Examples and data sets: hashes, classes in one split only, validation classes trained on too."""

import dataclasses

import pytest
import torch

from metarl.errors import UserError
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data import DATA_SETS, DataSet, Examples, load_data


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


def test_source_hash_of_images_is_of_their_pixels() -> None:
    splits = {"train": images(("a",)), "validation": images(("b",)), "test": images(("c",), 1)}
    data = DataSet("own", "images", splits, "how")
    assert data.source_hash("test") == splits["test"].content_hash()
    assert len({data.source_hash(split) for split in splits}) == 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"inputs": torch.zeros(4, 1, 2, 2)}, r"not torch\.float32 \[4, 1, 2, 2\]"),
        ({"inputs": torch.zeros(4, dtype=torch.int64)}, r"not torch\.int64 \[4\]"),
        ({"counts": torch.tensor([2, 1])}, "counts of 3, but 4 inputs"),
        ({"names": ("a", "b", "c")}, r"2 counts, but \(3, 2\) names and groups"),
        ({"groups": ("a",)}, r"2 counts, but \(2, 1\) names and groups"),
        (
            {"inputs": torch.zeros(4, 1, 2, 3, dtype=torch.uint8), "rotations": True},
            "only images as high as broad can be turned",
        ),
    ],
)
def test_examples_that_do_not_fit(changed: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        dataclasses.replace(images(("a", "b")), **changed)


def test_a_class_twice_in_a_split() -> None:
    with pytest.raises(UserError, match="class 'a' is there twice; every class belongs to one"):
        DataSet("own", "images", {"train": images(("a", "b", "a"))}, "how")


def test_images_of_different_sizes() -> None:
    other = dataclasses.replace(images(("b",)), inputs=torch.zeros(2, 1, 2, 3, dtype=torch.uint8))
    with pytest.raises(UserError, match="own: images of different sizes in its splits"):
        DataSet("own", "images", {"train": images(("a",)), "test": other}, "how")


def test_a_text_of_words_that_no_one_knows() -> None:
    texts = dataclasses.replace(images(("a", "b")), inputs=torch.tensor([[2, 0], [3, 1]] * 2))
    with pytest.raises(UserError, match="token number 3 has no word in its vocabulary of 3"):
        DataSet("own", "texts", {"train": texts}, "how", ("<padding>", "<unknown>", "word"))


def test_a_data_set_without_test_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(root: str | None, split: str) -> DataSet:
        return DataSet("own", "images", {"train": images(("a",))}, "how")

    monkeypatch.setitem(DATA_SETS, "own", read)
    wanted = r"data\.name: own must have splits train, validation, test, has train"
    with pytest.raises(UserError, match=wanted):
        load_data(DataConfig("own"))

"""Generated characters: the same everywhere, sizes as asked, harder than their pixels."""

import pytest
import torch

from metarl.errors import UserError
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data import DataSet, load_data
from metarl.fewshot.sampler import EpisodeSampler
from metarl.tasks import stream

SMALL = {"training_classes": 12, "validation_classes": 2, "test_classes": 3, "examples": 4}


def glyphs(**options: object) -> DataSet:
    data = load_data(DataConfig("glyphs", options=options))
    assert isinstance(data, DataSet)
    return data


@pytest.fixture(scope="module")
def default() -> DataSet:
    return glyphs()


def test_default_is_pinned(default: DataSet) -> None:
    assert {name: each.content_hash() for name, each in default.splits.items()} == {
        "train": "1b313a59cb530604",
        "validation": "414ab030bbd06760",
        "test": "29a92225c77e6963",
    }


def test_sizes() -> None:
    train = glyphs(**SMALL, image_size=14).splits["train"]
    assert train.inputs.shape == (48, 1, 14, 14)
    assert train.inputs.dtype == torch.uint8
    assert train.counts.tolist() == [4] * 12
    assert train.groups == ("train alphabet 1",) * 10 + ("train alphabet 2",) * 2


def test_more_classes_leave_the_first_ones_as_they_are() -> None:
    few, more = glyphs(**SMALL), glyphs(**SMALL | {"training_classes": 13})
    assert torch.equal(few.splits["train"].inputs, more.splits["train"].inputs[:48])


def test_seeds_give_other_characters() -> None:
    one, other = glyphs(**SMALL), glyphs(**SMALL, seed=1)
    assert not torch.equal(one.splits["test"].inputs, other.splits["test"].inputs)


def test_turned_copies_are_classes_of_their_own() -> None:
    upright = glyphs(**SMALL).splits["test"]
    turned = glyphs(**SMALL, rotations="classes").splits["test"]
    assert len(turned) == 12
    assert turned.names[:2] == (f"{upright.names[0]}/rot000", f"{upright.names[0]}/rot090")
    assert torch.equal(turned.inputs[:4], upright.inputs[:4])
    assert torch.equal(turned.inputs[4:8], upright.inputs[:4].rot90(1, (-2, -1)))
    assert turned.groups[:5] == (upright.groups[0],) * 5
    assert not turned.rotations
    assert glyphs(**SMALL, rotations="episode").splits["test"].rotations


def test_pixels_tell_something_but_not_enough(default: DataSet) -> None:
    """Nearest centroid of pixels, 5-way 1-shot: 43 %, far from chance and from a trained network
    (Omniglot: 41.7 %, Vinyals et al. 2016, table 1)."""
    drawer = EpisodeSampler(default.splits["test"], 5, 1, 10)
    episodes = drawer.sample([stream(0, "pixels", 0, number) for number in range(200)])
    support, query = episodes.support_inputs.flatten(2), episodes.query_inputs.flatten(2)
    right = torch.cdist(query, support).argmin(-1) == episodes.query_targets
    assert 0.35 < right.float().mean() < 0.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"training_classes": 1}, "data.options.training_classes must be at least 2, got 1"),
        ({"image_sise": 28}, "data.options.image_sise is not a known key; .*image_size"),
        ({"rotations": "some"}, "data.options.rotations must be 'classes' or 'episode' or 'none'"),
        ({"examples": "many"}, "data.options.examples must be an integer, got 'many'"),
    ],
)
def test_wrong_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        glyphs(**options)


def test_unknown_split() -> None:
    with pytest.raises(UserError, match=r"data\.split: glyphs has default, not 'lake'"):
        load_data(DataConfig("glyphs", split="lake"))

"""Omniglot: reading of archives made here; the real ones where METARL_DATA is set."""

import io
import os
from pathlib import Path
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from PIL import Image

from metarl.errors import UserError
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data import DataSet, load_data, omniglot
from metarl.fewshot.data.omniglot import split_of

DATA = os.environ.get("METARL_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="METARL_DATA is not set")

CHARACTERS = {
    "background": ("Greek/character01", "Greek/character02", "Armenian/character01"),
    "evaluation": ("Tibetan/character01", "Gurmukhi/character41", "Gurmukhi/character42"),
}


def drawing(row: int) -> bytes:
    """White paper with one black line, as a 1-bit PNG."""
    paper = np.full((105, 105), 255, dtype=np.uint8)
    paper[15 * row : 15 * (row + 1)] = 0
    file = io.BytesIO()
    Image.fromarray(paper).convert("1").save(file, "png")
    return file.getvalue()


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(omniglot, "CHARACTERS", {"background": 3, "evaluation": 3})
    (tmp_path / "omniglot").mkdir()
    for archive, names in CHARACTERS.items():
        with ZipFile(tmp_path / "omniglot" / f"images_{archive}.zip", "w", ZIP_DEFLATED) as file:
            file.writestr(f"images_{archive}/", b"")  # as in the original archives
            for place, name in enumerate(names):
                for number in range(20):
                    member = f"images_{archive}/{name}/{place:04d}_{number + 1:02d}.png"
                    file.writestr(member, drawing(place))
    return tmp_path


def read(root: Path, split: str = "default", **options: object) -> DataSet:
    data = load_data(DataConfig("omniglot", str(root), split, options=options))
    assert isinstance(data, DataSet)
    return data


def test_splits(root: Path) -> None:
    vinyals = read(root, rotations="none")
    names = {split: each.names for split, each in vinyals.splits.items()}
    greek = ("Greek/character01", "Greek/character02")
    assert names == {
        "train": (*greek, "Gurmukhi/character41"),
        "validation": ("Armenian/character01",),
        "test": ("Gurmukhi/character42", "Tibetan/character01"),
    }
    lake = read(root, "lake", rotations="none")
    assert lake.splits["train"].names == greek
    assert len(lake.splits["test"]) == 3
    assert lake.splits["test"].groups == ("Gurmukhi", "Gurmukhi", "Tibetan")


def test_ink_is_white_and_averaged(root: Path) -> None:
    """A line 15 pixels high is 4 pixels of 28; the second character's is the next 15."""
    images = read(root, rotations="none").splits["train"].inputs
    assert images.shape == (60, 1, 28, 28)
    expected = np.zeros((28, 28))
    expected[4:8] = 255
    assert np.array_equal(images[20, 0].numpy(), expected)


def test_drawings_are_grey_where_a_cell_is_partly_ink(root: Path) -> None:
    """8 cells of 13.125 pixels: a line from 15 to 30 covers 11.25 of the second, 3.75 of the next.
    Pillow picks single pixels of 1-bit images, and would give 255 and 0."""
    column = read(root, rotations="none", image_size=8).splits["train"].inputs[20, 0, :, 3]
    assert column.tolist() == [0, round(255 * 11.25 / 13.125), round(255 * 3.75 / 13.125)] + [0] * 5


def test_rotations_are_classes_by_default(root: Path) -> None:
    data = read(root)
    assert len(data.splits["train"]) == 12
    assert data.splits["train"].names[1] == "Greek/character01/rot090"
    assert (data.splits["train"].inputs[20, 0, :, :4] == 255).all()
    assert "counts as four" in data.protocol


def test_second_start_reads_the_cache(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = read(root)
    monkeypatch.setattr(omniglot, "_shrunk", None)
    again = read(root)
    for split in first.splits:
        assert again.splits[split].content_hash() == first.splits[split].content_hash()
    with pytest.raises(TypeError):  # another size is not in the cache
        omniglot.read_omniglot(str(root), "default", omniglot.OmniglotOptions(14))


def test_incomplete_archives(root: Path) -> None:
    path = root / "omniglot" / "images_evaluation.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"cannot read .*images_evaluation\.zip: .*original"):
        read(root)
    damaged = bytearray(whole)
    with ZipFile(io.BytesIO(whole)) as file:
        first = next(member for member in file.infolist() if not member.is_dir())
    damaged[first.header_offset + 30 + len(first.filename)] = 0xFF  # no block of zlib's begins so
    path.write_bytes(bytes(damaged))
    with pytest.raises(UserError, match=r"cannot read .*images_evaluation\.zip: .*original"):
        read(root)
    path.write_bytes((root / "omniglot" / "images_background.zip").read_bytes())
    with ZipFile(path, "a") as file:
        file.writestr("images_background/Greek/character03/0.png", drawing(0))
    with pytest.raises(UserError, match="4 characters instead of 3, 1 of them without 20"):
        read(root)
    path.unlink()
    with pytest.raises(UserError, match=r"data\.root is .* has no omniglot/images_evaluation\.zip"):
        read(root)


def test_wrong_settings(root: Path) -> None:
    with pytest.raises(UserError, match=r"data\.split: omniglot has vinyals and lake, not 'own'"):
        read(root, "own")
    with pytest.raises(UserError, match=r"image_size must be between 1 and 105, got 106"):
        read(root, image_size=106)


HASHES = {
    "vinyals": {
        "train": "37a89d2266370149",
        "validation": "4b432e619834ea1c",
        "test": "7176321f44fd3901",
    },
    "lake": {
        "train": "52fb46c005902440",
        "validation": "4b432e619834ea1c",
        "test": "691cef7fa5626a2f",
    },
}


@needs_data
@pytest.mark.parametrize("split", ["vinyals", "lake"])
def test_real_drawings_are_pinned(split: str) -> None:
    data = load_data(DataConfig("omniglot", split=split, options={"rotations": "none"}))
    assert isinstance(data, DataSet)
    found = {name: each.content_hash() for name, each in data.splits.items()}
    assert found == HASHES[split]
    assert sum(len(each) for each in data.splits.values()) == 1623
    assert all((each.counts == 20).all() for each in data.splits.values())


@needs_data
@pytest.mark.parametrize(
    ("split", "sizes", "trained"),
    [("vinyals", (1028, 172, 423), 1200), ("lake", (792, 172, 659), 964)],
)
def test_real_characters_in_four_positions(
    split: str, sizes: tuple[int, int, int], trained: int
) -> None:
    """4,800 classes to train on in the end, as Snell et al. 2017 did."""
    splits = load_data(DataConfig("omniglot", split=split)).splits  # type: ignore[union-attr]
    assert tuple(len(each) for each in splits.values()) == tuple(4 * size for size in sizes)
    merged = load_data(DataConfig("omniglot", split=split, train_on_validation=True))
    assert isinstance(merged, DataSet)
    train, test = merged.splits["train"], merged.splits["test"]
    assert len(train) == 4 * trained
    assert train.inputs.shape == (80 * trained, 1, 28, 28)
    assert not set(train.names) & set(test.names)


@needs_data
def test_split_is_the_published_list() -> None:
    """The lists of github jakesnell/prototypical-networks, a copy of which is with the data."""
    assert DATA
    folder, own = Path(DATA) / "omniglot" / "splits", {"train": "train", "val": "validation"}
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    for file, size in (("train", 1028), ("val", 172), ("test", 423)):
        names = (folder / f"{file}.txt").read_text().split()
        assert len(names) == size
        for name in names:
            alphabet, character = name.split("/")
            assert split_of("vinyals", "", alphabet, character) == own.get(file, file)

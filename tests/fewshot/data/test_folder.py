"""A person's own images in class folders."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.errors import UserError
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data import DataSet, load_data


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))


def make_classes(folder: Path, names: list[str], images: int = 3) -> None:
    """Class folders of plain images, each of its own colour, and all of different shapes."""
    for place, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for number in range(images):
            colour = (10 * place, 100, 20 * number)
            Image.new("RGB", (20 + place, 30), colour).save(folder / name / f"{number}.png")


def read(folder: Path, **options: object) -> DataSet:
    data = load_data(DataConfig("folder", options={"path": str(folder), **options}))
    assert isinstance(data, DataSet)
    return data


NAMES = [f"class {letter}" for letter in "abcdefgh"]


def test_one_config_line_is_enough(tmp_path: Path) -> None:
    make_classes(tmp_path / "own", NAMES)
    data = read(tmp_path / "own")
    assert [len(each) for each in data.splits.values()] == [4, 2, 2]
    assert data.splits["train"].inputs.shape == (12, 1, 28, 28)
    assert data.protocol.startswith("folder own, classes split 4 / 2 / 2 into")


def test_colours_stay_with_their_class(tmp_path: Path) -> None:
    make_classes(tmp_path / "own", NAMES)
    for split in read(tmp_path / "own", channels=3, image_size=5).splits.values():
        assert split.inputs.shape[1:] == (3, 5, 5)
        for place, name in enumerate(split.names):
            expected = [10 * NAMES.index(name), 100, 20]
            assert split.inputs[3 * place + 1, :, 2, 2].tolist() == expected


def test_splits_by_folders(tmp_path: Path) -> None:
    for split, names in (("train", NAMES[:3]), ("validation", NAMES[3:5]), ("test", NAMES[5:])):
        make_classes(tmp_path / "own" / split, names)
    data = read(tmp_path / "own")
    assert data.splits["test"].names == tuple(NAMES[5:])
    assert "by its folders" in data.protocol


def test_other_files_are_passed_over(tmp_path: Path) -> None:
    make_classes(tmp_path / "own", NAMES)
    (tmp_path / "own" / ".cache").mkdir()
    (tmp_path / "own" / "labels.txt").write_text("notes")
    (tmp_path / "own" / NAMES[0] / "Thumbs.db").write_text("no image")
    assert read(tmp_path / "own").splits["train"].counts.sum() == 12


def test_changed_image_is_read_again(tmp_path: Path) -> None:
    make_classes(tmp_path / "own", NAMES)
    hashes = [each.content_hash() for each in read(tmp_path / "own").splits.values()]
    assert [each.content_hash() for each in read(tmp_path / "own").splits.values()] == hashes
    for name in NAMES:
        Image.new("L", (50, 50), 200).save(tmp_path / "own" / name / "0.png")
    again = read(tmp_path / "own").splits.values()
    assert all(each.content_hash() not in hashes for each in again)


def test_one_bit_images_are_resized_in_grey(tmp_path: Path) -> None:
    """Black on white, half and half column by column: shrunk they are grey, not stripes."""
    stripes = np.zeros((64, 64), dtype=np.uint8)
    stripes[:, ::2] = 255
    for name in NAMES:
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(stripes).convert("1").save(tmp_path / "own" / name / f"{number}.png")
    inputs = read(tmp_path / "own", image_size=8).splits["train"].inputs[..., 2:6, 2:6]
    assert ((inputs > 110) & (inputs < 145)).all()
    inverted = read(tmp_path / "own", image_size=8, invert=True).splits["train"].inputs
    assert (inverted[..., 2:6, 2:6] == 255 - inputs).all()


def test_photographs_are_turned_upright(tmp_path: Path) -> None:
    """Orientation 3: the camera was upside down."""
    make_classes(tmp_path / "own", NAMES)
    image = Image.new("L", (10, 10), 0)
    image.paste(255, (0, 0, 10, 5))
    exif = Image.Exif()
    exif[0x0112] = 3
    for name in NAMES:
        image.save(tmp_path / "own" / name / "0.png", exif=exif)
    first = read(tmp_path / "own", image_size=10).splits["train"].inputs[0, 0]
    assert (first[0, 5], first[-1, 5]) == (0, 255)


def test_transparent_images_lie_on_white(tmp_path: Path) -> None:
    """Black ink on nothing: pillow alone makes it black all over."""
    image = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (0, 0, 10, 5))
    for name in NAMES:
        (tmp_path / "own" / name).mkdir(parents=True)
        image.save(tmp_path / "own" / name / "0.png")
        image.quantize(4).save(tmp_path / "own" / name / "1.png")
    inputs = read(tmp_path / "own", image_size=10).splits["train"].inputs
    assert (inputs[:, 0, 1] == 0).all()
    assert (inputs[:, 0, -2] == 255).all()
    inverted = read(tmp_path / "own", image_size=10, channels=3, invert=True)
    assert (inverted.splits["train"].inputs[:, :, 1] == 255).all()
    assert (inverted.splits["train"].inputs[:, :, -2] == 0).all()


def test_images_of_sixteen_bits_keep_their_shades(tmp_path: Path) -> None:
    shades = np.array([[0, 20000], [40000, 65535]], dtype=np.uint16).repeat(4, 0).repeat(4, 1)
    for name in NAMES:
        (tmp_path / "own" / name).mkdir(parents=True)
        for number in range(2):
            Image.fromarray(shades).save(tmp_path / "own" / name / f"{number}.png")
    inputs = read(tmp_path / "own", image_size=8).splits["train"].inputs[0, 0]
    assert [int(inputs[0, 0]), int(inputs[0, 7]), int(inputs[7, 0])] == [0, 20000 // 257, 155]
    assert inputs[7, 7] == 255


def test_images_of_thirty_two_bits_are_refused(tmp_path: Path) -> None:
    make_classes(tmp_path / "own", NAMES)
    Image.fromarray(np.ones((5, 5), dtype=np.float32)).save(tmp_path / "own" / NAMES[0] / "x.tiff")
    with pytest.raises(UserError, match=r"cannot read image .*x\.tiff: pixels of 32 bits"):
        read(tmp_path / "own")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    names = ["bus", "car", "ship", "test", "train", "tram"]
    make_classes(tmp_path / "own", names)
    splits = read(tmp_path / "own").splits
    assert sorted(name for each in splits.values() for name in each.names) == names


def test_refused_folders(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*own; mend data\.options\.path"):
        read(tmp_path / "own")
    (tmp_path / "own").mkdir()
    with pytest.raises(UserError, match="own has no class folders; make one folder for each"):
        read(tmp_path / "own")
    (tmp_path / "own" / "class a").mkdir()
    with pytest.raises(UserError, match=r"class folder .*class a has no images"):
        read(tmp_path / "own")
    Image.new("L", (5, 5)).save(tmp_path / "own" / "class a" / "0.png")
    with pytest.raises(UserError, match="has one image; every class takes 2 at least"):
        read(tmp_path / "own")
    with pytest.raises(UserError, match=r"data\.options\.path must name a folder"):
        load_data(DataConfig("folder"))


def test_unreadable_image(tmp_path: Path) -> None:
    make_classes(tmp_path / "own", NAMES)
    (tmp_path / "own" / NAMES[3] / "1.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"cannot read image .*class d/1\.png: .*remove it"):
        read(tmp_path / "own")
    whole = (tmp_path / "own" / NAMES[3] / "0.png").read_bytes()
    (tmp_path / "own" / NAMES[3] / "1.png").write_bytes(whole[:60])
    with pytest.raises(UserError, match=r"cannot read image .*class d/1\.png"):
        read(tmp_path / "own")


def test_an_image_that_leads_nowhere(tmp_path: Path) -> None:
    make_classes(tmp_path / "own", NAMES)
    (tmp_path / "own" / NAMES[0] / "link.png").symlink_to(tmp_path / "gone.png")
    with pytest.raises(UserError, match=r"cannot read image .*class a/link\.png: .*remove it"):
        read(tmp_path / "own")


def test_a_size_that_no_image_has(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"image_size must be 1 to 4096 pixels, got 1000000000"):
        read(tmp_path, image_size=1_000_000_000)


def test_class_folders_beside_the_splits(tmp_path: Path) -> None:
    for split, names in (("train", NAMES[:3]), ("validation", NAMES[3:5]), ("test", NAMES[5:])):
        make_classes(tmp_path / "own" / split, names)
    make_classes(tmp_path / "own", ["class x"])
    message = "own has class x beside train, validation and test; move it into one of them"
    with pytest.raises(UserError, match=message):
        read(tmp_path / "own")


def test_refused_splits(tmp_path: Path) -> None:
    make_classes(tmp_path / "own" / "train", NAMES[:3])
    make_classes(tmp_path / "own" / "test", NAMES[2:])
    with pytest.raises(
        UserError, match="own has class folders in train and test, but none in validation"
    ):
        read(tmp_path / "own")
    make_classes(tmp_path / "own" / "validation", ["one"])
    with pytest.raises(UserError, match="validation has 1 classes; a split takes 2 at least"):
        read(tmp_path / "own")
    make_classes(tmp_path / "own" / "validation", ["two"])
    with pytest.raises(UserError, match="class 'class c' is in train and in test"):
        read(tmp_path / "own")

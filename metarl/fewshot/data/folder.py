"""Your own images: a folder with one folder of images for each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from metarl.errors import UserError
from metarl.fewshot.data.class_splits import FractionOptions, split_by_fraction
from metarl.fewshot.data.examples import SPLITS, DataSet
from metarl.fewshot.data.files import FOUND_BY, Arrays, cached, expanded
from metarl.fewshot.data.images import ROTATIONS, ImageClass, Rotations, image_examples
from metarl.fewshot.data.options import unknown_split
from metarl.validation import require

ClassFiles = dict[str, list[Path]]
"""The images of each class."""
LARGEST = 4096
"""Pixels along a side."""


@dataclass(frozen=True)
class FolderOptions(FractionOptions):
    """Where the images are, and how they are read."""

    path: str = ""
    """The folder: one folder for each class, or train, validation and test with class folders in
    each; below `data.root` where that is set."""
    image_size: int = 28
    """Pixels along a side; images are squeezed to a square."""
    channels: int = 1
    """1: grey, 3: red, green and blue."""
    invert: bool = False
    """Turn dark into light, for ink on paper."""
    rotations: Rotations = "none"
    """Turned images: classes (of their own), episode (each class of an episode at random) or
    none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.path != "", "path", "must name a folder of class folders with images")
        require(self.channels in (1, 3), "channels", f"must be 1 or 3, got {self.channels}")
        size = self.image_size
        require(1 <= size <= LARGEST, "image_size", f"must be 1 to {LARGEST} pixels, got {size}")


def read_folder(root: str | None, split: str, options: FolderOptions) -> DataSet:
    """The images; UserError where a folder or an image is not as it has to be."""
    if split != "default":
        raise unknown_split("folder", split, "default")
    folder = expanded(Path(root or "", options.path), "data.options.path")
    files, how = _class_files(folder, options)
    key: dict[str, object] = {
        "version": 2,
        "options": [options.image_size, options.channels, options.invert],
        "files": [
            _state(path) for each in files.values() for paths in each.values() for path in paths
        ],
    }
    arrays = cached("folder", key, lambda: _read_all(files, options))
    images = iter(np.split(arrays["images"], np.cumsum(arrays["counts"])[:-1]))
    classes = {
        name: [ImageClass(label, "", next(images)) for label in each]
        for name, each in files.items()
    }
    sizes = " / ".join(str(len(files[each])) for each in SPLITS)
    colours = "grey" if options.channels == 1 else "colour"
    protocol = (
        f"folder {folder.name}, classes split {sizes} into training / validation / test {how}; "
        f"{colours}{', inverted' if options.invert else ''}, squeezed to {options.image_size}x"
        f"{options.image_size} by a Lanczos filter; {ROTATIONS[options.rotations]}"
    )
    examples = {name: image_examples(each, options.rotations) for name, each in classes.items()}
    return DataSet("folder", "images", examples, protocol)


def _class_files(folder: Path, options: FolderOptions) -> tuple[dict[str, ClassFiles], str]:
    """The images of the classes of each split, and how classes came to their splits."""
    top = _folders(folder)
    # A class may be called "train": a split is a folder of folders.
    told = [name for name in SPLITS if name in top and _folders(top[name])]
    if not told:
        classes = {name: _images(path) for name, path in top.items()}
        if not classes:
            raise UserError(f"{folder} has no class folders; make one folder for each class")
        dealt = split_by_fraction(list(classes), options)
        files = {split: {name: classes[name] for name in names} for split, names in dealt.items()}
        return files, f"by a shuffle with seed {options.split_seed}"
    for split in SPLITS:
        if split not in told:
            there = " and ".join(told)
            raise UserError(f"{folder} has class folders in {there}, but none in {split}; add them")
    others = [name for name in top if name not in SPLITS]
    if others:
        raise UserError(
            f"{folder} has {others[0]} beside train, validation and test; move it into one of them "
            "or out of the folder"
        )
    files = {
        split: {name: _images(path) for name, path in _folders(top[split]).items()}
        for split in SPLITS
    }
    for split, each in files.items():
        if len(each) < 2:
            raise UserError(f"{folder / split} has {len(each)} classes; a split takes 2 at least")
    return files, "by its folders"


def _inside(folder: Path) -> list[Path]:
    """What is in a folder, in order of names; nothing hidden."""
    try:
        return sorted(path for path in folder.iterdir() if path.name[0] != ".")
    except FileNotFoundError as error:
        raise UserError(f"there is no folder {folder}; {FOUND_BY}") from error
    except OSError as error:
        raise UserError(f"cannot read folder {folder}: {error.strerror or error}") from error


def _folders(folder: Path) -> dict[str, Path]:
    return {path.name: path for path in _inside(folder) if path.is_dir()}


def _images(folder: Path) -> list[Path]:
    """The files that pillow knows by their ending; anything else may lie there too."""
    known = Image.registered_extensions()
    found = [path for path in _inside(folder) if path.suffix.lower() in known]
    if len(found) < 2:
        count = "one image" if found else "no images"
        raise UserError(f"class folder {folder} has {count}; every class takes 2 at least")
    return found


def _state(path: Path) -> list[object]:
    """What changes when an image does."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return [str(path.absolute()), status.st_size, status.st_mtime_ns]


def _read_all(files: Mapping[str, ClassFiles], options: FolderOptions) -> Arrays:
    """Images uint8 `[n, c, size, size]` of all classes one after the other, and their counts."""
    classes = [paths for each in files.values() for paths in each.values()]
    images = np.stack([_read(path, options) for paths in classes for path in paths])
    return {"images": images, "counts": np.array([len(paths) for paths in classes])}


def _read(path: Path, options: FolderOptions) -> np.ndarray:
    size = (options.image_size, options.image_size)
    try:
        with Image.open(path) as image:
            # Photographs say in their metadata which way is up. 8 bits before resizing: pillow
            # shrinks palette and 1-bit images by picking single pixels.
            upright = _eight_bits(ImageOps.exif_transpose(image), options.channels)
            pixels = np.asarray(upright.resize(size, Image.Resampling.LANCZOS))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, error) from error
    pixels = pixels[None] if options.channels == 1 else np.moveaxis(pixels, -1, 0)
    return 255 - pixels if options.invert else pixels


def _unreadable(path: Path, error: Exception) -> UserError:
    return UserError(f"cannot read image {path}: {error}; mend or remove it")


def _eight_bits(image: Image.Image, channels: int) -> Image.Image:
    """Grey or colour, on white where the image is transparent."""
    mode = "L" if channels == 1 else "RGB"
    if image.mode.startswith("I;16"):
        # 0 to 65535: pillow would make everything above 255 white.
        grey = np.asarray(image).astype(np.uint16) // 257
        return Image.fromarray(grey.astype(np.uint8)).convert(mode)
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of 32 bits (mode {image.mode}) have no known range")
    if image.has_transparency_data:
        drawn = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn)
    return image.convert(mode)

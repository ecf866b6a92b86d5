"""Omniglot: 1,623 characters of 50 alphabets, each drawn once by 20 people.

Lake, Salakhutdinov & Tenenbaum 2015, "Human-level concept learning through probabilistic program
induction", Science 350; MIT licence, github.com/brendenlake/omniglot.
"""

import io
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import numpy as np
from PIL import Image

from metarl.errors import UserError
from metarl.fewshot.data.examples import DataSet
from metarl.fewshot.data.files import Arrays, RemoteFile, cached, checksum, find_file
from metarl.fewshot.data.images import (
    ROTATIONS,
    ImageClass,
    Rotations,
    area_average,
    image_examples,
)
from metarl.fewshot.data.options import unknown_split
from metarl.validation import require

SIDE = 105
"""Pixels along a side of a drawing."""
DRAWINGS = 20
"""Of each character."""
CHARACTERS = {"background": 964, "evaluation": 659}
"""In each of the two archives."""

_ORIGIN = "https://github.com/brendenlake/omniglot/raw/master/python"
FILES = {
    archive: RemoteFile(
        f"omniglot/images_{archive}.zip", f"{_ORIGIN}/images_{archive}.zip", f"md5:{md5}"
    )
    for archive, md5 in {
        "background": "68d2efa1b9178cc56df9314c21c6e718",
        "evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
    }.items()
}

VALIDATION_ALPHABETS = (
    "Armenian",
    "Bengali",
    "Early_Aramaic",
    "Hebrew",
    "Mkhedruli_(Georgian)",
)
"""172 characters, all of the background archive; of both splits."""
VINYALS_TEST_ALPHABETS = (
    "Kannada",
    "Keble",
    "Malayalam",
    "Manipuri",
    "Mongolian",
    "Old_Church_Slavonic_(Cyrillic)",
    "Oriya",
    "Sylheti",
    "Syriac_(Serto)",
    "Tengwar",
    "Tibetan",
    "ULOG",
)
"""419 characters; with the last 4 of Gurmukhi they are the 423 of the test split."""

_SPLITS = {
    "vinyals": "split of Vinyals et al. 2016 as listed by jakesnell/prototypical-networks "
    "(1,028 training, 172 validation, 423 test characters)",
    "lake": "split of Lake et al. 2015 (evaluation alphabets are the 659 test characters; of the "
    f"964 background characters the 172 of {', '.join(VALIDATION_ALPHABETS)} are for validation)",
}


@dataclass(frozen=True)
class OmniglotOptions:
    """How the drawings are made into examples."""

    image_size: int = 28
    """Pixels along a side, at most 105."""
    rotations: Rotations = "classes"
    """Turned characters: classes (of their own), episode (each class of an episode at random) or
    none."""

    def __post_init__(self) -> None:
        size = self.image_size
        require(1 <= size <= SIDE, "image_size", f"must be between 1 and {SIDE}, got {size}")


def read_omniglot(root: str | None, split: str, options: OmniglotOptions) -> DataSet:
    """The drawings by split `vinyals` (`default`) or `lake`; groups are alphabets.

    UserError for files that are not there, or not Omniglot's.
    """
    split = "vinyals" if split == "default" else split
    if split not in _SPLITS:
        raise unknown_split("omniglot", split, *_SPLITS)
    paths = {archive: find_file(file, root) for archive, file in FILES.items()}
    key = {"version": 1, "size": options.image_size}
    key |= {archive: checksum(path) for archive, path in paths.items()}
    arrays = cached("omniglot", key, lambda: _shrunk(paths, options.image_size))
    splits: dict[str, list[ImageClass]] = {"train": [], "validation": [], "test": []}
    for archive, name, images in zip(*(arrays[k] for k in _ARRAYS), strict=True):
        alphabet = str(name).split("/")[0]
        chosen = split_of(split, str(archive), alphabet, str(name).split("/")[1])
        splits[chosen].append(ImageClass(str(name), alphabet, images))
    size = options.image_size
    protocol = (
        f"{_SPLITS[split]}; 1-bit drawings of {SIDE}x{SIDE} read as 8 bits, ink 1 on 0, averaged "
        f"by area to {size}x{size}; {ROTATIONS[options.rotations]}"
    )
    examples = {name: image_examples(each, options.rotations) for name, each in splits.items()}
    return DataSet("omniglot", "images", examples, protocol)


def split_of(split: str, archive: str, alphabet: str, character: str) -> str:
    """Where a character belongs: `train`, `validation` or `test`.

    Vinyals' 1,200 and 423 characters are the alphabets in order of archive and name, cut after
    1,200 of them: inside Gurmukhi.
    """
    if alphabet in VALIDATION_ALPHABETS:
        return "validation"
    if split == "lake":
        return "train" if archive == "background" else "test"
    is_last_gurmukhi = alphabet == "Gurmukhi" and character > "character41"
    return "test" if alphabet in VINYALS_TEST_ALPHABETS or is_last_gurmukhi else "train"


_ARRAYS = ("archives", "names", "images")


def _shrunk(paths: Mapping[str, Path], size: int) -> Arrays:
    """All characters: archive and name `[C]`, images uint8 `[C, DRAWINGS, 1, size, size]`."""
    archives: list[str] = []
    names: list[str] = []
    images: list[np.ndarray] = []
    for archive, path in paths.items():
        characters = _characters(path, CHARACTERS[archive])
        for name, ink in characters.items():
            archives.append(archive)
            names.append(name)
            images.append(area_average(ink, size)[:, None])
    return dict(zip(_ARRAYS, (np.array(archives), np.array(names), np.stack(images)), strict=True))


def _characters(path: Path, expected: int) -> dict[str, np.ndarray]:
    """Ink `[DRAWINGS, SIDE, SIDE]` of each `Alphabet/characterNN`, in order of their names."""
    try:
        with ZipFile(path) as archive:
            members: dict[str, list[str]] = {}
            for member in sorted(archive.namelist()):
                parts = member.split("/")
                if len(parts) == 4 and parts[3].endswith(".png"):
                    members.setdefault("/".join(parts[1:3]), []).append(member)
            wrong = [name for name, each in members.items() if len(each) != DRAWINGS]
            if len(members) != expected or wrong:
                raise UserError(
                    f"{path} has {len(members)} characters instead of {expected}, {len(wrong)} of "
                    f"them without {DRAWINGS} drawings; take the original file"
                )
            return {name: _ink(archive, each) for name, each in members.items()}
    except (OSError, EOFError, ValueError, SyntaxError, BadZipFile, zlib.error) as error:
        raise UserError(f"cannot read {path}: {error}; take the original file") from error


def _ink(archive: ZipFile, members: list[str]) -> np.ndarray:
    drawings = []
    for member in members:
        with Image.open(io.BytesIO(archive.read(member))) as image:
            # 8 bits before anything else: pillow shrinks 1-bit images by picking single pixels,
            # whatever filter it is told. Paper is white, ink is dark.
            drawings.append(np.asarray(image.convert("L")) < 128)
    return np.stack(drawings)

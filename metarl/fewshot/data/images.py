"""Images of classes: turned copies as classes, and an exact area average."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.fewshot.data.examples import Examples

Rotations = Literal["classes", "episode", "none"]
"""`classes`: each class turned by 90, 180 and 270 degrees gives three classes more; `episode`: each
class of an episode is turned at random; `none`: images stay upright."""

ROTATIONS = {
    "classes": "every class turned by 0, 90, 180 and 270 degrees counts as four, in all splits",
    "episode": "every class of an episode turned by a random multiple of 90 degrees",
    "none": "no rotations",
}
"""What each choice means, for a protocol."""


class ImageClass(NamedTuple):
    """All images of one class."""

    name: str
    group: str
    images: np.ndarray
    """uint8 `[n, c, H, W]`."""


def image_examples(classes: Sequence[ImageClass], rotations: Rotations) -> Examples:
    """The examples of a split, in the order of the classes."""
    quarters = range(4) if rotations == "classes" else range(1)
    names: list[str] = []
    pieces: list[Tensor] = []
    for each in classes:
        images = torch.from_numpy(each.images)
        for quarter in quarters:
            names.append(f"{each.name}/rot{90 * quarter:03d}" if len(quarters) > 1 else each.name)
            pieces.append(images.rot90(quarter, (-2, -1)))
    groups = [each.group for each in classes for _ in quarters]
    counts = torch.tensor([len(piece) for piece in pieces])
    return Examples(
        torch.cat(pieces),
        counts,
        tuple(names),
        tuple(groups) if any(groups) else (),
        rotations == "episode",
    )


def area_average(ink: np.ndarray, size: int) -> np.ndarray:
    """Shrink images of 0 and 1 to the mean ink of each cell of a `size` x `size` grid.

    A cell takes the parts of pixels that it covers. All sums are whole numbers, so the result is
    the same on every machine.

    Args:
        ink: bool `[n, S, S]`.
        size: cells along a side, at most S.

    Returns uint8 `[n, size, size]`, 255 times the mean, rounded.
    """
    side = ink.shape[-1]
    # In units of 1 / size of a pixel a cell is `side` wide and pixel x covers size x to size (x+1).
    starts, pixels = side * np.arange(size)[:, None], size * np.arange(side)[None, :]
    covered = np.minimum(starts + side, pixels + size) - np.maximum(starts, pixels)
    weights = covered.clip(min=0).astype(np.float32)  # whole numbers below 2**24: sums are exact
    sums = (weights @ ink.astype(np.float32) @ weights.T).astype(np.int64)
    cell = side * side
    return ((2 * 255 * sums + cell) // (2 * cell)).astype(np.uint8)

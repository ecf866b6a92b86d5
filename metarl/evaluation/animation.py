"""Animations: captions over pictures, and pictures in a row as a GIF."""

import errno
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from metarl.errors import UserError
from metarl.files import cannot_write, write_atomically

CAPTION_HEIGHT = 52
"""Pixels that the three lines of a caption take."""
FASTEST = 50
"""Frames per second: a GIF counts in hundredths of a second, and viewers slow down those of one."""
_LINE_HEIGHT, _MARGIN, _FONT_SIZE = 16, 6, 13
_COLOURS = 256
_NEARLY_WHITE = 248
_PALETTE_FRAMES = 8


def captioned(picture: np.ndarray, lines: Sequence[str]) -> Image.Image:
    """The picture `[H, W, 3]` below a strip with three lines, which end in ... where too long."""
    height, width, _ = picture.shape
    image = Image.new("RGB", (width, height + CAPTION_HEIGHT), "white")
    image.paste(Image.fromarray(picture), (0, CAPTION_HEIGHT))
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(_FONT_SIZE)
    for row, line in enumerate(lines):
        while line and draw.textlength(line, font) > width - 2 * _MARGIN:
            line = line.removesuffix("...")[:-1] + "..." if len(line) > 4 else ""
        draw.text((_MARGIN, 2 + row * _LINE_HEIGHT), line, "black", font)
    return image


def check_gif(path: str | Path) -> Path:
    """The path, if a GIF can be written there; to be asked before the work of drawing it."""
    path = Path(path)
    if path.suffix.lower() != ".gif":
        raise UserError(f"the output {path} must end in .gif")
    if path.is_dir():
        raise UserError(f"the output {path} is a folder; give a file in it")
    if not path.parent.is_dir():
        raise cannot_write(path, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))
    if not os.access(path.parent, os.W_OK):
        raise cannot_write(path, PermissionError(errno.EACCES, os.strerror(errno.EACCES)))
    return path


def write_gif(path: str | Path, frames: Sequence[Image.Image], fps: float) -> None:
    """Write frames of one size as a GIF that repeats for ever; it appears whole or not at all.

    Args:
        path: the file; its folder must exist.
        frames: RGB, at least one; all share one palette, so that colours do not flicker.
        fps: frames per second, 1 to 50, kept on average to a hundredth of a second.

    Raises UserError when the disk refuses.
    """
    if not 1 <= fps <= FASTEST:
        raise UserError(f"fps must lie between 1 and {FASTEST}, got {fps:g}")
    palette = _palette(frames)
    first, *rest = (frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames)
    ends = [round(100 * count / fps) for count in range(len(frames) + 1)]
    milliseconds = [10 * (end - start) for start, end in itertools.pairwise(ends)]
    write_atomically(
        path,
        lambda file: first.save(
            file, format="GIF", save_all=True, append_images=rest, duration=milliseconds, loop=0
        ),
    )


def _palette(frames: Sequence[Image.Image]) -> Image.Image:
    """The colours of a few frames, from the first to the last, as an image with that palette."""
    indices = np.linspace(0, len(frames) - 1, _PALETTE_FRAMES).round().astype(int)
    some = [np.asarray(frames[index]) for index in sorted(set(indices.tolist()))]
    palette = Image.fromarray(np.concatenate(some)).quantize(_COLOURS - 1)
    colours = np.full((_COLOURS, 3), 255)
    found = np.array(palette.getpalette()).reshape(-1, 3)[: _COLOURS - 1]
    # Paper is white: pillow, which matches colours to within 4, would take one beside it.
    colours[: len(found)] = np.where(
        (found >= _NEARLY_WHITE).all(axis=1, keepdims=True), 255, found
    )
    palette.putpalette(colours.flatten().tolist())
    return palette

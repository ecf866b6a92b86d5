"""Pictures without a display: matplotlib's axes as pixels, and pixels of another size."""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:  # matplotlib and pillow take long to import, and pictures are rare
    from matplotlib.axes import Axes

    from metarl.simulation.vector_env import TaskVectorEnv

_DPI = 80
_LEFT, _RIGHT, _BOTTOM, _TOP = 56, 14, 44, 28
"""Pixels around the axes: room for labels and a title, the same in every picture."""
_MOST_LABELLED_BARS = 20
_COLOUR = "#0072B2"


def frame(env: "TaskVectorEnv", index: int = 0, width: int = 480, height: int = 320) -> np.ndarray:
    """A picture of one environment as it is now, uint8 `[height, width, 3]`, RGB.

    Needs no display. What it needs instead is kept for the next picture, until `env.close()`.

    Args:
        env: after its first reset.
        index: which of its K * N environments.
        width: in pixels.
        height: likewise.

    Raises UserError where there is no OpenGL to draw a robot with.
    """
    return _fit(env.engine.frame(index, width, height), width, height)


def draw_on_axes(draw: "Callable[[Axes], None]", width: int, height: int) -> np.ndarray:
    """What `draw` draws on empty axes, uint8 `[height, width, 3]`; without pyplot's global state.

    The axes have a fixed place in the picture, so that nothing jumps from picture to picture.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    canvas = FigureCanvasAgg(figure)
    inside = (width - _LEFT - _RIGHT, height - _BOTTOM - _TOP)
    axes = figure.add_axes((_LEFT / width, _BOTTOM / height, inside[0] / width, inside[1] / height))
    draw(axes)
    canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3]


def draw_bars(axes: "Axes", values: Sequence[float]) -> None:
    """A horizontal bar for each number, the first one on top.

    The scale is a power of ten, at least 1: it seldom changes from picture to picture.
    """
    largest = max(map(abs, values), default=0.0)
    limit = 10.0 ** max(0, math.ceil(math.log10(largest))) if largest > 0 else 1.0
    indices = range(len(values))
    axes.barh(indices, values, color=_COLOUR)
    axes.axvline(0.0, color="0.4", linewidth=0.8)
    axes.set_xlim(-limit, limit)
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_yticks(indices if len(values) <= _MOST_LABELLED_BARS else [])
    axes.set_ylabel("observation")


def _fit(picture: np.ndarray, width: int, height: int) -> np.ndarray:
    """The picture in another size, its shape kept, in the middle of a white background."""
    if picture.shape == (height, width, 3):
        return picture
    from PIL import Image, ImageOps

    padded = ImageOps.pad(Image.fromarray(picture), (width, height), color="white")
    return np.asarray(padded)

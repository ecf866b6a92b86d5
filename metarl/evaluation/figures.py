"""What pictures of comparisons have in common, without pyplot: no global state, no display."""

import io
import textwrap
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from metarl.evaluation.plots import COLOURS

# After Okabe & Ito, without their black, Paul Tol's "muted" for those who do not fit.
PALETTE = (*COLOURS[:-1], "#882255", "#332288", "#999933", "#44AA99", "#AA4499")
LINES = ("-", "--", ":", "-.")
# No date and no random ids: the same runs give the same files, byte for byte.
_SVG: Any = {"svg.hashsalt": "metarl", "svg.fonttype": "path"}


def new_figure(
    rows: int,
    columns: int,
    height: float,
    width: float = 11.0,
    sharex: bool = False,
    sharey: bool = False,
) -> tuple[Figure, list[Axes]]:
    """A figure of width × height inches and its panels, row by row."""
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, columns, sharex=sharex, sharey=sharey, squeeze=False)
    found = panels.ravel().tolist()
    for axes in found:
        axes.grid(color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["right", "top"]].set_visible(False)
        axes.ticklabel_format(axis="both", useOffset=False)
    return figure, found


def encode(figure: Figure, kind: str) -> bytes:
    """The figure as a PNG or SVG file."""
    file = io.BytesIO()
    with matplotlib.rc_context(_SVG):
        metadata = {"Date": None} if kind == "svg" else {}
        figure.savefig(file, format=kind, metadata=metadata)
    return file.getvalue()


def legend_beside(figure: Figure, axes: Axes) -> None:
    """The legend of one panel, to the right of all of them."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)


def wrapped(label: str, width: int = 26) -> str:
    """A label on as many lines as it needs."""
    return "\n".join(textwrap.wrap(label, width, break_long_words=True)) or label


def name_axes(axes: Axes, x: str, y: str) -> None:
    """What stands along the axes."""
    axes.set_xlabel(x)
    axes.set_ylabel(y)

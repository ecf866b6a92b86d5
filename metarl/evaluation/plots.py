"""Pictures of adaptation and training, drawn without pyplot: no global state, no display."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, MaxNLocator

from metarl.errors import UserError

if TYPE_CHECKING:  # curves imports this file
    from metarl.evaluation.curves import AdaptationCurve

# Okabe & Ito 2008, told apart by colour-blind readers; the curve itself takes the first.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_READ = ("iteration", "train/environment_steps", "train/return_pre", "train/return_post")


def plot_curve(
    curve: "AdaptationCurve",
    path: str | Path | BinaryIO,
    title: str = "",
    others: Mapping[str, "AdaptationCurve"] | None = None,
) -> None:
    """Write a PNG of return against adaptation steps, environment steps per task on top.

    Interquartile mean with its 95 % band, mean dashed, every task in light grey. `others` maps
    labels to baselines, drawn with their own bands; a baseline without adaptation steps (an
    oracle, say) is a level across the picture.
    """
    figure, axes = _figure(title)
    others = others or {}
    _draw_single_tasks(axes, curve)
    _draw_level(axes, curve, "interquartile mean, 95 % interval", 0)
    axes.plot(curve.steps, curve.mean, "--", color=COLOURS[0], linewidth=1.0, label="mean")
    for index, (label, other) in enumerate(others.items(), start=1):
        _draw_level(axes, other, label, index)
    last = max(1, *(each.steps[-1] for each in (curve, *others.values())))
    axes.set_xlim(-0.03 * last, 1.03 * last)
    axes.set_xlabel("adaptation steps")
    axes.set_ylabel("return")
    _label_top(axes, curve.steps, curve.environment_steps, "environment steps per task")
    _save(figure, axes, path)


def plot_training(
    metrics_csv_path: str | Path, path: str | Path | BinaryIO, title: str = ""
) -> None:
    """Write a PNG of `train/return_pre` and `train/return_post` against the iteration.

    The CSV has a header; the iteration is its column `iteration`, or the row number where there is
    none. Empty cells are skipped. Where the column `train/environment_steps` exists, environment
    steps stand on top.

    Raises:
        UserError: the file cannot be read, has no rows, or lacks both returns.
    """
    columns = read_metrics(metrics_csv_path)
    lines = {"before adaptation": "train/return_pre", "after adaptation": "train/return_post"}
    lines = {label: name for label, name in lines.items() if name in columns}
    if not lines:
        raise UserError(f"{metrics_csv_path} has neither train/return_pre nor train/return_post")
    rows = len(next(iter(columns.values())))
    iteration = columns.get("iteration", np.arange(rows, dtype=np.float64))
    figure, axes = _figure(title)
    for label, name in lines.items():
        known = np.isfinite(columns[name]) & np.isfinite(iteration)
        colour = COLOURS[label == "before adaptation"]
        axes.plot(iteration[known], columns[name][known], color=colour, linewidth=1.5, label=label)
    axes.set_xlabel("iteration")
    axes.set_ylabel("return")
    if "train/environment_steps" in columns:
        _label_top_at_ticks(axes, iteration, columns["train/environment_steps"])
    _save(figure, axes, path)


def _figure(title: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(7.0, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, fontsize=11, pad=8)
    axes.grid(color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.ticklabel_format(axis="y", useOffset=False)
    axes.spines["right"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))
    return figure, axes


def _draw_single_tasks(axes: Axes, curve: "AdaptationCurve") -> None:
    style = {"color": "0.78", "linewidth": 0.6, "zorder": 1}
    for index, returns in enumerate(curve.returns):
        label = "one task each" if index == 0 and len(curve.returns) > 1 else "_"
        axes.plot(curve.steps, returns, label=label, **style)


def _draw_level(axes: Axes, curve: "AdaptationCurve", label: str, index: int) -> None:
    """The interquartile mean and its band; a curve of one point spans the picture instead."""
    colour, marker = COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
    style = {"color": colour, "linewidth": 2.0 if index == 0 else 1.4, "zorder": 3}
    band = {"color": colour, "alpha": 0.25, "linewidth": 0, "zorder": 2}
    if len(curve.steps) > 1 or index == 0:
        axes.plot(curve.steps, curve.iqm, label=label, marker=marker, markersize=4, **style)
        axes.fill_between(curve.steps, curve.low, curve.high, **band)
    else:
        axes.axhline(curve.iqm[0], label=label, linestyle="-.", **style)
        axes.axhspan(curve.low[0], curve.high[0], **band)


def _label_top(axes: Axes, positions: np.ndarray, values: np.ndarray, label: str) -> None:
    """Write `values` above `positions` of the x axis: the same places in another unit."""
    top = axes.secondary_xaxis("top")
    three_digits = [float(f"{value:.3g}") for value in values]
    top.set_xticks(positions, [EngFormatter()(value) for value in three_digits])
    top.set_xlabel(label)


def _label_top_at_ticks(axes: Axes, iteration: np.ndarray, steps: np.ndarray) -> None:
    known = np.isfinite(iteration) & np.isfinite(steps)
    if not known.any():
        return
    first, last = iteration[known].min(), iteration[known].max()
    ticks = [tick for tick in axes.get_xticks() if first <= tick <= last]
    values = np.interp(ticks, iteration[known], steps[known])
    _label_top(axes, np.array(ticks), values, "environment steps")


def _save(figure: Figure, axes: Axes, path: str | Path | BinaryIO) -> None:
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, format="png")


def read_metrics(path: str | Path) -> dict[str, np.ndarray]:
    """The columns of a CSV with a header, NaN where a cell is empty or missing."""
    try:
        with Path(path).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        columns = {n: [float(row[n] or "nan") for row in rows] for n in rows[0] if n in _READ}
    except OSError as error:
        raise UserError(f"cannot read the metrics {path}: {error.strerror}") from error
    except IndexError:
        raise UserError(f"the metrics {path} hold no rows yet") from None
    except ValueError as error:
        raise UserError(f"the metrics {path} are damaged: {error}") from error
    return {name: np.array(column) for name, column in columns.items()}

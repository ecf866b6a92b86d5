"""Pictures of few-shot methods side by side, without pyplot."""

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarl.evaluation.figures import LINES, PALETTE, legend_beside, name_axes, new_figure, wrapped
from metarl.evaluation.plots import MARKERS
from metarl.fewshot.comparison import FewShotComparison, MethodResult

Style = Mapping[str, Any]
"""Colour, line style and marker of one method."""


def pictures(each: FewShotComparison) -> dict[str, Callable[[], Figure | None]]:
    """What draws each picture of a section, by name; None where there is nothing to show."""
    return {
        "scores": lambda: scores(each),
        "steps": lambda: steps(each),
        "calibration": lambda: calibration(each),
    }


def styles(each: FewShotComparison) -> dict[str, Style]:
    """A look for every method."""
    return {
        method.label: {"color": colour, "linestyle": line, "marker": marker}
        for method, colour, line, marker in zip(
            each.methods,
            itertools.cycle(PALETTE),
            itertools.chain.from_iterable([line] * len(PALETTE) for line in itertools.cycle(LINES)),
            itertools.cycle(MARKERS),
            strict=False,
        )
    }


def scores(each: FewShotComparison) -> Figure:
    """Every method's score after the last step with its interval, and what was published of it."""
    count = len(each.methods)
    figure, (axes,) = new_figure(1, 1, height=1.5 + 0.42 * count, width=9.0)
    percent = 100.0 if each.first.kind == "classification" else 1.0
    labelled: set[str] = set()
    for row, method in enumerate(each.methods):
        found = method.last
        value, low, high = (percent * v for v in (found.value, found.low, found.high))
        axes.errorbar(
            value,
            row,
            xerr=[[max(0.0, value - low)], [max(0.0, high - value)]],
            color=PALETTE[0],
            marker="o",
            capsize=3,
            label="here, 95 % interval" if row == 0 else None,
        )
        last = int(method.first.steps[-1])
        for one in method.published:
            value = one.values.get(last, one.values.get(None))
            if value is None:  # of other steps than the last one here
                continue
            rerun = one.confidence == "rerun"
            text = "another code's rerun" if rerun else "published"
            axes.plot(
                percent * value,
                row,
                "s" if rerun else "D",
                markerfacecolor="none",
                color=PALETTE[2 if rerun else 1],
                label=None if text in labelled else text,
            )
            labelled.add(text)
    axes.set_yticks(range(count), [wrapped(method.label, 34) for method in each.methods])
    axes.set_ylim(count - 0.4, -0.6)
    unit = f"{each.first.score_name}, %" if percent == 100.0 else each.first.score_name
    name_axes(axes, unit, "")
    figure.suptitle(each.title, fontsize=11)
    figure.legend(
        *axes.get_legend_handles_labels(),
        loc="outside lower center",
        ncols=3,
        frameon=False,
        fontsize=9,
    )
    return figure


def steps(each: FewShotComparison) -> Figure | None:
    """Score over adaptation steps of the methods that have them."""
    shown = [method for method in each.methods if len(method.first.steps) > 1]
    if not shown:
        return None
    figure, (axes,) = new_figure(1, 1, height=4.6, width=9.0)
    looks = styles(each)
    for method in shown:
        found = method.by_step
        axes.plot(
            method.first.steps,
            [one.value for one in found],
            label=wrapped(method.label),
            markersize=4,
            **looks[method.label],
        )
        axes.fill_between(
            method.first.steps,
            [one.low for one in found],
            [one.high for one in found],
            color=looks[method.label]["color"],
            alpha=0.15,
            linewidth=0,
        )
    name_axes(axes, "adaptation steps", each.first.score_name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if each.first.kind == "regression":
        axes.set_ylim(bottom=0)
    figure.suptitle(each.title, fontsize=11)
    legend_beside(figure, axes)
    return figure


def calibration(each: FewShotComparison) -> Figure | None:
    """What came true against what was promised, of the methods that say how sure they are."""
    shown = [method for method in each.methods if method.calibration_error is not None]
    if not shown:
        return None
    figure, (axes,) = new_figure(1, 1, height=4.8, width=8.0)
    axes.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
    looks = styles(each)
    for method in shown:
        expected, observed = _calibration(method)
        error = f"{100 * (method.calibration_error or 0.0):.1f} %"
        label = wrapped(f"{method.label}, error {error}")
        axes.plot(expected, observed, label=label, markersize=4, **looks[method.label])
    if each.first.kind == "classification":
        name_axes(axes, "confidence", "accuracy")
    else:
        name_axes(axes, "central interval", "share of queries inside")
    figure.suptitle(each.title, fontsize=11)
    legend_beside(figure, axes)
    return figure


def _calibration(method: MethodResult) -> tuple[np.ndarray, np.ndarray]:
    """Of the first run; bins in which hardly any query falls are noise and stay out."""
    found = method.first.calibration
    assert found is not None
    known = found.weights > 1e-3
    return found.expected[known], found.observed[known]

"""Pictures of a comparison, drawn without pyplot: no global state, no display."""

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FixedLocator, MaxNLocator, NullLocator

from metarl.errors import UserError
from metarl.evaluation.comparison.compared import Comparison, FamilyComparison
from metarl.evaluation.comparison.learners import LearnerResult
from metarl.evaluation.comparison.tables import number
from metarl.evaluation.comparison_statistics import Estimate, performance_profile
from metarl.evaluation.figures import (
    LINES,
    PALETTE,
    legend_beside,
    name_axes,
    new_figure,
    wrapped,
)
from metarl.evaluation.plots import MARKERS, read_metrics

Style = Mapping[str, Any]
"""Colour, line style and marker of one learner."""

_FIXED = {"oracle": "#000000", "random": "0.55"}
_THRESHOLDS = 201
_FAR = 10
"""Budgets with a larger ratio than this need a logarithmic axis."""
_TRAINING = ("train/return_post", "train/return_pre")


def learner_styles(comparison: Comparison) -> dict[str, Style]:
    """A look for every label, the same in all pictures: black oracle, grey random baseline."""
    learners = [each for family in comparison.families for each in family.learners]
    roles = {each.label: each.role for each in sorted(learners, key=lambda each: each.label)}
    styles, looks = {}, itertools.product(LINES, PALETTE)
    for index, (label, role) in enumerate(roles.items()):
        line, colour = ("-", _FIXED[role]) if role in _FIXED else next(looks)
        marker = MARKERS[index % len(MARKERS)]
        styles[label] = {"color": colour, "linestyle": line, "marker": marker}
    return styles


def pictures(
    family: FamilyComparison, styles: Mapping[str, Style]
) -> dict[str, Callable[[], Figure | None]]:
    """What draws each picture of a family, by name; None where there is nothing to show."""
    return {
        "curves": lambda: curves(family, styles),
        "final": lambda: final(family, styles),
        "profile": lambda: profile(family, styles),
        "improvement": lambda: improvement(family),
        "training": lambda: training(family, styles),
    }


def curves(family: FamilyComparison, styles: Mapping[str, Style]) -> Figure:
    """Interquartile mean with its 95 % band over adaptation steps and over environment steps."""
    figure, (left, right) = new_figure(1, 2, _legend_height(family, 4.8), sharey=True)
    for learner in family.learners:
        style = styles[learner.label]
        label = _shown(learner, family)
        _draw_curve(left, learner, learner.steps, label, style)
        _draw_curve(right, learner, learner.environment_steps, label, style)
    left.xaxis.set_major_locator(MaxNLocator(integer=True))
    _scale_environment_steps(right, family)
    below = _far_below(family)
    if below:
        left.set_ylim(bottom=_floor(family, below))
    name_axes(left, "adaptation steps", "return (interquartile mean)")
    name_axes(right, "environment steps per task", "")
    legend_beside(figure, left)
    return figure


def final(family: FamilyComparison, styles: Mapping[str, Style]) -> Figure:
    """Interquartile mean and worst fifth after the last step, a row for each learner."""
    height = 1.3 + 0.36 * len(family.learners)
    figure, panels = new_figure(1, 2, height, sharey=True)
    named: list[tuple[str, Callable[[LearnerResult], Estimate]]] = [
        ("IQM after the last step", lambda learner: learner.final),
        ("worst 20 % of tasks, mean", lambda learner: learner.worst),
    ]
    for axes, (title, value) in zip(panels, named, strict=True):
        for row, learner in enumerate(family.learners):
            style, found = styles[learner.label], value(learner)
            axes.plot(
                [found.low, found.high], [row, row], color=style["color"], linewidth=5, alpha=0.35
            )
            axes.plot(found.value, row, style["marker"], color=style["color"], markersize=6)
        name_axes(axes, title, "")
    below = _far_below(family)
    if below:
        row = family.learners.index(below)
        for axes, (_, value) in zip(panels, named, strict=True):
            floor = _floor(family, below, lambda learner, value=value: value(learner).low)
            axes.set_xlim(left=floor)
            axes.text(floor, row, f" ← {number(value(below).value)}", va="center", fontsize=9)
    labels = [wrapped(learner.label, 40) for learner in family.learners]
    panels[0].set_yticks(range(len(labels)), labels)
    panels[0].set_ylim(len(labels) - 0.5, -0.5)  # the best on top
    return figure


def profile(family: FamilyComparison, styles: Mapping[str, Style]) -> Figure:
    """The fraction of runs and tasks above each return after the last step, with its band."""
    scores = {each.label: each.returns[:, :, -1] for each in family.learners}
    low = min(float(each.min()) for each in scores.values())
    high = max(float(each.max()) for each in scores.values())
    margin = 0.02 * (high - low or 1.0)
    thresholds = np.linspace(low - margin, high + margin, _THRESHOLDS)
    figure, (axes,) = new_figure(1, 1, _legend_height(family, 4.4), width=7.5)
    for learner in family.learners:
        style = styles[learner.label]
        line, bottom, top = performance_profile(
            scores[learner.label], thresholds, distinct_tasks=learner.distinct_tasks
        )
        axes.plot(thresholds, line, label=_shown(learner, family), **_without_marker(style))
        axes.fill_between(thresholds, bottom, top, color=style["color"], **_band(family))
    below = _far_below(family)
    if below:
        axes.set_xlim(left=_floor(family, below, lambda each: each.returns[:, :, -1].min()))
    axes.set_ylim(-0.02, 1.02)
    name_axes(axes, "return τ after the last step", "fraction of runs and tasks above τ")
    legend_beside(figure, axes)
    return figure


def improvement(family: FamilyComparison) -> Figure | None:
    """P(row > column) for every pair, after the last step and at equal environment steps."""
    if not family.improvements:
        return None
    labels = [each.label for each in family.learners]
    count = len(labels)
    side = max(2.6, 0.43 * count)
    figure, panels = new_figure(1, 2, side + 2.2, width=2 * side + 2.8, sharey=True)
    titles = ("after the last adaptation step", "at equal environment steps per task")
    images = [_draw_matrix(panels[0], *_matrix(family, True))]
    images += [_draw_matrix(panels[1], *_matrix(family, False))]
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_xticks(range(count), [wrapped(label) for label in labels], rotation=90)
        axes.set_yticks(range(count), [wrapped(label) for label in labels])
        axes.tick_params(labelsize=8, length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
    bar = figure.colorbar(images[0], ax=panels, location="bottom", fraction=0.03, aspect=50)
    bar.set_label("P(row > column); bold: the 95 % interval leaves out 0.5", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def training(family: FamilyComparison, styles: Mapping[str, Style]) -> Figure | None:
    """Training return against environment steps: each seed thin, their mean thick."""
    figure, (axes,) = new_figure(1, 1, _legend_height(family, 4.4), width=7.5)
    drawn = 0
    for learner in family.learners:
        lines = list(_training_lines(learner))
        if not lines:
            continue
        drawn += 1
        style = _without_marker(styles[learner.label])
        for steps, returns in lines:
            thin: dict[str, Any] = {**style, "linewidth": 0.6, "alpha": 0.35}
            axes.plot(steps, returns, **thin)
        shared = max(each[0][0] for each in lines), min(each[0][-1] for each in lines)
        grid = np.linspace(*shared, 200) if shared[0] < shared[1] else np.array(shared[:1])
        mean = np.mean([np.interp(grid, *line) for line in lines], axis=0)
        axes.plot(grid, mean, label=wrapped(learner.label), **style)
    if not drawn:
        return None
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    name_axes(axes, "environment steps of the training", "return after adaptation, training tasks")
    legend_beside(figure, axes)
    return figure


def _draw_curve(
    axes: Axes, learner: LearnerResult, x: np.ndarray, label: str, style: Style
) -> None:
    low, high = learner.interval
    band = {"color": style["color"], "alpha": 0.15, "linewidth": 0}
    if learner.adapts:
        axes.plot(x, learner.iqm, label=label, linewidth=1.6, markersize=4, **style)
        axes.fill_between(x, low, high, **band)
    else:
        axes.axhline(learner.iqm[0], label=label, linewidth=1.6, **_without_marker(style))
        axes.axhspan(low[0], high[0], **band)


def _scale_environment_steps(axes: Axes, family: FamilyComparison) -> None:
    """Linear, or logarithmic from the shortest step on where budgets are far apart."""
    ends = [each.environment_steps for each in family.learners if each.environment_steps[-1] > 0]
    if ends and max(each[-1] for each in ends) > _FAR * min(each[-1] for each in ends):
        least = min(float(each[each > 0][0]) for each in ends)
        axes.set_xscale("symlog", linthresh=least, linscale=0.5)
        axes.set_xlim(left=-0.1 * least)
        most = max(float(each[-1]) for each in ends)
        decades = range(math.floor(math.log10(least)), math.ceil(math.log10(most)) + 1)
        marks = [digit * 10.0**decade for decade in decades for digit in (1, 3)]
        # None within the linear part but 0: they would stand on top of one another.
        axes.xaxis.set_major_locator(FixedLocator([0.0, *(m for m in marks if m >= least)]))
        axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))


def _band(family: FamilyComparison) -> dict[str, Any]:
    return {"alpha": 0.18 if len(family.learners) < 6 else 0.1, "linewidth": 0}


def _far_below(family: FamilyComparison) -> LearnerResult | None:
    """A random baseline so low that the others would not be told apart beside it."""
    baselines = [each for each in family.learners if each.role == "random"]
    others = [each.iqm for each in family.learners if each.role != "random"]
    if len(baselines) != 1 or not others:
        return None
    low, high = min(each.min() for each in others), max(each.max() for each in others)
    return baselines[0] if low - baselines[0].iqm.max() > 0.5 * (high - low) > 0 else None


def _floor(
    family: FamilyComparison,
    below: LearnerResult,
    lowest: Callable[[LearnerResult], float] = lambda each: each.interval[0].min(),
) -> float:
    """Where a picture without `below` starts."""
    values = [lowest(each) for each in family.learners if each is not below]
    return min(values) - 0.08 * (max(each.iqm.max() for each in family.learners) - min(values))


def _shown(learner: LearnerResult, family: FamilyComparison) -> str:
    """The label in a legend; it says where to look for a learner that is out of the picture."""
    if learner is _far_below(family):
        return wrapped(f"{learner.label} (at {number(learner.final.value)}, out of the picture)")
    return wrapped(learner.label)


def _legend_height(family: FamilyComparison, height: float) -> float:
    """Room for a legend beside the plot that may be longer than the plot."""
    lines = sum(1 + _shown(each, family).count("\n") for each in family.learners)
    return max(height, 0.6 + 0.21 * lines)


def _without_marker(style: Style) -> dict[str, Any]:
    return {"color": style["color"], "linestyle": style["linestyle"]}


def _matrix(family: FamilyComparison, last: bool) -> tuple[np.ndarray, np.ndarray]:
    """P(row > column) `[learners, learners]`, NaN on the diagonal; and where 0.5 is left out."""
    places = {each.label: place for place, each in enumerate(family.learners)}
    matrix = np.full((len(places), len(places)), np.nan)
    sure = np.zeros(matrix.shape, dtype=bool)
    for pair in family.improvements:
        found = pair.last if last else pair.common
        row, column = places[pair.first.label], places[pair.second.label]
        matrix[row, column], matrix[column, row] = found.value, 1.0 - found.value
        sure[row, column] = sure[column, row] = found.low > 0.5 or found.high < 0.5
    return matrix, sure


def _draw_matrix(axes: Axes, matrix: np.ndarray, sure: np.ndarray) -> Any:
    image = axes.imshow(matrix, cmap="RdBu", vmin=0.0, vmax=1.0)
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            colour = "white" if abs(value - 0.5) > 0.35 else "black"
            weight = "bold" if sure[row, column] else "normal"
            text = f"{value:.2f}"
            axes.text(
                column, row, text, ha="center", va="center", color=colour, weight=weight, fontsize=8
            )
    return image


def _training_lines(learner: LearnerResult) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for run in learner.runs:
        try:
            columns = read_metrics(run.path / "metrics.csv")
        except UserError:  # a learner that is not trained has no rows
            continue
        steps = columns.get("train/environment_steps")
        returns = next((columns[name] for name in _TRAINING if name in columns), None)
        if steps is None or returns is None:
            continue
        known = np.isfinite(steps) & np.isfinite(returns)
        if known.any():
            yield steps[known], returns[known]

"""Pictures of continual runs, without pyplot: what is learned, kept, lost and carried over."""

import itertools
import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text
from matplotlib.ticker import EngFormatter, LogFormatterMathtext, LogLocator, MaxNLocator
from matplotlib.transforms import Bbox

from metarl.continual.record import ContinualRecord
from metarl.continual.results import Line, Results, interval_over_seeds
from metarl.evaluation.comparison_statistics import Estimate
from metarl.evaluation.figures import LINES, PALETTE, encode, name_axes, new_figure, wrapped
from metarl.evaluation.plots import MARKERS
from metarl.files import write_atomically

Style = Mapping[str, Any]
"""Colour, line style and marker of one method."""

_REFERENCES = {"fine_tuning": "#000000", "from_scratch": "0.6", "multi_task": "#7F4F24"}
_METHODS = (
    "l2",
    "ewc",
    "mas",
    "packnet",
    "a_gem",
    "distillation",
    "si",
    "online_ewc",
    "l2_accumulating",
)
_FLOOR = -1.0
"""Normalised returns below this are out of the pictures: lines would not be told apart."""
_METRICS = {
    "average_performance": "average performance",
    "forgetting": "forgetting",
    "forward_transfer": "forward transfer",
}
_PLASTICITY = {
    "dormant_units": "dormant units, share",
    "stable_rank": "stable rank of features",
    "weight_norm": "norm of weights",
}


def pictures(results: Results) -> dict[str, Callable[[], Figure | None]]:
    """What draws each picture of a sequence, by name; None where there is nothing to show."""
    return {
        "matrix": lambda: matrix(results),
        "performance": lambda: performance(results),
        "strengths": lambda: strengths(results),
        "trade_off": lambda: trade_off(results),
        "adaptation": lambda: adaptation(results),
        "plasticity": lambda: plasticity(results),
    }


def save_pictures(records: Sequence[ContinualRecord], folder: str | Path) -> list[Path]:
    """Write the pictures of runs on one sequence as PNG files; the paths of those that apply.

    Raises UserError for records that do not belong together, and when the disk refuses.
    """
    paths = []
    for name, draw in pictures(Results.of(records)).items():
        figure = draw()
        if figure is not None:
            content = encode(figure, "png")
            paths.append(Path(folder, f"{name}.png"))
            write_atomically(paths[-1], lambda file, content=content: file.write(content))
    return paths


def styles(results: Results) -> dict[str, Style]:
    """A look for every kind: the method's colour and marker, the line of its identity."""
    known = [*_METHODS, *(m.method for m in results.summary if m.method not in _REFERENCES)]
    colours = dict(zip(dict.fromkeys(known), itertools.cycle(PALETTE), strict=False))
    colours |= _REFERENCES
    markers = dict(zip(colours, itertools.cycle(MARKERS), strict=False))
    settings = {(line.summary.identity, line.summary.variant): None for line in results.lines}
    lines = dict(zip(settings, itertools.cycle(LINES), strict=False))
    return {
        line.kind: {
            "color": colours[line.summary.method],
            "linestyle": lines[line.summary.identity, line.summary.variant],
            "marker": markers[line.summary.method],
        }
        for line in results.lines
    }


def matrix(results: Results) -> Figure:
    """R as a heat map for each method at its best strength: stages down, tasks across."""
    lines, names = results.best, results.stage_names
    columns = max(1, min(len(lines), math.floor(10.0 / _panel_width(results))))
    rows = math.ceil(len(lines) / columns)
    # Equal rows, not one that is full and one with a single panel.
    columns = math.ceil(len(lines) / rows)
    figure, panels = new_figure(
        rows,
        columns,
        height=rows * (0.5 + 0.27 * len(names)) + 1.9,
        width=max(4.5, columns * _panel_width(results) + 1.5),
        sharex=True,
        sharey=True,
    )
    values = [results.performance(line.matrix).mean(axis=0) for line in lines]
    scale = _scale(results, values)
    image: Any = None
    for axes, line, each in itertools.zip_longest(panels, lines, values):
        if line is None:
            axes.set_axis_off()
            continue
        image = draw_matrix(axes, each, results.sequence.stages, scale)
        axes.set_title(wrapped(line.label, 22), fontsize=9)
    for axes in panels[max(0, len(lines) - columns) : len(lines)]:
        axes.tick_params(labelbottom=True)
    for axes in panels:
        axes.set_xticks(range(len(results.tasks)), map(broken, results.tasks), rotation=90)
        axes.set_yticks(range(len(names)), [broken(name, 24) for name in names])
        axes.tick_params(labelsize=8, length=0)
    figure.supylabel("after stage", fontsize=9)
    ends = "both" if results.is_normalized else "neither"
    bar = figure.colorbar(
        image, ax=panels, location="bottom", fraction=0.03, aspect=50, extend=ends
    )
    bar.set_label(f"{results.unit}, mean over seeds; framed: the task of the stage", fontsize=9)
    bar.ax.tick_params(labelsize=8)
    return figure


def performance(results: Results) -> Figure:
    """The return on every task over the whole training, a panel for each task."""
    sequence, tasks = results.sequence, results.tasks
    figure, panels = new_figure(len(tasks), 1, 1.9 * len(tasks) + 1.6, sharex=True)
    looks = styles(results)
    steps = sequence.episodes * sequence.horizon
    for task, axes in enumerate(panels):
        _mark_stages(axes, results, task)
        for index, line in enumerate(results.best):
            returns = results.performance(line.curve_returns)[:, :, task]
            # Few markers, and those of different lines at different places.
            every = max(1, returns.shape[1] // 6)
            look = {**looks[line.kind], "markevery": (index % every, every)}
            _draw_band(axes, line.curve_iterations, returns, line.label, look)
        _cut(axes, results, [results.performance(line.curve_returns)[..., task]
                             for line in results.best])  # fmt: skip
        if results.is_normalized and not results.normalization.learned[task]:
            note = "from-scratch learners did not learn this task, so there is no scale"
            axes.text(0.5, 0.5, note, transform=axes.transAxes, ha="center", fontsize=9)
            axes.set_yticks([])
        axes.set_ylabel(broken(tasks[task], 20), fontsize=9)
        axes.tick_params(labelsize=8)
    last = sequence.iterations * len(sequence.stages)
    panels[-1].set_xlim(0, last)
    panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 2.5, 5, 10]))
    panels[-1].xaxis.set_major_formatter(
        lambda value, _: f"{value:g}\n{EngFormatter(sep=' ')(value * steps)}"
    )
    panels[-1].set_xlabel("iterations; below, environment steps of each learner")
    figure.supylabel(f"{results.unit} on", fontsize=10)
    _legend_below(figure, panels[0])
    return figure


def strengths(results: Results) -> Figure | None:
    """Average performance, forgetting and forward transfer against lambda."""
    swept, names = list(results.swept()), _shown_metrics(results)
    if not swept or not names:
        return None
    figure, panels = new_figure(1, len(names), 4.6, width=max(5.5, 4.0 * len(names)))
    looks = styles(results)
    fine_tuning = [line for line in results.lines if line.summary.method == "fine_tuning"]
    for axes, (name, title) in zip(panels, names.items(), strict=True):
        for line in fine_tuning:
            _draw_level(axes, line.summary.metrics[name], f"{line.kind}, λ=0", looks[line.kind])
        for lines in swept:
            estimates = [line.summary.metrics[name] for line in lines]
            _draw_sweep(axes, lines, estimates, looks[lines[0].kind])
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(numticks=8))
        axes.xaxis.set_major_formatter(LogFormatterMathtext())
        name_axes(axes, "λ", "")
        axes.set_title(title, fontsize=10)
    _legend_below(figure, panels[0])
    return figure


def trade_off(results: Results) -> Figure | None:
    """Forgetting against forward transfer, or against AUC where transfer is not defined."""
    up = next(
        (n for n in ("forward_transfer", "auc") if _are_known(results, n, "forgetting")), None
    )
    if up is None:
        return None
    figure, (axes,) = new_figure(1, 1, 5.6, width=9.5)
    looks = styles(results)
    for kind in dict.fromkeys(line.kind for line in results.lines):
        lines = [line for line in results.lines if line.kind == kind]
        lines.sort(key=lambda line: line.summary.strength or 0.0)
        _draw_trade_off(axes, lines, results.best, up, looks[kind])
    name_axes(axes, "forgetting (less is better)", _titles(up) + " (more is better)")
    axes.margins(0.08)
    # Labels need the final layout: only then do pixels say what overlaps.
    figure.draw_without_rendering()
    _label_points(axes, results, up)
    return figure


def adaptation(results: Results) -> Figure | None:
    """Return on the held-out task after 0..n updates on it, a panel for each stage."""
    lines = [line for line in results.best if np.isfinite(line.adaptation).any()]
    if not lines:
        return None
    names = results.stage_names
    columns = min(len(names), 5)
    rows = math.ceil(len(names) / columns)
    figure, panels = new_figure(rows, columns, 2.3 * rows + 1.6, sharex=True, sharey=True)
    looks = styles(results)
    for stage, axes in enumerate(panels):
        if stage >= len(names):
            axes.set_axis_off()
            continue
        for line in lines:
            returns = line.adaptation[:, stage]
            updates = np.arange(returns.shape[1])
            _draw_band(axes, updates, returns, line.label, looks[line.kind])
        title = f"after {stage}: {names[stage]}" if stage else "before training"
        axes.set_title(broken(title, 22), fontsize=9)
        axes.tick_params(labelsize=8, labelbottom=stage + columns >= len(names))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=6))
        if stage + columns >= len(names):
            axes.set_xlabel("PPO updates", fontsize=9)
    held_out = results.sequence.held_out
    figure.supylabel(f"return on {held_out.name if held_out else ''}", fontsize=10)
    _legend_below(figure, panels[0])
    return figure


def plasticity(results: Results) -> Figure:
    """Dormant units, stable rank and norm of the weights after every stage."""
    names = results.stage_names
    figure, panels = new_figure(1, len(_PLASTICITY), 5.0)
    looks = styles(results)
    for axes, (name, title) in zip(panels, _PLASTICITY.items(), strict=True):
        for line in results.best:
            values = line.plasticity(name)
            _draw_band(axes, np.arange(len(names)), values, line.label, looks[line.kind])
        axes.set_xticks(range(len(names)), map(broken, names), rotation=90)
        axes.tick_params(labelsize=8)
        name_axes(axes, "after stage", title)
    _legend_below(figure, panels[0])
    return figure


def draw_matrix(
    axes: Axes,
    values: np.ndarray,
    stages: Sequence[int],
    scale: Mapping[str, Any],
    first_row: int = 1,
) -> Any:
    """A heat map of returns: stages down, tasks across, the task of each stage framed.

    `first_row` is that of the first stage, below those before training. Returns the image, for a
    colour bar.
    """
    axes.grid(visible=False)
    axes.set_facecolor("0.85")  # where there is no number
    image = axes.imshow(values, aspect="auto", **scale)
    for (row, column), value in np.ndenumerate(values):
        text = "–" if math.isnan(value) else _brief(value)
        lightness = np.dot(image.to_rgba(value)[:3], (0.2126, 0.7152, 0.0722))  # ITU-R BT.709
        colour = "black" if lightness > 0.42 or math.isnan(value) else "white"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, color=colour)
    for stage, task in enumerate(stages, start=first_row):
        frame = Rectangle((task - 0.47, stage - 0.47), 0.94, 0.94, fill=False, linewidth=1.6)
        axes.add_patch(frame)
    return image


def _scale(results: Results, values: Sequence[np.ndarray]) -> dict[str, Any]:
    """Blue for better than random actions, red for worse; raw returns from dark to light."""
    if results.is_normalized:
        return {"cmap": "RdBu", "vmin": -1.0, "vmax": 1.0}
    return raw_scale(values)


def raw_scale(values: Sequence[np.ndarray]) -> dict[str, Any]:
    """Colours of returns, from the lowest to the highest of several matrices."""
    known = np.concatenate([each[np.isfinite(each)] for each in values])
    low, high = (known.min(), known.max()) if len(known) else (0.0, 1.0)
    return {"cmap": "cividis", "vmin": low, "vmax": high if high > low else low + 1.0}


def _draw_band(axes: Axes, x: np.ndarray, values: np.ndarray, label: str, style: Style) -> None:
    """The mean over seeds of `[seeds, points]`, with its 95 % band where there are several."""
    mean, low, high = interval_over_seeds(values)
    known = np.isfinite(mean)
    look = {**style, "linewidth": 1.3, "markersize": 3.5, "zorder": 3}
    axes.plot(x[known], mean[known], label=label, **look)
    banded = known & np.isfinite(low)
    colour = style["color"]
    axes.fill_between(x[banded], low[banded], high[banded], color=colour, alpha=0.12, linewidth=0)


def _mark_stages(axes: Axes, results: Results, task: int) -> None:
    """Lines between stages, their tasks' names on top, shade where this panel's is trained on."""
    inner = results.sequence.iterations
    for stage, trained in enumerate(results.sequence.stages):
        if stage:
            axes.axvline(stage * inner, color="0.4", linewidth=0.8, linestyle=":", zorder=1)
        if trained == task:
            axes.axvspan(stage * inner, (stage + 1) * inner, color="#F3E9C6", linewidth=0, zorder=0)
        if task == 0:
            middle = (stage + 0.5) * inner
            name = broken(results.tasks[trained])
            place = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
            axes.annotate(
                name, (middle, 1.0), (0, 3), ha="center", va="bottom", fontsize=8, **place
            )


def _cut(axes: Axes, results: Results, values: Sequence[np.ndarray]) -> None:
    """Leave out what is far below random actions, if anything is."""
    if results.is_normalized:
        lowest = min((np.nanmin(each) for each in values if np.isfinite(each).any()), default=0.0)
        if lowest < _FLOOR:
            axes.set_ylim(bottom=_FLOOR)


def _draw_level(axes: Axes, found: Estimate, label: str, style: Style) -> None:
    if math.isnan(found.value):
        return
    axes.axhline(found.value, label=label, color=style["color"], linestyle=style["linestyle"])
    if not math.isnan(found.low):
        axes.axhspan(found.low, found.high, color=style["color"], alpha=0.1, linewidth=0)


def _draw_sweep(
    axes: Axes, lines: Sequence[Line], estimates: Sequence[Estimate], style: Style
) -> None:
    x = np.array([line.summary.strength for line in lines], dtype=np.float64)
    mean, low, high = np.array([(each.value, each.low, each.high) for each in estimates]).T
    axes.plot(x, mean, label=lines[0].kind, linewidth=1.4, markersize=4, **style)
    if len(x) == 1:  # a band has no width there
        _bar(axes, (x[0], x[0]), (low[0], high[0]), style, 0.6)
    axes.fill_between(x, low, high, color=style["color"], alpha=0.12, linewidth=0)


def _draw_trade_off(
    axes: Axes, lines: Sequence[Line], best: Sequence[Line], up: str, style: Style
) -> None:
    """The strengths of one kind, joined in their order; the best one large."""
    lines = [line for line in lines if _is_known(line, up, "forgetting")]
    x = [_value(line, "forgetting") for line in lines]
    y = [_value(line, up) for line in lines]
    axes.plot(x, y, color=style["color"], linewidth=0.8, alpha=0.5, zorder=2)
    for line, *point in zip(lines, x, y, strict=True):
        across, along = line.summary.metrics["forgetting"], line.summary.metrics[up]
        large = line in best
        alpha = 0.8 if large else 0.25
        _bar(axes, (across.low, across.high), (point[1], point[1]), style, alpha)
        _bar(axes, (point[0], point[0]), (along.low, along.high), style, alpha)
        axes.plot(
            *point, style["marker"], color=style["color"], markersize=8 if large else 4,
            markeredgecolor="white" if large else "none", alpha=1.0 if large else 0.6, zorder=4,
        )  # fmt: skip


def _bar(axes: Axes, x: Sequence[float], y: Sequence[float], style: Style, alpha: float) -> None:
    axes.plot(x, y, color=style["color"], linewidth=1.1, alpha=alpha, zorder=3)


def _label_points(axes: Axes, results: Results, up: str) -> None:
    """The names of the best strengths, where they cover the least of points and each other."""
    known = [line for line in results.lines if _is_known(line, up, "forgetting")]
    points = {line: (_value(line, "forgetting"), _value(line, up)) for line in known}
    taken = [_square(axes, point, 9.0 if line in results.best else 5.0)
             for line, point in points.items()]  # fmt: skip
    for line in results.best:
        if line in points:
            leader = {"arrowstyle": "-", "color": "0.5", "linewidth": 0.6, "shrinkA": 0}
            text = axes.annotate(
                line.label, points[line], (0, 0), textcoords="offset points", fontsize=8.5,
                arrowprops=leader, zorder=5,
            )  # fmt: skip
            taken.append(_place(axes, text, taken))


def _square(axes: Axes, point: tuple[float, float], half: float) -> Bbox:
    x, y = axes.transData.transform(point)
    return Bbox.from_extents(x - half, y - half, x + half, y + half)


def _place(axes: Axes, text: Annotation, taken: Sequence[Bbox]) -> Bbox:
    """Move a label to the best of many places around its point; what it covers, in pixels."""
    text.set_in_layout(False)  # or the panel would move under the places found here
    places = [_around(r, a) for r in (9, 14, 20, 28, 40, 56) for a in range(0, 360, 30)]

    def cost(place: Mapping[str, Any]) -> float:
        box = _box(text, place)
        covered = sum(_overlap(box, other) for other in taken)
        outside = box.width * box.height - _overlap(box, axes.bbox)
        return covered + outside + 0.5 * math.hypot(*place["position"])

    return _box(text, min(places, key=cost))


def _around(radius: float, degrees: float) -> dict[str, Any]:
    """Where a label stands in a direction, in points, and which of its sides is near the point."""
    x, y = radius * math.cos(math.radians(degrees)), radius * math.sin(math.radians(degrees))
    across = "left" if x > 1 else "right" if x < -1 else "center"
    along = "bottom" if y > 1 else "top" if y < -1 else "center"
    return {"position": (x, y), "ha": across, "va": along}


def _box(text: Annotation, place: Mapping[str, Any]) -> Bbox:
    """What a label covers in its place, in pixels, without its leader."""
    text.set(**place)
    figure = text.get_figure(root=True)
    assert figure is not None
    text.update_positions(figure.canvas.get_renderer())  # pyright: ignore[reportAttributeAccessIssue]
    return Text.get_window_extent(text)


def _overlap(one: Bbox, other: Bbox) -> float:
    both = Bbox.intersection(one, other)
    return 0.0 if both is None else both.width * both.height


def _legend_below(figure: Figure, axes: Axes) -> None:
    handles, labels = axes.get_legend_handles_labels()
    most = max(1, min(5, round(110 / max(map(len, labels), default=1))))
    rows = max(1, math.ceil(len(labels) / most))
    columns = math.ceil(len(labels) / rows)
    figure.legend(
        handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=9
    )


def _shown_metrics(results: Results) -> dict[str, str]:
    """Those that are defined for any method; returns where nothing is normalised."""
    final = {"final_return": "return at the end, mean over tasks"}
    for names in (_METRICS, final):
        known = {name: title for name, title in names.items() if _are_known(results, name)}
        if known:
            return known
    return {}


def _titles(name: str) -> str:
    return _METRICS.get(name, "AUC of training")


def _are_known(results: Results, *names: str) -> bool:
    return any(_is_known(line, *names) for line in results.lines)


def _is_known(line: Line, *names: str) -> bool:
    return all(math.isfinite(_value(line, name)) for name in names)


def _value(line: Line, name: str) -> float:
    return line.summary.metrics[name].value


def _panel_width(results: Results) -> float:
    return max(1.5, 0.42 * len(results.tasks))


def _brief(value: float) -> str:
    """`0.84`, `-0.3`, `312`: what fits a cell."""
    value = round(value, 2) + 0.0  # no -0.00
    if abs(value) >= 100:
        return f"{value:.0f}" if abs(value) < 1e4 else EngFormatter(places=0, sep="")(value)
    return f"{value:.1f}" if value < -0.995 or value >= 9.95 else f"{value:.2f}"


def broken(name: str, width: int = 12) -> str:
    """A name on several lines, broken at its underscores and spaces, but not within a vector."""
    words = name.replace("_", " ").replace(", ", ",\N{NO-BREAK SPACE}")
    return "\n".join(textwrap.wrap(words, width, break_long_words=False))

"""Pictures of few-shot results, without pyplot: scores over steps, calibration, curves."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from metarl.evaluation.figures import PALETTE, encode, name_axes, new_figure
from metarl.fewshot.results import FewShotResult, with_half_width
from metarl.fewshot.run import ShownCurves
from metarl.files import write_atomically

_FIRST, _SECOND = PALETTE[:2]
_BINS = 30


def save_pictures(
    result: FewShotResult, curves: ShownCurves | None, folder: str | Path, name: str
) -> Path:
    """Write `NAME.png`, and `NAME-curves.png` where there are curves; the path of the first.

    Raises UserError when the disk refuses.
    """
    path = Path(folder, f"{name}.png")
    _save(overview(result), path)
    if curves is not None:
        _save(predictions(curves, _title(result)), Path(folder, f"{name}-curves.png"))
    return path


def overview(result: FewShotResult) -> Figure:
    """Score over adaptation steps (over episodes, for methods without steps) and calibration."""
    columns = 1 if result.calibration is None else 2
    figure, panels = new_figure(1, columns, height=4.4, width=5.2 * columns + 0.4)
    title = f"{_title(result)} · {result.episodes} episodes"
    figure.suptitle(title, fontsize=11)
    if len(result.steps) > 1:
        _draw_steps(result, panels[0])
    else:
        _draw_episodes(result, panels[0])
    if result.calibration is not None:
        draw_calibration(result, panels[1])
    return figure


def draw_calibration(result: FewShotResult, axes: Axes) -> None:
    """What came true against what was promised; the share of queries in grey behind it."""
    calibration = result.calibration
    assert calibration is not None
    axes.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
    known = calibration.weights > 0
    label = f"error {100 * calibration.error:.2f} %"
    axes.plot(
        calibration.expected[known],
        calibration.observed[known],
        color=_FIRST,
        marker="o",
        markersize=4,
        label=label,
    )
    if result.kind == "classification":
        count = len(calibration.weights)
        centres = (np.arange(count) + 0.5) / count
        axes.bar(
            centres,
            calibration.weights,
            width=0.9 / count,
            color="0.85",
            zorder=0,
            label="share of queries",
        )
        name_axes(axes, "confidence", "accuracy")
    else:
        name_axes(axes, "central interval", "share of queries inside")
    axes.set_xlim(0, 1.02)
    axes.set_ylim(0, 1.02)
    axes.legend(loc="upper left", frameon=False, fontsize=9)


def predictions(curves: ShownCurves, title: str) -> Figure:
    """Mean and two standard deviations of a few curves, with what was known of them."""
    count = len(curves.x)
    columns = min(3, count)
    figure, panels = new_figure(
        -(-count // columns), columns, height=2.9 * -(-count // columns) + 0.7, sharex=True
    )
    figure.suptitle(title, fontsize=11)
    for index, axes in enumerate(panels[:count]):
        x, mean = curves.x[index], curves.mean[index]
        axes.plot(x, curves.y[index], color="0.35", linestyle="--", linewidth=1.2, label="truth")
        axes.plot(x, mean, color=_FIRST, linewidth=1.6, label="mean")
        if curves.std is not None:
            spread = 2 * curves.std[index]
            axes.fill_between(
                x,
                mean - spread,
                mean + spread,
                color=_FIRST,
                alpha=0.2,
                linewidth=0,
                label="± 2 standard deviations",
            )
        points = curves.context[index]
        axes.plot(*points.T, "o", color=_SECOND, markersize=5, label="support points", zorder=3)
        name_axes(axes, "x" if index >= count - columns else "", "y" if not index % columns else "")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure


def _draw_steps(result: FewShotResult, axes: Axes) -> None:
    low, high = result.bootstrap
    axes.fill_between(
        result.steps,
        low,
        high,
        color=_FIRST,
        alpha=0.25,
        linewidth=0,
        label="95 % of the mean (bootstrap over episodes)",
    )
    axes.plot(result.steps, result.mean, color=_FIRST, marker="o", markersize=4, label="mean")
    name_axes(axes, "adaptation steps", result.score_name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if result.kind == "regression":
        axes.set_ylim(bottom=0)
    axes.legend(frameon=False, fontsize=9)


def _draw_episodes(result: FewShotResult, axes: Axes) -> None:
    """How the scores of single episodes are spread; there is no curve to show."""
    axes.hist(result.scores[:, -1], bins=_edges(result), color=_FIRST, alpha=0.6)
    pair = float(result.mean[-1]), float(result.half_width[-1])
    score = with_half_width(result.kind, *pair)
    axes.axvline(result.mean[-1], color=_SECOND, label=f"mean {score}")
    name_axes(axes, f"{result.score_name} of an episode", "episodes")
    if np.ptp(result.scores[:, -1]) == 0.0:  # one bar, which would fill the picture
        axes.set_xlim(result.mean[-1] - 0.1, result.mean[-1] + 0.1)
    axes.legend(frameon=False, fontsize=9, loc="lower center", bbox_to_anchor=(0.5, 1.0))


def _edges(result: FewShotResult) -> list[float] | int:
    """Edges of some thirty bins; of accuracies so that each bin has equally many values that an
    accuracy can take, or a comb would be seen."""
    details, scores = result.details, result.scores[:, -1]
    if result.kind == "regression" or not {"ways", "queries"} <= details.keys():
        return _BINS
    queries = details["ways"] * details["queries"]
    low, high = round(scores.min() * queries), round(scores.max() * queries)
    width = -(-(high - low + 1) // _BINS)
    return ((np.arange(low, high + width + 1, width) - 0.5) / queries).tolist()


def _title(result: FewShotResult) -> str:
    details = result.details
    parts = [str(details[key]) for key in ("data", "method", "size") if key in details]
    if "normalization" in details:
        parts.append(f"BatchNorm {details['normalization']}")
    return " · ".join(parts)


def _save(figure: Figure, path: Path) -> None:
    content = encode(figure, "png")
    write_atomically(path, lambda file: file.write(content))

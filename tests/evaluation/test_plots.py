"""What the pictures show, read back from the drawn figure."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

from metarl.errors import UserError
from metarl.evaluation.curves import AdaptationCurve
from metarl.evaluation.plots import plot_curve, plot_training


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures saved during a test, which are still written as well."""
    figures = []
    save = Figure.savefig

    def recording_save(figure, *args, **kwargs):
        figures.append(figure)
        return save(figure, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", recording_save)
    return figures


def curve(tasks: int = 8, steps: int = 5, level: float = -60.0) -> AdaptationCurve:
    noise = np.random.default_rng(0).normal(size=(tasks, steps + 1))
    return AdaptationCurve(level + noise, 4000.0 * np.arange(steps + 1))


def lines_of(figure: Figure) -> dict:
    return {line.get_label(): line for line in figure.axes[0].get_lines()}


def top_labels(figure: Figure) -> list[str]:
    return [label.get_text() for label in figure.axes[0].child_axes[0].get_xticklabels()]


def test_curve_shows_every_task_the_iqm_its_band_and_the_mean(drawn, tmp_path):
    shown = curve()
    plot_curve(shown, tmp_path / "a.png", title="HalfCheetahVel-v0")
    axes, lines = drawn[0].axes[0], lines_of(drawn[0])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("adaptation steps", "return")
    assert axes.get_title() == "HalfCheetahVel-v0"
    assert len(axes.get_lines()) == 8 + 2
    iqm = lines["interquartile mean, 95 % interval"]
    np.testing.assert_array_equal(np.asarray(iqm.get_ydata()), shown.iqm)
    np.testing.assert_array_equal(np.asarray(lines["mean"].get_ydata()), shown.mean)
    band = axes.collections[0].get_paths()[0].vertices
    assert set(shown.low) | set(shown.high) <= set(np.asarray(band)[:, 1])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_environment_steps_stand_above_their_adaptation_steps(drawn, tmp_path):
    plot_curve(curve(steps=3), tmp_path / "a.png")
    top = drawn[0].axes[0].child_axes[0]
    assert top.get_xlabel() == "environment steps per task"
    assert top.get_xticks().tolist() == [0, 1, 2, 3]
    assert top_labels(drawn[0]) == ["0", "4 k", "8 k", "12 k"]


def test_baselines_are_in_the_same_picture(drawn, tmp_path):
    others = {"random": curve(level=-160.0), "oracle": curve(steps=0, level=-40.0)}
    plot_curve(curve(), tmp_path / "a.png", others=others)
    lines = lines_of(drawn[0])
    np.testing.assert_array_equal(np.asarray(lines["random"].get_ydata()), others["random"].iqm)
    assert set(np.asarray(lines["oracle"].get_ydata())) == {others["oracle"].iqm[0]}
    legend = [text.get_text() for text in drawn[0].legends[0].get_texts()]
    assert legend[-2:] == ["random", "oracle"]
    assert len({lines[name].get_color() for name in ("random", "oracle", "mean")}) == 3


@pytest.mark.parametrize(("tasks", "steps"), [(1, 5), (1, 0), (40, 0)])
def test_small_curves_are_drawn_without_a_warning(drawn, tmp_path, tasks, steps):
    plot_curve(curve(tasks, steps), tmp_path / "a.png")
    ticks = drawn[0].axes[0].get_xticks()
    np.testing.assert_array_equal(ticks, np.round(ticks))


def test_a_perfectly_flat_curve_is_drawn(tmp_path):
    flat = AdaptationCurve(np.full((3, 4), -5.0), np.arange(4.0))
    plot_curve(flat, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 0


HEADER = "iteration,train/environment_steps,train/return_pre,train/return_post,run\n"


def test_training_skips_empty_cells(drawn, tmp_path):
    metrics = tmp_path / "metrics.csv"
    metrics.write_text(HEADER + "0,100,-9,,x\n1,200,-8,-5,x\n2,300,,-4,x\n10,1100,-6,-2\n")
    plot_training(metrics, tmp_path / "a.png")
    lines = lines_of(drawn[0])
    before, after = lines["before adaptation"], lines["after adaptation"]
    assert np.asarray(before.get_xydata()).tolist() == [[0, -9], [1, -8], [10, -6]]
    assert np.asarray(after.get_xydata()).tolist() == [[1, -5], [2, -4], [10, -2]]
    assert top_labels(drawn[0])[0] == "100"  # at iteration 0
    assert top_labels(drawn[0])[-1] == "1.1 k"  # at iteration 10
    assert drawn[0].axes[0].get_xlabel() == "iteration"


def test_training_without_environment_steps_or_iterations(drawn, tmp_path):
    metrics = tmp_path / "metrics.csv"
    metrics.write_text("train/return_post\n-3\n-2\n")
    plot_training(metrics, tmp_path / "a.png")
    after = lines_of(drawn[0])["after adaptation"]
    assert np.asarray(after.get_xydata()).tolist() == [[0, -3], [1, -2]]
    assert drawn[0].axes[0].child_axes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "No such file"),
        ("", "no rows"),
        (HEADER, "no rows"),
        ("iteration\n1\n", "neither"),
        (HEADER + "0,1,abc,2,x\n", "damaged.*abc"),
    ],
)
def test_unusable_metrics_are_refused_in_one_line(tmp_path, text, message):
    metrics = tmp_path / "metrics.csv"
    if text is not None:
        metrics.write_text(text)
    with pytest.raises(UserError, match=message):
        plot_training(metrics, tmp_path / "a.png")


def test_pyplot_and_its_global_state_stay_out():
    code = "import sys, metarl.evaluation.curves; sys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

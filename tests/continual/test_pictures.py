"""Pictures of continual runs: the numbers in them, what they mark, and when there is none."""

import itertools
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation

from metarl.continual import pictures
from metarl.continual.pictures import save_pictures, styles
from metarl.continual.results import Results, interval_over_seeds
from tests.continual.records import make_config, make_record

SMALL = {"fine_tuning": (), "from_scratch": (), "multi_task": (), "ewc": (0.0, 0.1, 1.0, 10.0)}
TWO = ("moon", "rainfall")


def results_of(iteration=None, **options) -> Results:
    small: dict[str, Any] = {
        "methods": SMALL,
        "tasks": TWO,
        "repetitions": 2,
        "seeds": 3,
        "iterations": 20,
    }
    return Results.of([make_record(make_config(**(small | options)), iteration)])


@pytest.fixture(scope="module")
def results() -> Results:
    """Two tasks, each trained on twice: four stages."""
    return results_of()


def drawn(figure: Figure | None) -> Figure:
    assert figure is not None
    return figure


def line_of(axes, label):
    (found,) = (each for each in axes.get_lines() if each.get_label() == label)
    return np.asarray(found.get_xdata(), float), np.asarray(found.get_ydata(), float)


def test_the_best_strength_of_each_method_is_shown(results):
    labels = [line.label for line in results.best]
    assert labels == ["fine_tuning", "from_scratch", "multi_task", "ewc, λ=1"]
    values = {line.label: line.summary.metrics["average_performance"].value
              for line in results.lines}  # fmt: skip
    assert values["ewc, λ=1"] == max(v for label, v in values.items() if "ewc" in label)


def test_without_from_scratch_the_best_is_that_of_the_highest_return():
    results = results_of(methods={"ewc": (0.1, 10.0)})
    returns = [line.summary.metrics["final_return"].value for line in results.lines]
    assert results.best == (results.lines[int(np.argmax(returns))],)
    assert results.unit == "return"


def test_matrix_holds_normalised_means_over_seeds_and_frames_the_trained_task(results):
    panels = pictures.matrix(results).axes
    ewc = next(axes for axes in panels if axes.get_title() == "ewc, λ=1")
    line = next(line for line in results.best if line.label == "ewc, λ=1")
    scale = results.normalization
    expected = (line.matrix.mean(axis=0) - scale.random) / (scale.scratch - scale.random)
    texts = [text.get_text() for text in ewc.texts]
    assert texts == [f"{value:.2f}" for value in expected.ravel()]
    frames = [each for each in ewc.patches if isinstance(each, Rectangle)]
    centres = [(each.get_x() + 0.47, each.get_y() + 0.47) for each in frames]
    np.testing.assert_allclose(centres, [(0, 1), (1, 2), (0, 3), (1, 4)])
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    assert rows == ["before", "moon", "rainfall", "moon", "rainfall"]


def test_all_panels_of_the_matrix_share_one_scale(results):
    images = [image for axes in pictures.matrix(results).axes for image in axes.get_images()]
    assert len(images) == 4
    assert {image.get_clim() for image in images} == {(-1.0, 1.0)}


def test_tasks_that_nobody_learned_have_no_number():
    record = make_record(make_config(methods=SMALL, tasks=TWO, seeds=2, iterations=10),
                         random=np.array([0.0, 1e6]))  # fmt: skip
    results = Results.of([record])
    axes = pictures.matrix(results).axes[0]
    assert [text.get_text() for text in axes.texts][1::2] == ["–"] * 3
    _, rainfall = pictures.performance(results).axes
    assert "did not learn this task" in rainfall.texts[0].get_text()


def test_performance_is_the_mean_over_seeds_with_boundaries_and_shade(results):
    figure = pictures.performance(results)
    moon, rainfall = figure.axes
    line = next(line for line in results.best if line.label == "fine_tuning")
    x, y = line_of(rainfall, "fine_tuning")
    assert x.tolist() == list(range(0, 81, 10))
    expected = results.normalization(line.curve_returns).mean(axis=0)[:, 1]
    np.testing.assert_allclose(y, expected)
    for axes, stages in ((moon, (0, 2)), (rainfall, (1, 3))):
        shades = [each for each in axes.patches if isinstance(each, Rectangle)]
        spans = sorted((each.get_x(), each.get_x() + each.get_width()) for each in shades)
        assert spans == [(20 * stage, 20 * stage + 20) for stage in stages]
        verticals = [np.unique(each.get_xdata()) for each in axes.get_lines()]
        assert [v.tolist() for v in verticals if len(v) == 1] == [[20], [40], [60]]
    assert [text.get_text() for text in moon.texts] == ["moon", "rainfall"] * 2


def test_far_below_random_actions_is_out_of_the_picture():
    record = make_record(make_config(methods=SMALL, tasks=TWO, seeds=2, iterations=10))
    curve = record.curve_returns.copy()
    curve[0, 1] -= 1e4
    low = make_record(make_config(methods=SMALL, tasks=TWO, seeds=2, iterations=10))
    object.__setattr__(low, "curve_returns", curve)
    assert pictures.performance(Results.of([low])).axes[0].get_ylim()[0] == -1.0
    assert pictures.performance(Results.of([record])).axes[0].get_ylim()[0] > -1.0


def test_strengths_are_the_metrics_over_lambda_beside_fine_tuning(results):
    panels = drawn(pictures.strengths(results)).axes
    assert [axes.get_title() for axes in panels] == [
        "average performance",
        "forgetting",
        "forward transfer",
    ]
    swept = [line for line in results.lines if line.summary.strength]
    for axes, name in zip(panels, pictures._METRICS, strict=True):
        x, y = line_of(axes, "ewc")
        assert axes.get_xscale() == "log"
        assert x.tolist() == [0.1, 1.0, 10.0]  # lambda = 0 has no place on this axis
        assert y.tolist() == [line.summary.metrics[name].value for line in swept]
        _, level = line_of(axes, "fine_tuning, λ=0")
        assert set(level) == {results.lines[0].summary.metrics[name].value}


def test_trade_off_joins_the_strengths_and_names_the_best(results):
    axes = drawn(pictures.trade_off(results)).axes[0]
    names = {text.get_text() for text in axes.texts}
    assert names == {"fine_tuning", "from_scratch", "ewc, λ=1"}  # multi_task has no transfer
    ewc = [line.summary.metrics for line in results.lines if line.summary.method == "ewc"]
    points = [(each["forgetting"].value, each["forward_transfer"].value) for each in ewc]
    joined = [each for each in axes.get_lines() if len(np.asarray(each.get_xdata())) == 4]
    assert [np.asarray(each.get_xydata()).tolist() for each in joined] == [
        [list(point) for point in points]
    ]


@pytest.mark.parametrize("repetitions", [1, 2])
def test_names_in_the_trade_off_do_not_cover_one_another(repetitions):
    results = Results.of([make_record(make_config(seeds=2, repetitions=repetitions))])
    axes = drawn(pictures.trade_off(results)).axes[0]
    boxes = [pictures._box(t, _place(t)) for t in axes.texts if isinstance(t, Annotation)]
    assert len(boxes) == 9
    for one, other in itertools.combinations(boxes, 2):
        assert pictures._overlap(one, other) == 0.0
    assert all(axes.bbox.x0 < box.x0 and box.x1 < axes.bbox.x1 + 1.0 for box in boxes)


def _place(text):
    return {"position": text.get_position(), "ha": text.get_ha(), "va": text.get_va()}


def test_adaptation_has_a_panel_for_every_stage(results):
    panels = drawn(pictures.adaptation(results)).axes
    titles = ["before training", "after 1: moon", "after 2: rainfall", "after 3: moon",
              "after 4: rainfall"]  # fmt: skip
    assert [axes.get_title() for axes in panels] == titles
    x, y = line_of(panels[2], "from_scratch")
    line = next(line for line in results.best if line.label == "from_scratch")
    assert x.tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_allclose(y, line.adaptation[:, 2].mean(axis=0))


def test_plasticity_after_every_stage(results):
    panels = pictures.plasticity(results).axes
    for axes, name in zip(panels, ("dormant_units", "stable_rank", "weight_norm"), strict=True):
        x, y = line_of(axes, "fine_tuning")
        assert x.tolist() == [0, 1, 2, 3, 4]
        np.testing.assert_allclose(y, results.best[0].plasticity(name).mean(axis=0))


def test_methods_keep_their_colour_and_identities_have_their_own_line():
    small: dict[str, Any] = {"methods": SMALL, "tasks": TWO, "seeds": 2, "iterations": 10}
    records = [make_record(make_config(identity=name, **small)) for name in ("hidden", "heads")]
    looks = styles(Results.of(records))
    assert len(looks) == 8
    colours = {kind: to_hex(look["color"]) for kind, look in looks.items()}
    assert colours["ewc (hidden)"] == colours["ewc (heads)"]
    assert len(set(colours.values())) == 4
    assert looks["ewc (hidden)"]["linestyle"] != looks["ewc (heads)"]["linestyle"]
    alone = styles(Results.of(records[:1]))
    assert to_hex(alone["ewc"]["color"]) == colours["ewc (heads)"]


def test_pictures_that_apply_are_saved_as_png(tmp_path):
    config = make_config(methods={"fine_tuning": ()}, tasks=TWO, seeds=1, iterations=10,
                         held_out=None)  # fmt: skip
    paths = save_pictures([make_record(config)], tmp_path)
    assert [path.name for path in paths] == ["matrix.png", "performance.png", "plasticity.png"]
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


def test_a_run_on_its_way_shows_how_far_it_is():
    results = results_of(iteration=30)
    assert pictures.strengths(results) is None
    assert pictures.trade_off(results) is None
    cells = [text.get_text() for text in pictures.matrix(results).axes[0].texts]
    assert cells[4:] == ["–"] * 6  # nothing from the end of stage 2 on
    x, _ = line_of(pictures.performance(results).axes[0], "fine_tuning")
    assert x.max() == 30


def test_interval_over_seeds_by_hand():
    mean, low, high = interval_over_seeds(np.array([[0.0, 1.0, np.nan], [2.0, 1.0, 3.0]]))
    assert mean[:2].tolist() == [1.0, 1.0]
    # Of two seeds a resample is one twice or both: 0, 1 or 2 with probability 1/4, 1/2, 1/4.
    assert (low[0], high[0]) == (0.0, 2.0)
    assert (low[1], high[1]) == (1.0, 1.0)
    assert np.isnan([mean[2], low[2], high[2]]).all()


def test_runs_evaluated_at_other_moments_are_drawn_where_both_were():
    small: dict[str, Any] = {"methods": SMALL, "tasks": TWO, "seeds": 2, "iterations": 20}
    first, second = (make_record(make_config(**small)) for _ in range(2))
    keep = [0, 2, 4]
    object.__setattr__(second, "curve_iterations", second.curve_iterations[keep])
    object.__setattr__(second, "curve_returns", second.curve_returns[:, keep])
    object.__setattr__(second, "seed", 2)
    line = Results.of([first, second]).lines[0]
    assert line.curve_iterations.tolist() == [0, 20, 40]
    assert line.curve_returns.shape == (4, 3, 2)
    np.testing.assert_array_equal(line.curve_returns[0], line.curve_returns[2])

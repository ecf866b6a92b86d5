"""Results of few-shot runs: intervals and calibration by hand, files, published figures."""

import csv
import json
import math

import numpy as np
import pytest

from metarl.errors import UserError
from metarl.fewshot.calibration import of_classes, of_intervals
from metarl.fewshot.evaluate import EpisodeScores
from metarl.fewshot.published import CONFIDENCE, PUBLISHED, find_published
from metarl.fewshot.results import (
    FewShotResult,
    captions,
    half_width,
    table,
    with_half_width,
)

DETAILS = {"data": "omniglot", "method": "maml", "size": "5-way 1-shot"}


def a_result(episodes: int = 8, **details) -> FewShotResult:
    scores = np.linspace(0.0, 1.0, 2 * episodes).reshape(episodes, 2)
    confidence = np.stack([np.full((episodes, 3), 0.75), np.ones((episodes, 3))], axis=-1)
    found = EpisodeScores("classification", scores, -scores - 1, confidence)
    return FewShotResult.of(found, DETAILS | details)


def regression(std: float = 1.0) -> FewShotResult:
    generator = np.random.default_rng(0)
    error = generator.standard_normal((400, 50))
    confidence = np.stack([error / std, np.full_like(error, std)], axis=-1)
    scores = (error**2).mean(axis=1, keepdims=True)
    likelihood = -0.5 * scores / std**2 - math.log(std * math.sqrt(2 * math.pi))
    return FewShotResult.of(EpisodeScores("regression", scores, likelihood, confidence))


# Intervals ------------------------------------------------------------------------------------


def test_the_normal_interval_by_hand():
    """0, 1, 2, 3: variance 5/3 of the sample, standard error sqrt(5/12)."""
    found = half_width(np.array([[0.0], [1.0], [2.0], [3.0]]))
    assert found[0] == pytest.approx(1.959964 * math.sqrt(5 / 12), rel=1e-6)


def test_both_intervals_agree_where_there_are_many_episodes():
    values = np.random.default_rng(1).normal(2.0, 3.0, (1000, 2))
    found = FewShotResult("regression", values, np.full_like(values, np.nan), None)
    low, high = found.bootstrap
    np.testing.assert_allclose(found.mean - low, found.half_width, rtol=0.1)
    np.testing.assert_allclose(high - found.mean, found.half_width, rtol=0.1)


def test_how_numbers_are_printed():
    assert with_half_width("classification", 0.98714, 0.0025) == "98.71 ± 0.25 %"
    assert with_half_width("regression", 0.3517, 0.0411) == "0.352 ± 0.041"


# Calibration ----------------------------------------------------------------------------------


def test_the_calibration_error_by_hand():
    """Two bins: (0, .5] holds .4 wrong and .5 right, (.5, 1] holds .8 right and 1.0 right."""
    found = of_classes(np.array([0.4, 0.5, 0.8, 1.0]), np.array([0.0, 1.0, 1.0, 1.0]), bins=2)
    np.testing.assert_allclose(found.expected, [0.45, 0.9])
    np.testing.assert_allclose(found.observed, [0.5, 1.0])
    np.testing.assert_allclose(found.weights, [0.5, 0.5])
    assert found.error == pytest.approx(0.5 * 0.05 + 0.5 * 0.1)


def test_empty_bins_count_for_nothing_and_rounding_over_one_for_one():
    found = of_classes(np.array([1.0000001, 0.97]), np.array([1.0, 0.0]))
    assert np.isnan(found.observed[:-1]).all()
    assert found.observed[-1] == 0.5
    assert found.error == pytest.approx(abs(0.5 - 1.97 / 2), rel=1e-6)


def test_coverage_by_hand():
    """Half of a standard normal lies within 0.6745, 95 % within 1.96."""
    found = of_intervals(np.array([-3.0, -1.0, 0.1, 0.6]), levels=np.array([0.5, 0.95]))
    assert found.observed.tolist() == [0.5, 0.75]
    assert found.error == pytest.approx(0.1)
    assert found.coverage(0.95) == 0.75


def test_the_right_std_is_calibrated_and_half_of_it_is_not():
    right, narrow = regression(), regression(0.5)
    assert right.calibration is not None
    assert narrow.calibration is not None
    assert right.calibration.error < 0.01
    assert narrow.calibration.coverage(0.95) == pytest.approx(0.673, abs=0.01)
    assert narrow.calibration.error > 0.15


def test_without_std_there_is_neither_calibration_nor_likelihood():
    nothing = np.full((4, 3, 2), np.nan)
    scores, likelihood = np.ones((4, 2)), np.full((4, 2), np.nan)
    found = FewShotResult.of(EpisodeScores("regression", scores, likelihood, nothing))
    assert found.calibration is None
    assert not found.has_likelihood
    assert json.loads(found.to_json())["log_likelihood"] is None
    assert FewShotResult.from_json(found.to_json()).calibration is None


# Files ----------------------------------------------------------------------------------------


def test_a_result_comes_back_as_it_was_saved(tmp_path):
    found = a_result(normalization="support", splits={"test": "abc"})
    path = found.save(tmp_path, "fewshot-test")
    loaded = FewShotResult.load(path)
    np.testing.assert_array_equal(loaded.scores, found.scores)
    np.testing.assert_array_equal(loaded.log_likelihood, found.log_likelihood)
    assert loaded.details == found.details
    assert loaded.to_json() == found.to_json()
    with (tmp_path / "fewshot-test.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [0, 1]
    assert float(rows[1]["mean"]) == pytest.approx(found.mean[1])
    assert float(rows[1]["nll"]) == pytest.approx(found.nll[1])
    assert float(rows[1]["low_bootstrap"]) < float(rows[1]["mean"])


@pytest.mark.parametrize("text", ["{}", "[1]", "no json"])
def test_a_damaged_file_is_refused_in_one_line(tmp_path, text):
    path = tmp_path / "fewshot-test.json"
    path.write_text(text)
    with pytest.raises(UserError, match="cannot read the few-shot result"):
        FewShotResult.load(path)


def test_remarks_on_few_episodes_and_transductive_batchnorm():
    assert "8 episodes: published tables take at least 600" in a_result().remarks[0]
    assert a_result(600).remarks == []
    (remark,) = a_result(600, normalization="transductive").remarks
    assert remark.startswith("transductive")
    assert "BatchNorm: support" in captions(a_result(normalization="support"))


def test_a_training_that_is_not_finished_is_told():
    (remark,) = a_result(600, iteration=1500, iterations=60_000).remarks
    assert remark == "the training is not finished: 1,500 of 60,000 iterations"
    assert a_result(600, iteration=60_000, iterations=60_000).remarks == []


def test_the_table_has_steps_where_the_method_has():
    assert [each.header for each in table(a_result()).columns] == ["step", "accuracy", "NLL, nats"]
    assert [each.header for each in table(regression()).columns] == [
        "mean squared error",
        "NLL, nats",
    ]


# Published figures ----------------------------------------------------------------------------


def test_no_unconfirmed_figure_is_published():
    """Those that the reference marks as not confirmed, by method and size."""
    unconfirmed = {("cnp", w, s) for w in (5, 20) for s in (1, 5)}
    unconfirmed |= {("versa", w, s) for w in (5, 20) for s in (1, 5)}
    unconfirmed |= {("relation", 20, 1), ("relation", 20, 5)}
    assert not unconfirmed & {(each.method, each.ways, each.shots) for each in PUBLISHED}
    assert {each.confidence for each in PUBLISHED} <= set(CONFIDENCE)
    assert all(each.source for each in PUBLISHED)


# What the papers' tables say, 5-way 1-, 5-way 5-, 20-way 1- and 20-way 5-shot, typed anew.
OMNIGLOT = """
siamese          97.3 98.4 88.2 97.0
matching         98.1 98.9 93.8 98.5
prototypical     98.8 99.7 96.0 98.9
maml             98.7+-.4 99.9+-.1 95.8+-.3 98.9+-.2
maml_first_order 98.3+-.5 99.2+-.2 89.4+-.5 97.9+-.1
maml_mlp         89.7+-1.1 97.5+-.6
reptile          97.68 99.48 89.43 97.12
reptile_support  95.39 98.90 88.14 96.65
relation         99.6+-.2 99.8+-.1
fine_tuning      86.0 97.6 72.9 92.3
raw_inputs       41.7 63.2 26.7 42.6
"""
VARIANTS = {
    "matching": ({"distance": "cosine", "full_context": False}, "running", "conv4"),
    "prototypical": ({"distance": "euclidean"}, "running", "conv4"),
    "maml": ({"first_order": False}, "transductive", "conv4"),
    "maml_first_order": ({"first_order": True}, "transductive", "conv4"),
    "maml_mlp": ({"first_order": False}, "transductive", "mlp"),
    "reptile": ({}, "transductive", "conv4"),
    "reptile_support": ({}, "support", "conv4"),
    "raw_inputs": ({"distance": "cosine", "rule": "neighbor"}, None, "conv4"),
}


@pytest.mark.parametrize("line", OMNIGLOT.split("\n")[1:-1])
def test_the_figures_are_those_of_the_papers(line):
    variant, *figures = line.split()
    settings, normalization, model = VARIANTS.get(variant, ({}, "running", "conv4"))
    method = "maml" if variant.startswith("maml") else variant.removesuffix("_support")
    for (ways, shots), text in zip(((5, 1), (5, 5), (20, 1), (20, 5)), figures, strict=False):
        found = find_published("omniglot", ways, shots, method, settings, normalization, model)
        paper, *others = found
        value, _, width = text.partition("+-")
        assert paper.values == {None: pytest.approx(float(value) / 100)}
        assert paper.half_width == (pytest.approx(float(width) / 100) if width else None)
        assert {each.confidence for each in others} <= {"rerun"}
    if len(figures) == 2:
        assert not find_published("omniglot", 20, 1, method, settings, normalization, model)


def test_a_figure_belongs_to_the_settings_and_the_batchnorm_mode_it_is_of():
    def percent(method, normalization=None, ways=5, shots=1, data="omniglot", **settings):
        model = settings.pop("model", "conv4")
        found = find_published(data, ways, shots, method, settings, normalization, model)
        return [list(each.values.values())[-1] for each in found]

    assert percent("maml", "transductive", first_order=False) == [0.987]
    assert percent("maml", "transductive", first_order=True) == [0.983]
    assert percent("reptile", "transductive") == [0.9768]
    assert percent("reptile", "support") == [0.9539]
    assert percent("prototypical", "support", ways=20, shots=5, distance="euclidean") == [0.989]
    assert percent("prototypical", "support", distance="cosine") == []
    assert percent("matching", "support", distance="cosine", full_context=False) == [0.981]
    assert percent("matching", "support", distance="cosine", full_context=True) == []
    assert percent("reptile", "running") == [0.9539]  # which is not transductive either
    sinusoids = {"data": "sinusoids", "ways": 1, "shots": 5, "model": "mlp"}
    assert percent("maml", **sinusoids, first_order=False) == [0.35, 0.27]
    assert percent("maml", **sinusoids, first_order=True) == []
    by_penalty = {"none": 3.69, "l2": 5.60, "l2_to_mean": 2.71}
    for penalty, error in by_penalty.items():
        assert percent("parameter_averaging", **sinusoids, regularization=penalty) == [error]
    assert percent("regression_pretraining", **sinusoids) == [2.19]
    assert percent("prototypical", "support", ways=7, distance="euclidean") == []
    assert percent("prototypical", "running", model="mlp", distance="euclidean") == []

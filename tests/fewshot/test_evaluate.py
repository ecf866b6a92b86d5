"""Test episodes: the same for every method, told apart by a hash; predictions that are none."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.fewshot.evaluate import EpisodeScores, episodes_hash, evaluate, refuse_not_finite
from metarl.fewshot.experiment import FewShotExperiment

GLYPHS: dict[str, Any] = {
    "data": {
        "name": "glyphs",
        "options": {
            "training_classes": 8,
            "validation_classes": 6,
            "test_classes": 5,
            "examples": 4,
        },
    },
    "episodes": {"ways": 3, "shots": 1, "queries": 2, "per_batch": 2},
    "model": {"name": "mlp", "hidden_sizes": [4]},
    "algorithm": {"name": "prototypical"},
    "evaluation": {"episodes": 7},
    "run": {"device": "cpu", "threads": 1},
}
CURVES: dict[str, Any] = GLYPHS | {
    "data": {"name": "sinusoids"},
    "algorithm": {"name": "constant"},
}


def hash_of(mapping: dict[str, Any], split: str = "test", **overrides: Any) -> str:
    """Of the test episodes of an experiment; a double underscore is a dot."""
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    config = from_mapping(mapping, "test", dotted)
    experiment = FewShotExperiment.from_config(config)
    return episodes_hash(experiment, split, config.evaluation.episodes)


def test_hashes_are_pinned() -> None:
    """Test episodes are the same on every machine, and from release to release."""
    assert hash_of(GLYPHS) == "76bede0772f30c31"
    assert hash_of(CURVES) == "b287cd175bf71b80"
    curves = GLYPHS | {"data": {"name": "gaussian_process"}, "algorithm": {"name": "constant"}}
    assert hash_of(curves) == "47bcbee31ed77b4f"


@pytest.mark.parametrize(
    "same",
    [
        {"algorithm__name": "raw_inputs"},
        {"run__seed": 5},
        {"episodes__per_batch": 5},
        {"episodes__training_ways": 4, "episodes__training_shots": 2},
        {"model__normalization": "support"},
        {"data__train_on_validation": True},
        {"data__options__training_classes": 9},
    ],
)
def test_whatever_is_tested_is_tested_on_the_same_episodes(same: dict[str, Any]) -> None:
    assert hash_of(GLYPHS, **same) == hash_of(GLYPHS)


@pytest.mark.parametrize(
    "other",
    [
        {"split": "validation"},
        {"evaluation__seed": 1},
        {"evaluation__episodes": 8},
        {"episodes__shots": 2, "episodes__queries": 1},  # as many examples of each class
        {"episodes__ways": 2},
        {"data__options__seed": 1},
        {"data__options__rotations": "episode"},
    ],
)
def test_other_episodes_have_another_hash(other: dict[str, Any]) -> None:
    assert hash_of(GLYPHS, **other) != hash_of(GLYPHS)


@pytest.mark.parametrize(
    "other", [{"data__options__noise": 0.1}, {"evaluation__seed": 1}, {"episodes__shots": 2}]
)
def test_other_curves_have_another_hash(other: dict[str, Any]) -> None:
    assert hash_of(CURVES, **other) != hash_of(CURVES)


def test_a_pixel_of_a_test_class_counts() -> None:
    experiment = FewShotExperiment.from_config(from_mapping(GLYPHS, "test"))
    before = episodes_hash(experiment, "test", 7)
    experiment.data.splits["test"].inputs[3, 0, 5, 5] ^= 1  # type: ignore[union-attr]
    assert episodes_hash(experiment, "test", 7) != before


def test_how_words_are_numbered_does_not_count(tmp_path: Path) -> None:
    """TF-IDF knows the words of all texts, a network those of training texts: the same episodes."""
    rows = [
        [f"word{label} {number} again", f"label {label}"] for label in range(8) for number in "abc"
    ]
    with (tmp_path / "own.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    texts = GLYPHS | {
        "data": {"name": "csv", "options": {"path": str(tmp_path / "own.csv")}},
        "episodes": {"ways": 2, "shots": 1, "queries": 2},
        "model": {"name": "ngrams", "embedding": 3, "hidden_sizes": [3]},
    }
    first = hash_of(texts)
    assert hash_of(texts, data__options__vocabulary="all", data__options__min_count=1) == first
    assert hash_of(texts, data__options__max_length=1) == first
    assert hash_of(texts, data__options__split_seed=1) != first
    path = tmp_path / "own.csv"
    path.write_text(path.read_text().replace("again", "anew"))
    assert hash_of(texts) != first


def test_scores_are_of_the_episodes_whatever_the_batch() -> None:
    mapping = GLYPHS | {"algorithm": {"name": "raw_inputs"}}
    found = [
        evaluate(
            FewShotExperiment.from_config(from_mapping(mapping, "test", {"episodes.per_batch": b})),
            "test",
            7,
        )
        for b in (2, 7)
    ]
    assert found[0].scores.shape == (7, 1)
    assert np.array_equal(found[0].scores, found[1].scores)


def test_predictions_that_are_not_finite_are_refused() -> None:
    scores, nothing = np.ones((4, 3)), np.full((4, 3), np.nan)
    refuse_not_finite(EpisodeScores("regression", scores, nothing, nothing))
    refuse_not_finite(EpisodeScores("classification", scores, -scores, nothing))
    with pytest.raises(UserError, match=r"in 4 of 4 episodes are not finite, first after 0 adap"):
        refuse_not_finite(EpisodeScores("classification", scores, nothing, nothing))
    unsure = nothing.copy()
    unsure[:3] = -1.0
    with pytest.raises(UserError, match=r"in 1 of 4 episodes are not finite, first after 0 adap"):
        refuse_not_finite(EpisodeScores("regression", scores, unsure, nothing))
    endless = -scores
    endless[0, 2] = -np.inf
    with pytest.raises(UserError, match=r"in 1 of 4 episodes are not finite, first after 2 adap"):
        refuse_not_finite(EpisodeScores("classification", scores, endless, nothing))
    scores[2, 1:] = np.inf
    with pytest.raises(UserError, match=r"in 1 of 4 episodes are not finite, first after 1 adap"):
        refuse_not_finite(EpisodeScores("regression", scores, nothing, nothing))


def test_a_diverged_network_of_curves_is_refused_in_words() -> None:
    mapping = CURVES | {
        "algorithm": {"name": "platipus", "inner_learning_rate": 1e30, "inner_steps": 1},
        "evaluation": {"episodes": 3, "steps": 3},
    }
    found = evaluate(FewShotExperiment.from_config(from_mapping(mapping, "test")), "test", 3)
    with pytest.raises(UserError, match=r"in 3 of 3 episodes are not finite, first after 1 adap"):
        refuse_not_finite(found)


def test_training_that_diverges_on_curves_is_stopped_in_words() -> None:
    mapping = CURVES | {"algorithm": {"name": "platipus", "inner_learning_rate": 1e30}}
    experiment = FewShotExperiment.from_config(from_mapping(mapping, "test"))
    with pytest.raises(FloatingPointError, match=r"loss is not finite; lower"):
        experiment.iterate(1)

"""What an experiment refuses before it trains, and when it stops; a person's own data, moved."""

import csv
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from metarl.cli import main
from metarl.config import from_mapping, load_config
from metarl.errors import UserError
from metarl.fewshot.experiment import FewShotExperiment
from tests.fewshot.test_evaluate import GLYPHS

FIXED_WAYS = ("maml", "anil", "meta_sgd", "reptile", "platipus", "cnp", "pretrained_maml")


def experiment(**overrides: Any) -> FewShotExperiment:
    """Small; a double underscore is a dot."""
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return FewShotExperiment.from_config(from_mapping(GLYPHS, "test", dotted))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            {"episodes__training_ways": 9},
            "8 training classes are too few for 9-way episodes; lower episodes.training_ways",
        ),
        (
            {"episodes__ways": 9},
            "8 training classes are too few for 9-way episodes; lower episodes.ways",
        ),
        (
            {"episodes__training_queries": 4},
            "too few for 1 shots and 4 queries; lower episodes.training_queries or",
        ),
        (
            {"episodes__ways": 6, "episodes__training_ways": 3},
            "5 test classes are too few for 6-way episodes; lower episodes.ways",
        ),
        (
            {"episodes__queries": 4, "episodes__training_queries": 1},
            "has 4 examples, too few for 1 shots and 4 queries; lower episodes.queries",
        ),
        *(
            (
                {"episodes__training_ways": 4, "algorithm": {"name": name}},
                f"{name} learns parameters for 3 classes and cannot train on 4; set ",
            )
            for name in (
                "maml",
                "anil",
                "meta_sgd",
                "reptile",
                "platipus",
                "cnp",
                "pretrained_maml",
            )
        ),
        (
            {"data__options__validation_classes": 2, "run__evaluate_every": 1},
            "2 validation classes are too few for 3-way episodes",
        ),
    ],
)
def test_classes_that_are_too_few_are_refused_before_training(
    overrides: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        experiment(**overrides)


def test_validation_classes_may_be_few_where_nothing_is_validated() -> None:
    assert math.isfinite(experiment(data__options__validation_classes=2).iterate(1)["loss/total"])


def test_classes_that_are_trained_on_are_no_validation() -> None:
    metrics = experiment(run__evaluate_every=1).iterate(1)
    assert 0.0 <= metrics["validation/last"] <= 1.0
    merged = experiment(run__evaluate_every=1, data__train_on_validation=True)
    assert merged.problem.training_classes == 14
    metrics = merged.iterate(1)
    assert math.isnan(metrics["validation/first"])
    assert math.isnan(metrics["validation/last"])


def test_training_stops_where_it_has_diverged() -> None:
    found = experiment()
    for value in found.learner.parameters.values():
        value.data.fill_(torch.nan)
    with pytest.raises(FloatingPointError, match="the loss is not finite"):
        found.iterate(1)


# From the command line -------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[object, str]:
    """Exit code, and what the command prints on standard error."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return end.value.code, capsys.readouterr().err


def test_own_texts_by_one_line_and_where_they_are_on_this_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        [f"word{label} {number}", f"label {label}"] for label in range(8) for number in range(3)
    ]
    (tmp_path / "here").mkdir()
    with (tmp_path / "here" / "own.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["text", "label"], *rows])
    config = {
        "data": {"name": "csv", "options": {"path": "own.csv"}},
        "episodes": {"ways": 2, "queries": 2, "per_batch": 2},
        "model": {"name": "ngrams", "embedding": 3, "hidden_sizes": [3]},
        "algorithm": {"name": "prototypical"},
        "evaluation": {"episodes": 4},
        "run": {"iterations": 2, "device": "cpu", "threads": 1},
    }
    (tmp_path / "c.yaml").write_text(json.dumps(config))
    words = ("train", tmp_path / "c.yaml", "--output", tmp_path / "run")
    code, error = run(capsys, *words, "--data-root", tmp_path / "there")
    assert (code, error.count("\n")) == (2, 1)
    assert f"no file {tmp_path / 'there' / 'own.csv'}" in error
    code, error = run(capsys, *words, "--data-root", tmp_path / "here")
    assert code == 0, error
    assert load_config(tmp_path / "run" / "config.yaml").data.root == str(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    there = ("--data-root", tmp_path / "there")
    code, error = run(capsys, "evaluate", tmp_path / "run", *there)
    assert code == 0, error
    resume = ("train", "--resume", tmp_path / "run")
    code, error = run(capsys, *resume, "--run.iterations", 3, *there)
    assert code == 0, error
    code, error = run(capsys, *resume, *there, "--data.root", tmp_path)
    assert code == 2
    assert "--data-root and --data.root are one; keep one" in error


@pytest.mark.parametrize(
    ("data", "scores", "best"),
    [
        ("glyphs", [0.5, 0.7, 0.7, 0.6], 2),
        ("glyphs", [math.nan, 0.2, 0.3, 0.1], 3),
        ("sinusoids", [3.0, math.inf, 1.0, 2.0], 3),
    ],
)
def test_the_parameters_that_validated_best_are_kept(
    data: str, scores: list[float], best: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {"run__evaluate_every": 1, "evaluation__checkpoint": "best"}
    if data == "sinusoids":
        curves = {"data__name": data, "data__options": {}, "model__name": "mlp"}
        settings |= {**curves, "algorithm": {"name": "maml", "inner_learning_rate": 0.01}}
    trained = experiment(**settings)
    with pytest.raises(UserError, match="no validation score was remembered"):
        trained.use_best()
    seen = []
    for iteration, score in enumerate(scores, start=1):

        def scripted(*_: Any, score: float = score) -> Any:
            return SimpleNamespace(scores=np.array([[0.0, score]]))

        monkeypatch.setattr("metarl.fewshot.experiment.evaluate", scripted)
        trained.iterate(iteration)
        seen.append({name: value.clone() for name, value in trained.learner.parameters.items()})

    resumed = experiment(**settings)
    resumed.load_state_dict(trained.state_dict())
    assert resumed.use_best() == best
    torch.testing.assert_close(resumed.learner.parameters, seen[best - 1], rtol=0, atol=0)
    assert not torch.equal(next(iter(seen[best - 1].values())), next(iter(seen[-1].values()))), (
        "training went on"
    )


@pytest.mark.parametrize(
    ("algorithm", "missing", "whole"),
    [
        (
            {"name": "distillation", "generation_iterations": 2, "generations": 2},
            ["no student was trained"] * 2 + ["the last student was not trained"] * 2,
            5,
        ),
        (
            {"name": "pretrained_prototypical", "pretraining_iterations": 2},
            ["meta-training did not begin"] * 2,
            3,
        ),
        (
            {"name": "platipus", "maml_iterations": 1},
            ["the spread of initial parameters was not trained"],
            2,
        ),
        ({"name": "prototypical"}, [], 1),
    ],
)
def test_the_best_parameters_are_of_a_methods_last_stage(
    algorithm: dict[str, Any], missing: list[str], whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Although validation scores only fall."""
    trained = experiment(run__evaluate_every=1, evaluation__checkpoint="best", algorithm=algorithm)
    for iteration in range(1, whole + 2):

        def scripted(*_: Any, score: float = 1.0 / iteration) -> Any:
            return SimpleNamespace(scores=np.array([[score]]))

        monkeypatch.setattr("metarl.fewshot.experiment.evaluate", scripted)
        trained.iterate(iteration)
        wanted = missing[iteration - 1] if iteration < whole else ""
        assert trained.learner.missing_stage == wanted
        assert (trained.best is None) == (iteration < whole)
    assert trained.use_best() == whole
    assert trained.learner.missing_stage == ""


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({}, "checkpoint best is chosen by validation; set run.evaluate_every above 0"),
        (
            {"run__evaluate_every": 7, "run__iterations": 6},
            "run.evaluate_every = 7 iterations, which run.iterations = 6 does not reach; lower",
        ),
        (
            {"run__evaluate_every": 1, "data__train_on_validation": True},
            "checkpoint best is chosen on the validation classes, which data.train_on_validation",
        ),
    ],
)
def test_the_best_without_validation_is_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        experiment(evaluation__checkpoint="best", **overrides)


def test_without_being_asked_nothing_is_kept() -> None:
    trained = experiment(run__evaluate_every=1)
    trained.iterate(1)
    assert set(trained.state_dict()) == {"learner"}

"""Few-shot runs from the command line: train, resume, evaluate, compare, and what is refused."""

import csv
import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metarl.cli import main
from metarl.config import from_mapping, to_yaml
from metarl.errors import UserError
from metarl.fewshot.calibration import of_classes
from metarl.fewshot.compare import cells, headings, is_part, markdown, rows
from metarl.fewshot.comparison import compare_few_shot, load_few_shot_runs
from metarl.fewshot.experiment import FewShotExperiment
from metarl.fewshot.results import FewShotResult
from metarl.fewshot.run import describe, evaluate_few_shot, shown_curves
from tests.evaluation.comparison_runs import make_run as make_meta_run

SMALL: dict[str, Any] = {
    "data": {"name": "sinusoids"},
    "episodes": {"shots": 5, "queries": 6, "per_batch": 4},
    "model": {"name": "mlp", "hidden_sizes": [8, 8]},
    "evaluation": {"episodes": 10, "steps": 2},
    "run": {"iterations": 4, "threads": 1, "checkpoint_every": 2, "device": "cpu"},
}


@pytest.fixture(autouse=True)
def one_thread():
    """What an experiment sets, undone for the tests after this one."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def config_of(method: str, **algorithm: Any) -> dict[str, Any]:
    return SMALL | {"algorithm": {"name": method, **algorithm}}


def run(capsys, *words: Any) -> str:
    """What the command prints; its exit code must be 0."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert end.value.code == 0, captured.err
    return captured.out


def refused(capsys, *words: Any) -> str:
    """The one line with which the command refuses."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.err.count("\n") == 1
    return captured.err


def write_config(path: Path, mapping: dict[str, Any]) -> Path:
    path.write_text(json.dumps(mapping))  # JSON is YAML
    return path


# Training and evaluation ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["cnp", "platipus", "parameter_averaging", "random_features"])
def test_resume_is_bit_exact(method):
    settings = {"steps_per_task": 3} if method == "parameter_averaging" else {}
    config = from_mapping(config_of(method, **settings), "test")
    straight = FewShotExperiment.from_config(config)
    wanted = [straight.iterate(iteration) for iteration in (1, 2, 3)][-1]
    first, second = (FewShotExperiment.from_config(config) for _ in range(2))
    for iteration in (1, 2):
        first.iterate(iteration)
    second.load_state_dict(first.state_dict())
    found = second.iterate(3)
    assert {n: v for n, v in found.items() if not n.startswith("time")} == {
        n: v for n, v in wanted.items() if not n.startswith("time")
    }
    state, other = (each.learner.state_dict()["parameters"] for each in (straight, second))
    assert all(torch.equal(state[name], other[name]) for name in state)


def test_train_evaluate_compare(tmp_path, capsys):
    for method in ("cnp", "platipus"):
        file = write_config(tmp_path / f"{method}.yaml", config_of(method))
        run(capsys, "train", file, "--output", tmp_path / method)
        printed = run(capsys, "evaluate", tmp_path / method, "--episodes", 12)
        picture = tmp_path / method / "evaluation" / "fewshot-test.png"
        assert printed.rstrip().endswith(str(picture))
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert (picture.parent / "fewshot-test-curves.png").exists()
    result = FewShotResult.load(tmp_path / "platipus" / "evaluation" / "fewshot-test.json")
    assert result.scores.shape == (12, 3)
    assert result.details["iteration"] == 4
    assert result.details["size"] == "5 points"
    assert "normalization" not in result.details
    out = tmp_path / "out"
    printed = run(capsys, "compare", tmp_path / "cnp", tmp_path / "platipus", "--output", out)
    assert printed.rstrip().endswith(str(out / "report.html"))
    assert all(is_part(path.name) for path in out.iterdir())
    names = {path.stem for path in out.glob("*.svg")}
    assert names == {f"{kind}_sinusoids_5points" for kind in ("scores", "steps", "calibration")}
    with (out / "table.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert {(row["method"], row["step"]) for row in table} == {
        ("cnp", "0"),
        *(("platipus", str(step)) for step in range(3)),
    }
    text = (out / "report.html").read_text()
    assert 'src="http' not in text
    assert "metarl train" in text


def test_the_same_episodes_at_every_evaluation(tmp_path, capsys):
    file = write_config(tmp_path / "c.yaml", config_of("constant"))
    run(capsys, "train", file, "--output", tmp_path / "run")
    first, _ = evaluate_few_shot(tmp_path / "run")
    second, _ = evaluate_few_shot(tmp_path / "run", {"evaluation.episodes": 6})
    np.testing.assert_array_equal(first.scores[:6], second.scores)
    other, _ = evaluate_few_shot(tmp_path / "run", {"evaluation.seed": 1})
    assert not np.array_equal(first.scores, other.scores)


def test_shown_curves_go_from_left_to_right_with_their_own_values():
    config = from_mapping(config_of("cnp"), "test")
    found = shown_curves(FewShotExperiment.from_config(config))
    assert found is not None
    assert found.context.shape == (6, 5, 2)
    assert (np.diff(found.x, axis=1) >= 0).all()
    # A sinusoid again: its second derivative is -y, so neighbours are near.
    assert np.abs(np.diff(found.y, axis=1)).max() < 5.0 * np.diff(found.x, axis=1).max() + 1e-6


def test_what_is_no_few_shot_run_is_refused(tmp_path, capsys):
    other = make_meta_run(tmp_path / "meta")
    with pytest.raises(UserError, match="is no few-shot run"):
        evaluate_few_shot(other)


# Comparison -----------------------------------------------------------------------------------


def make_run(
    path: Path, method: str, level: float, steps: int = 0, seed: int = 1, **changed: Any
) -> Path:
    """An evaluated Omniglot run, as `metarl train` and `metarl evaluate` leave it, in no time."""
    details = {
        "data": "omniglot",
        "method": method,
        "size": "5-way 1-shot",
        "ways": 5,
        "shots": 1,
        "queries": 15,
        "protocol": "made by hand",
        "splits": {"test": "0123"},
        "data_split": "vinyals",
        "normalization": "transductive",
        "settings": {"first_order": False},
        "evaluation": {"seed": 0, "split": "test"},
        "iteration": 7,
        **changed,
    }
    mapping = {
        "data": {"name": "omniglot", "split": details["data_split"]},
        "algorithm": {"name": method},
        "run": {"seed": seed},
    }
    (path / "evaluation").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / "000007.pt").touch()
    (path / "config.yaml").write_text(to_yaml(from_mapping(mapping, "test")))
    (path / "versions.json").write_text("{}")
    noise = np.random.default_rng(seed).normal(0.0, 0.02, (600, steps + 1))
    scores = np.clip(level + noise, 0.0, 1.0)
    calibration = of_classes(np.full(10, level), np.ones(10))
    result = FewShotResult("classification", scores, scores - 1.0, calibration, details)
    result.save(path / "evaluation", "fewshot-test")
    return path


def compared(*paths: Path):
    return compare_few_shot(load_few_shot_runs(paths, "test"))


def test_the_best_method_stands_first_beside_what_was_published(tmp_path):
    (found,) = compared(
        make_run(tmp_path / "a", "cnp", 0.90),
        make_run(tmp_path / "b", "maml", 0.97, steps=3),
    )
    assert [method.label for method in found.methods] == ["maml", "cnp"]
    best = dict(zip(headings(found), cells(found, found.methods[0]), strict=True))
    assert best["published"] == "98.70 ± 0.40 % (transductive)"
    assert best["source"].startswith("Finn et al. 2017")
    assert best["accuracy [95 %]"].startswith("96.")
    other = dict(zip(headings(found), cells(found, found.methods[1]), strict=True))
    assert other["published"] == other["source"] == "–"
    by_step = [row["published"] for row in rows(found) if row["method"] == "maml"]
    assert by_step == [None, None, None, "0.987"]
    assert "made by hand" in markdown(found)


def test_seeds_of_a_method_are_one_row_whose_interval_is_over_seeds(tmp_path):
    paths = [
        make_run(tmp_path / str(seed), "cnp", level, seed=seed)
        for seed, level in ((1, 0.80), (2, 0.90))
    ]
    (found,) = compared(*paths)
    (method,) = found.methods
    assert len(method.runs) == 2
    assert method.last.value == pytest.approx(0.85, abs=0.005)
    assert method.last.low < 0.81
    assert method.last.high > 0.89


def test_runs_that_differ_in_more_than_their_seed_have_labels_of_their_own(tmp_path):
    first, second = make_run(tmp_path / "a", "cnp", 0.8), make_run(tmp_path / "b", "cnp", 0.9)
    text = (second / "config.yaml").read_text()
    (second / "config.yaml").write_text(text.replace("std_floor: 0.1", "std_floor: 0.2"))
    (found,) = compared(first, second)
    assert [each.label for each in found.methods] == ["cnp (std_floor=0.2)", "cnp (std_floor=0.1)"]


def test_other_splits_and_modes_are_marked(tmp_path):
    (found,) = compared(
        make_run(tmp_path / "a", "cnp", 0.8),
        make_run(tmp_path / "b", "versa", 0.9, splits={"test": "ffff"}, normalization="support"),
    )
    assert len(found.warnings) == 1
    assert found.warnings[0].startswith("these runs differ in test classes: ffff in")
    assert any("BatchNorm modes differ" in remark for remark in found.remarks)
    assert any("one seed" in remark for remark in found.remarks)


def test_sizes_are_sections_of_their_own(tmp_path):
    found = compared(
        make_run(tmp_path / "a", "cnp", 0.8),
        make_run(tmp_path / "b", "cnp", 0.9, shots=5, size="5-way 5-shot"),
    )
    assert [each.slug for each in found] == ["omniglot_5way_1shot", "omniglot_5way_5shot"]


def test_runs_of_other_kinds_are_refused(tmp_path, capsys):
    few, meta = make_run(tmp_path / "few", "cnp", 0.8), make_meta_run(tmp_path / "meta")
    line = refused(capsys, "compare", few, meta, "--output", tmp_path / "out")
    assert "is a few-shot run and" in line
    assert "is a meta-RL run; compare them apart" in line


def test_a_run_without_evaluation_is_refused(tmp_path, capsys):
    path = make_run(tmp_path / "a", "cnp", 0.8)
    (path / "checkpoints" / "000009.pt").touch()
    line = refused(capsys, "compare", path, "--output", tmp_path / "out")
    assert f"run `metarl evaluate {path} --split test`, or add --evaluate" in line


def test_details_that_are_needed_are_asked_for(tmp_path):
    path = make_run(tmp_path / "a", "cnp", 0.8)
    file = path / "evaluation" / "fewshot-test.json"
    record = json.loads(file.read_text())
    del record["details"]["ways"]
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match="lacks ways"):
        compared(path)


def test_every_setting_of_the_evaluation_is_in_the_result():
    config = from_mapping(config_of("cnp"), "test")
    described = describe(FewShotExperiment.from_config(config))
    assert described["evaluation"] == dataclasses.asdict(config.evaluation)
    assert described["settings"]["std_floor"] == 0.1

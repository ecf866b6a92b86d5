"""A suite of few-shot presets: trained, evaluated and compared by one command."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from metarl.benchmark.suite import plan
from metarl.cli import main
from metarl.errors import UserError

GLYPHS = {
    "training_classes": 8,
    "validation_classes": 4,
    "test_classes": 4,
    "examples": 4,
    "image_size": 8,
}
PRESET: dict[str, Any] = {
    "data": {"name": "glyphs", "options": GLYPHS},
    "episodes": {"ways": 3, "shots": 1, "queries": 2, "per_batch": 2},
    "model": {"channels": 4, "halvings": 3},
    "algorithm": {"name": "prototypical"},
    "evaluation": {"episodes": 4, "steps": 1},
    "run": {"iterations": 2, "threads": 1},
}
META_RL = {"tasks": {"family": "PointNavigation-v0"}, "algorithm": {"name": "maml_trpo"}}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    configs = tmp_path / "configs"
    presets = {
        "glyphs/prototypical": PRESET,
        "glyphs/matching": {**PRESET, "algorithm": {"name": "matching"}},
        "glyphs/other": {**PRESET, "episodes": {**PRESET["episodes"], "queries": 3}},
        "world/maml": META_RL,
    }
    for name, content in presets.items():
        path = configs / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    return write(configs, ["glyphs/prototypical", "glyphs/matching"])


def write(configs: Path, presets: list[str]) -> Path:
    path = configs / "benchmark" / "glyphs.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(yaml.safe_dump({"name": "glyphs", "seeds": [1, 2], "presets": presets}))
    return path


def code(words: list[str]) -> object:
    """Of the command's exit."""
    with pytest.raises(SystemExit) as found:
        main(words)
    return found.value.code


def test_runs_are_trained_evaluated_and_compared_and_none_of_it_twice(
    suite: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "runs"
    words = ["benchmark", str(suite), "--output", str(root)]
    assert code(words) == 0
    assert "4 runs" in capsys.readouterr().out
    results = sorted(root.glob("glyphs/*/seed*/evaluation/fewshot-test.json"))
    assert len(results) == 4
    assert len(json.loads(results[0].read_text())["details"]["splits"]) == 3
    with (root / "comparison" / "table.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["method"] for row in rows) == ["matching", "prototypical"]
    assert [row["seeds"] for row in rows] == ["2", "2"]

    before = {path: path.stat().st_mtime_ns for path in results}
    assert code([*words, "--resume"]) == 0
    assert {path: path.stat().st_mtime_ns for path in results} == before
    assert code([*words, "--resume", "--evaluation.episodes", "5"]) == 1
    captured = capsys.readouterr()
    assert "was started with evaluation.episodes = 4, now it is 5" in captured.err


def test_presets_that_cannot_be_compared_are_refused_before_training(suite: Path) -> None:
    configs = suite.parents[1]
    write(configs, ["glyphs/prototypical", "glyphs/other"])
    with pytest.raises(UserError, match="queries is 3 in glyphs/other, 2 in glyphs/prototypical"):
        plan(suite, Path("out"))
    write(configs, ["glyphs/prototypical", "world/maml"])
    with pytest.raises(UserError, match="glyphs/prototypical and world/maml are of different kind"):
        plan(suite, Path("out"))

"""The guide to lifelong learning: its files and commands run, and its tables name what there is."""

import json
import re
from pathlib import Path

import pytest

from metarl.cli import split_overrides
from metarl.config import load_config, parse_overrides
from metarl.continual.methods import METHODS, Method
from tests.documents import NOT_RUN, ROOT, commands, files, named_files, run_commands

GUIDE = (ROOT / "docs" / "continual.md").read_text(encoding="utf-8")


def write_files(folder: Path) -> None:
    (folder / "configs").symlink_to(ROOT / "configs")
    for name, content in files(GUIDE, "python", "yaml").items():
        (folder / name).write_text(content, encoding="utf-8")


def test_the_commands_run_and_leave_what_the_guide_says(tmp_path: Path) -> None:
    write_files(tmp_path)
    (tmp_path / "scripts").symlink_to(ROOT / "scripts")
    outputs = run_commands(GUIDE, tmp_path)
    assert [words.split()[:2] for words in outputs] == [
        ["metarl", "train"],
        ["metarl", "evaluate"],
        ["python", "scripts/benchmark_continual.py"],
        ["metarl", "train"],
    ]
    runs = tmp_path / "runs"
    record = json.loads((runs / "goals" / "evaluation" / "continual.json").read_text())
    assert record["sequence"]["stages"] == [0, 1, 0, 1]
    strengths = {row["strength"] for row in record["rows"] if row["method"] == "ewc"}
    assert strengths == {0.1, 1.0, 10.0}
    header = (runs / "averaging" / "metrics.csv").read_text().splitlines()[0]
    assert "train/return/averaging:averaging" in header.split(",")


def test_the_settings_of_every_training_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    trainings = [words for words in commands(GUIDE.replace(NOT_RUN, "")) if words[1] == "train"]
    checked = 0
    for preset, *words in (words[2:] for words in trainings):
        if preset.endswith(".yaml") and "averaging" not in " ".join(words):
            dotted = split_overrides(words)[1]
            load_config(preset, parse_overrides(dotted))
            checked += 1
    assert checked == 8


def test_every_method_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \|", GUIDE.split("## Methods")[1].split("\n## ")[0], re.M)
    assert sorted(rows) == sorted(METHODS)


def test_every_part_of_a_method_is_named() -> None:
    table = GUIDE.split("## A method of your own")[1]
    parts = {name for each in (Method, *Method.__mro__[1:-1]) for name in vars(each)}
    parts -= {"state_dict", "load_state_dict"}  # made from `memory`
    for name in parts:
        assert name.startswith("_") or f"`{name}" in table, name


@pytest.mark.parametrize("name", named_files(GUIDE))
def test_named_files_exist(name: str) -> None:
    assert any((base / name).exists() for base in (ROOT / "docs", ROOT))

"""The guide to few-shot learning: its files and commands run, and its tables name what there is."""

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from metarl.cli import split_overrides
from metarl.config import load_config, parse_overrides
from metarl.fewshot.config import MODELS
from metarl.fewshot.data import DATA_SETS
from metarl.fewshot.learner import FewShotLearner
from metarl.fewshot.methods import METHODS
from tests.documents import NOT_RUN, ROOT, commands, files, named_files, run_commands

GUIDE = (ROOT / "docs" / "few_shot.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in re.split(r"(?m)^## ", GUIDE)[1:]}


def write_files(folder: Path) -> None:
    """The guide's files, the presets, and the images and texts that it supposes."""
    (folder / "configs").symlink_to(ROOT / "configs")
    for name, content in files(GUIDE, "python", "yaml").items():
        (folder / name).write_text(content, encoding="utf-8")
    generator = np.random.default_rng(0)
    for number in range(24):
        path = folder / "my_images" / f"class{number:02d}"
        path.mkdir(parents=True)
        for index in range(6):
            Image.fromarray(generator.integers(256, size=(9, 9), dtype=np.uint8)).save(
                path / f"{index}.png"
            )
    with (folder / "my_texts.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["question", "intent"])
        rows.writerows([f"word{n} again", f"label{n % 24}"] for n in range(24 * 6))


def test_the_commands_run_and_leave_what_the_guide_says(tmp_path: Path) -> None:
    write_files(tmp_path)
    outputs = run_commands(GUIDE, tmp_path)
    assert len(outputs) == 13
    runs = tmp_path / "runs"
    names = sorted(path.name for path in (runs / "prototypical" / "evaluation").glob("*.json"))
    assert names == ["fewshot-test-10way_5shot.json", "fewshot-test.json"]
    report = (runs / "few-shot-compared" / "report.html").read_text()
    assert "glyphs, 10-way 5-shot" in report
    assert (runs / "sawtooth" / "evaluation" / "fewshot-test-curves.png").exists()
    medians = json.loads((runs / "medians" / "evaluation" / "fewshot-test.json").read_text())
    assert medians["details"]["method"] == "class_medians:class_medians"
    assert medians["details"]["normalization"] == "running"


def test_the_settings_of_every_training_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    trainings = [words for words in commands(GUIDE.replace(NOT_RUN, "")) if words[1] == "train"]
    checked = 0
    for preset, *words in (words[2:] for words in trainings):
        if preset != "medians.yaml":
            load_config(preset, parse_overrides(split_overrides(words)[1]))
            checked += 1
    assert checked == 10


def test_every_data_set_method_and_model_is_named() -> None:
    for section, known in (("Data", DATA_SETS), ("Methods", METHODS)):
        rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", SECTIONS[section], re.M)
        named = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
        assert sorted(named) == sorted(known)
    for name in MODELS:
        assert f"`{name}`" in SECTIONS["Methods"]


def test_every_part_of_a_method_is_named() -> None:
    table = SECTIONS["A method of your own"]
    settings = {"config_class", "config", "device", "workers", "parameters"}
    for name in vars(FewShotLearner):
        if not name.startswith("_") and name not in settings:
            assert f"`{name}" in table, name


@pytest.mark.parametrize("name", named_files(GUIDE))
def test_named_files_exist(name: str) -> None:
    assert any((base / name).exists() for base in (ROOT / "docs", ROOT))

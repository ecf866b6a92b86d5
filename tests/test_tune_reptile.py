"""Tuning of Reptile-PPO: two stages into one table, nothing computed twice, points for others."""

import csv
import importlib
import subprocess
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PRESET = """\
tasks: {family: PointNavigation-v0, tasks_per_iteration: 2, episodes_per_task: 2, horizon: 5}
policy: {hidden_sizes: [4]}
algorithm: {name: reptile_ppo}
evaluation: {tasks: 2, steps: 2}
"""


def tune(folder: Path, *options: str) -> list[dict[str, str]]:
    (folder / "preset.yaml").write_text(PRESET)
    command = [sys.executable, str(ROOT / "scripts" / "tune_reptile.py"), "preset.yaml"]
    command += ["--output", "runs", "--environment-steps", "50", "--episodes", "2", *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    table = folder / options[options.index("--csv") + 1]
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert len(done.stdout.splitlines()) == len(rows)
    return rows


def test_both_stages_are_tabled_and_nothing_is_computed_twice(tmp_path: Path) -> None:
    rows = tune(tmp_path, "--csv", "grid.csv", "--points", "1")
    assert [row["stage"] for row in rows] == ["1", "2"]
    assert [row["inner_updates"] for row in rows] == ["1", "5"]
    for row in rows:
        returns = [float(row[f"return_{step}"]) for step in range(3)]
        assert abs(float(row["score"]) - (returns[1] + returns[2]) / 2) < 1e-3
        assert int(row["environment_steps"]) >= 50

    changed = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.pt")}
    assert len(changed) >= 2 * 2  # a first and a last checkpoint
    again = tune(tmp_path, "--csv", "best.csv", "--best-of", "grid.csv")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("*.pt")} == changed
    assert [row["score"] for row in again] == sorted((row["score"] for row in rows), key=negative)


def negative(text: str) -> float:
    return -float(text)


def test_changes_are_made_one_by_one_to_the_best_of_the_grid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "scripts"))
    script: Any = importlib.import_module("tune_reptile")

    def measure(stage: int, settings: dict[str, Any], *_: Any) -> Any:
        best = settings["adaptation.clip"] == 0.5 and settings["adaptation.learning_rate"] == 1e-3
        return script.Point(stage, settings, 0, [9.0, float(best), 0.0])

    monkeypatch.setattr(script, "measure", measure)
    preset = tmp_path / "preset.yaml"
    preset.write_text(PRESET)
    options = Namespace(preset=preset, csv=None, best_of=None, points=None)
    first, second = [], []
    for point in script.tune(options, None):
        (first if point.stage == 1 else second).append(point.settings)
    assert len(first) == 12
    assert len({tuple(settings.items()) for settings in first}) == 12
    best = {**script.BASE, "adaptation.clip": 0.5, "adaptation.learning_rate": 1e-3}
    assert second == [best | change for change in script.CHANGES]

"""The view: how far runs have come, by their metrics files."""

import io
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from metarl.benchmark.pool import Outcome, Running
from metarl.benchmark.view import View, last_row
from metarl.config import from_mapping
from metarl.jobs import Job
from metarl.training.run_folder import RunFolder

CONFIG = {"tasks": {"family": "PointNavigation-v0"}, "algorithm": {"name": "maml_trpo"}}
HEADER = "iteration,loss/kl,train/environment_steps\n"


def job(folder: Path, **run: object) -> Job:
    overrides = {f"run.{key}": value for key, value in run.items()}
    config = from_mapping(CONFIG, "test", {"run.iterations": 10, **overrides})
    return Job("world/maml", config, RunFolder(folder))


@pytest.fixture
def process() -> "subprocess.Popen[bytes]":
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("", (0, 0)),
        (HEADER, (0, 0)),
        (HEADER + "1,0.1,120.0\n", (1, 120)),
        (HEADER + "1,0.1,120.0\n2,0.1,24", (1, 120)),
        (HEADER + "".join(f"{n},nan,{120.0 * n}\n" for n in range(1, 999)), (998, 119760)),
        ("iteration,loss/kl\n4,0.1\n", (4, 0)),
    ],
)
def test_the_last_complete_row_is_read(
    tmp_path: Path, content: str, expected: tuple[int, int]
) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(content)
    assert last_row(path) == expected


def test_a_missing_file_is_a_run_that_starts(tmp_path: Path) -> None:
    assert last_row(tmp_path / "metrics.csv") == (0, 0)


def test_plain_lines_tell_positions_and_time_left(
    tmp_path: Path, process: "subprocess.Popen[bytes]"
) -> None:
    time = 0.0
    text = io.StringIO()
    view = View(3, 1, Console(file=text, width=80), lambda: time)
    metrics = tmp_path / "metrics.csv"
    with view:
        running = [Running(job(tmp_path, environment_steps=1000), process, tmp_path / "log", 0)]
        for seconds, rows in ((60, ""), (120, "1,0.1,200.0\n"), (180, "2,0.1,400.0\n")):
            time = float(seconds)
            metrics.write_text((metrics.read_text() if metrics.exists() else HEADER) + rows)
            view.looked(running)
            view.looked(running)  # too soon for another line
        view.ended(Outcome(running[0].job, 200.0, None))
        view.ended(Outcome(running[0].job, 3661.0, "the disk is full"))
    lines = text.getvalue().splitlines()
    # 200 steps took a minute, 600 are left.
    assert [line.rstrip() for line in lines] == [
        "world/maml seed 1  starting",
        "world/maml seed 1  iteration 1, 200 of 1,000 steps  ETA --:--:--",
        "world/maml seed 1  iteration 2, 400 of 1,000 steps  ETA 00:03:00",
        "[2/3] world/maml seed 1: done (00:03:20)",
        "[3/3] world/maml seed 1: failed: the disk is full (01:01:01)",
    ]


def test_a_terminal_shows_a_table_with_counts(
    tmp_path: Path, process: "subprocess.Popen[bytes]"
) -> None:
    time = 0.0
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=True, color_system=None)
    (tmp_path / "metrics.csv").write_text(HEADER + "10,0.1,200.0\n")
    with View(5, 2, console, lambda: time) as view:
        time = 2.0
        view.looked([Running(job(tmp_path), process, tmp_path / "log", 0)])
    assert "world/maml seed 1  evaluating" in text.getvalue()
    assert "2 done, 0 failed, 1 running, 2 left of 5 · elapsed 00:00:02" in text.getvalue()

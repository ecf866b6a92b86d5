"""Progress: lines for a log, a live table for a terminal, and the time left."""

import io
import math

import pytest
from rich.console import Console

from metarl.training.progress import Progress

_METRICS = {
    "train/return_pre": -40.12,
    "train/return_post": -12.34,
    "train/adaptation_gain": 27.78,
    "loss/kl": 0.0091,
    "time/env_steps_per_s": 80123.4,
}


class _Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def _plain() -> tuple[io.StringIO, Console]:
    file = io.StringIO()
    return file, Console(file=file, width=40)


def _run(progress: Progress, clock: _Clock, iterations: range, seconds: float) -> None:
    with progress:
        for iteration in iterations:
            clock.now += seconds
            progress.update(iteration, _METRICS)


def test_a_plain_line() -> None:
    clock, (file, console) = _Clock(), _plain()
    _run(Progress(500, 12, console, clock=clock), clock, range(12, 13), seconds=1.5)
    assert file.getvalue() == (
        "iteration 12/500  pre -40.1  post -12.3  gain 27.8  kl 0.0091  80123 steps/s"
        "  ETA 00:12:12\n"  # 488 iterations of 1.5 s
    )


def test_a_few_shot_run_shows_its_loss_its_score_and_the_latest_validation() -> None:
    clock, (file, console) = _Clock(), _plain()
    metrics = {"loss/total": 1.234, "train/accuracy": 0.5432, "time/iteration_s": 5.0}
    with Progress(400, 1, console, clock=clock) as progress:
        for iteration, validation in ((1, math.nan), (2, 0.8125), (3, math.nan)):
            clock.now += 6.0
            progress.update(iteration, {**metrics, "validation/last": validation})
    first, _, third = file.getvalue().splitlines()
    assert first == "iteration 1/400  loss 1.23  accuracy 0.543  ETA 00:39:54"
    assert third == "iteration 3/400  loss 1.23  accuracy 0.543  validation 0.812  ETA 00:39:42"


def test_the_table_of_a_few_shot_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=30, color_system=None)
    with Progress(9, 1, console) as progress:
        progress.update(1, {"loss/total": 2.5, "train/mse": 0.75, "validation/last": 0.9375})
        progress.update(2, {"loss/total": 1.5, "train/mse": 0.25, "validation/last": math.nan})
    last = file.getvalue()[file.getvalue().rindex("iteration 2/9") :]
    rows = [line.strip("│ ").split() for line in last.splitlines() if "│" in line]
    names = [" ".join(row) for row in rows]
    assert [name.split()[0] for name in names] == ["loss/total", "train/mse", "validation/last"]
    assert "0.25" in names[1]
    assert "0.938 (iteration 1)" in names[2]


def test_plain_lines_are_throttled_but_show_the_first_and_the_last() -> None:
    clock, (file, console) = _Clock(), _plain()
    _run(Progress(8, 1, console, clock=clock), clock, range(1, 9), seconds=2.0)
    shown = [line.split()[1] for line in file.getvalue().splitlines()]
    assert shown == ["1/8", "4/8", "7/8", "8/8"]


def test_a_stopped_run_shows_its_last_iteration() -> None:
    clock, (file, console) = _Clock(), _plain()
    _run(Progress(100, 1, console, clock=clock), clock, range(1, 4), seconds=1.0)
    shown = [line.split()[1] for line in file.getvalue().splitlines()]
    assert shown == ["1/100", "3/100"]


def test_time_left_follows_recent_iterations() -> None:
    clock, (_, console) = _Clock(), _plain()
    progress = Progress(200, 101, console, clock=clock)
    assert math.isnan(progress.seconds_left())
    clock.now += 1000.0  # setting up is no iteration
    _run(progress, clock, range(101, 111), seconds=10.0)
    assert progress.seconds_left() == pytest.approx(90 * 10.0)
    for iteration in range(111, 131):
        clock.now += 1.0
        progress.update(iteration, {})
    assert progress.seconds_left() == pytest.approx(70 * 1.0)


@pytest.mark.parametrize("terminal", [False, True])
def test_missing_and_odd_metrics(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=100)
    with Progress(2, 1, console, title="[red]run") as progress:
        progress.update(1, {})
        progress.update(2, {"train/return_post": math.nan, "loss/[b]": math.inf})
    assert "2/2" in file.getvalue()
    assert "nan" in file.getvalue()


def test_the_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    clock, file = _Clock(), io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, height=30, color_system=None)
    with Progress(100, 49, console, "[MAML-TRPO]", clock) as progress:
        clock.now += 3661.0
        progress.update(49, _METRICS | {"train/return_post": -2.5})
        progress.update(50, _METRICS)
        frame = file.getvalue()
    for text in ("[MAML-TRPO]", "iteration 50/100", "elapsed 01:01:01", "━", "loss/kl", "0.0091"):
        assert text in frame
    assert "ETA 25:25:25" in frame  # 50 iterations of 1830.5 s
    last = frame[frame.rindex("iteration 50/100") :]
    assert "-12.3" in last
    assert "-2.5 (iteration 49)" in last


def test_no_table_on_a_dumb_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    clock, file = _Clock(), io.StringIO()
    console = Console(file=file, force_terminal=True)
    _run(Progress(1, 1, console, clock=clock), clock, range(1, 2), seconds=1.0)
    assert file.getvalue().startswith("iteration 1/1  pre -40.1")

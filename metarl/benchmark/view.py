"""How a benchmark is going: a live table on a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from metarl.benchmark.pool import Outcome, Running
from metarl.jobs import Job
from metarl.training.progress import duration

_SECONDS_BETWEEN_TABLES = 1.0
_SECONDS_BETWEEN_LINES = 60.0
_TAIL = 4096  # bytes of metrics.csv that hold its last row


class View:
    """Shows each job's start and end, and how far those that run have come; a context manager.

    Args:
        total: number of jobs.
        done: how many of them needed no process.
        console: where to write; the standard output if not given.
        clock: seconds, from any origin.
    """

    def __init__(
        self,
        total: int,
        done: int,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._done, self._failed = total, done, 0
        self._console, self._clock = console or Console(), clock
        self._start = self._last_look = clock()
        self._first_seen: dict[Path, tuple[float, float]] = {}
        terminal = self._console.is_terminal and not self._console.is_dumb_terminal
        self._live = Live(console=self._console, auto_refresh=False) if terminal else None

    def __enter__(self) -> "View":
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.update(Text(""), refresh=True)
            self._live.stop()

    def started(self, job: Job) -> None:
        """A job's process has started."""
        if not self._live:
            self.say(f"{_name(job)}: started")

    def ended(self, outcome: Outcome) -> None:
        """A job's process has ended."""
        self._done += outcome.error is None
        self._failed += outcome.error is not None
        how = "done" if outcome.error is None else f"failed: {outcome.error}"
        spent = duration(outcome.seconds)
        self.say(
            f"[{self._done + self._failed}/{self._total}] {_name(outcome.job)}: {how} ({spent})"
        )

    def looked(self, running: Sequence[Running]) -> None:
        """Show how far these have come, if it is time to."""
        now = self._clock()
        pause = _SECONDS_BETWEEN_TABLES if self._live else _SECONDS_BETWEEN_LINES
        if now - self._last_look < pause:
            return
        self._last_look = now
        rows = [(_name(each.job), *self._position(each, now)) for each in running]
        if self._live:
            self._live.update(self._table(rows, len(running), now), refresh=True)
        else:
            for row in rows:
                self.say("  ".join(row))

    def say(self, line: str) -> None:
        """One line, above the live table."""
        # Logs are searched by line: no wrapping at 80 columns, and no colours.
        self._console.print(Text(line), soft_wrap=True, highlight=False)

    def _position(self, running: Running, now: float) -> tuple[str, str]:
        """What a job is doing, and the time left of its training."""
        run, path = running.job.config.run, running.job.run.metrics_file
        iteration, steps = last_row(path)
        if iteration == 0:
            return "starting", ""
        share = iteration / run.iterations
        text = f"iteration {iteration}"
        budget = running.job.budget
        if budget is None:
            text += f"/{run.iterations}"
        else:
            share = max(share, steps / budget)
            text += f", {steps:,} of {budget:,} steps"
        if share >= 1:
            return "evaluating", ""
        first_time, first_share = self._first_seen.setdefault(path, (now, share))
        gone = share - first_share
        left = (now - first_time) / gone * (1 - share) if gone > 0 else math.nan
        return text, f"ETA {duration(left)}"

    def _table(self, rows: Sequence[tuple[str, ...]], running: int, now: float) -> Group:
        table = Table.grid(padding=(0, 2))
        for row in rows:
            table.add_row(*map(Text, row))
        left = self._total - self._done - self._failed - running
        counts = (
            f"{self._done} done, {self._failed} failed, {running} running, {left} left of "
            f"{self._total} · elapsed {duration(now - self._start)}"
        )
        return Group(table, Text(counts, style="bold"))


def last_row(metrics_file: Path) -> tuple[int, int]:
    """Iteration and environment steps of the last complete row; zeros while there is none."""
    try:
        with metrics_file.open("rb") as file:
            columns = file.readline().decode().rstrip("\n").split(",")
            start = file.tell()
            size = file.seek(0, 2)
            file.seek(max(start, size - _TAIL))
            lines = file.read().decode().split("\n")
    except (OSError, ValueError):
        return 0, 0
    # What follows the last newline is a row that is being written.
    complete = [line.split(",") for line in lines[:-1]]
    if not complete or len(complete[-1]) != len(columns):
        return 0, 0
    values = dict(zip(columns, complete[-1], strict=True))
    steps = values.get("train/environment_steps") or "0"
    return int(values["iteration"]), int(float(steps))


def _name(job: Job) -> str:
    return f"{job.preset} seed {job.config.run.seed}"

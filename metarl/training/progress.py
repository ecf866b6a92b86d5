"""How a run is going: a live table on a terminal, plain lines elsewhere."""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

_RETURNS = {
    "return": "train/return",
    "pre": "train/return_pre",
    "post": "train/return_post",
    "gain": "train/adaptation_gain",
}
# Of few-shot runs.
_SCORES = {
    "loss": "loss/total",
    "accuracy": "train/accuracy",
    "mse": "train/mse",
}
_VALIDATION = "validation/last"
_RECENT = 20  # iterations that the ETA averages over
_SECONDS_BETWEEN_LINES = 5.0
_ROWS_PER_GROUP = 5


class Progress:
    """Shows each iteration's metrics, the time gone and the time left; a context manager.

    Args:
        total: number of the last iteration; iterations count from 1.
        first: number of the first one that this process runs: 1, or later on resume.
        console: where to write; the standard output if not given.
        title: heading of the live table.
        clock: seconds, from any origin.
    """

    def __init__(
        self,
        total: int,
        first: int,
        console: Console | None = None,
        title: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._total, self._title, self._clock = total, title, clock
        self._console = console or Console()
        self._start = clock()
        self._ends = deque([self._start], maxlen=_RECENT + 1)
        self._iteration = first - 1
        self._best: tuple[float, int] | None = None
        self._validation: tuple[float, int] | None = None
        self._line_time = -math.inf
        self._pending_line: str | None = None
        self._live = Live(console=self._console, auto_refresh=False) if self._on_terminal else None

    @property
    def _on_terminal(self) -> bool:
        return self._console.is_terminal and not self._console.is_dumb_terminal

    def __enter__(self) -> "Progress":
        self._start = self._clock()
        self._ends.clear()
        self._ends.append(self._start)
        if self._live:
            self._live.start()
            # An iteration may take half a minute; an empty screen would look like a hang.
            self._live.update(Text(f"{self._title}: the first iteration is running"), refresh=True)
        return self

    def __exit__(self, *error: object) -> None:
        if self._live:
            self._live.stop()
        elif self._pending_line:  # a run that was stopped shows how far it came
            self._print(self._pending_line)

    def update(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Show `iteration`, just finished; any metric may be missing or not finite."""
        self._iteration = iteration
        self._ends.append(self._clock())
        numbers = {name: float(value) for name, value in metrics.items()}
        self._remember_best(iteration, numbers)
        if self._live:
            self._live.update(self._table(numbers), refresh=True)
        else:
            self._offer_line(self._line(numbers))

    def seconds_left(self) -> float:
        """Iterations left times the mean duration of recent ones; nan before the first."""
        durations = len(self._ends) - 1
        if not durations:
            return math.nan
        mean = (self._ends[-1] - self._ends[0]) / durations
        return mean * max(0, self._total - self._iteration)

    def _remember_best(self, iteration: int, metrics: dict[str, float]) -> None:
        value = metrics.get(_RETURNS["post"], math.nan)
        if math.isfinite(value) and (self._best is None or value > self._best[0]):
            self._best = value, iteration
        # Now and then, and nan in between; which is better, more or less, is not known here.
        value = metrics.get(_VALIDATION, math.nan)
        if math.isfinite(value):
            self._validation = value, iteration

    def _offer_line(self, line: str) -> None:
        due = self._ends[-1] - self._line_time >= _SECONDS_BETWEEN_LINES
        if due or self._iteration >= self._total:
            self._print(line)
            self._line_time, self._pending_line = self._ends[-1], None
        else:
            self._pending_line = line

    def _print(self, line: str) -> None:
        # Logs are searched by line: no wrapping at 80 columns, and no colours.
        self._console.print(Text(line), soft_wrap=True, highlight=False)

    def _line(self, metrics: dict[str, float]) -> str:
        parts = [f"iteration {self._iteration}/{self._total}"]
        labels = {**_RETURNS, "kl": "loss/kl", **_SCORES}
        parts += [f"{word} {_short(metrics[m])}" for word, m in labels.items() if m in metrics]
        if self._validation:
            parts.append(f"validation {_short(self._validation[0])}")
        if "time/env_steps_per_s" in metrics:
            parts.append(f"{metrics['time/env_steps_per_s']:.0f} steps/s")
        return "  ".join([*parts, f"ETA {duration(self.seconds_left())}"])

    def _table(self, metrics: dict[str, float]) -> Group:
        bar = Table.grid(padding=(0, 2))
        bar.add_row(
            f"iteration {self._iteration}/{self._total}",
            ProgressBar(total=self._total, completed=self._iteration, width=30),
            f"elapsed {duration(self._ends[-1] - self._start)}",
            f"ETA {duration(self.seconds_left())}",
        )
        table = Table(show_header=False)
        for name in _shown(metrics):
            table.add_row(Text(name), Text(_short(metrics[name]), justify="right"))
        if self._best:
            best, iteration = self._best
            table.add_row(f"best {_RETURNS['post']}", f"{_short(best)} (iteration {iteration})")
        if self._validation:
            latest, iteration = self._validation
            table.add_row(_VALIDATION, f"{_short(latest)} (iteration {iteration})")
        heading = [Text(self._title, style="bold")] if self._title else []
        return Group(*heading, bar, table)


def _shown(metrics: dict[str, float]) -> list[str]:
    """Returns or scores, then a few losses and times: a table that fits a small terminal."""
    names = [name for name in (*_RETURNS.values(), *_SCORES.values()) if name in metrics]
    for group in ("loss/", "time/"):
        others = [name for name in metrics if name.startswith(group) and name not in names]
        names += others[:_ROWS_PER_GROUP]
    return names


def _short(value: float) -> str:
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def duration(seconds: float) -> str:
    """`H:MM:SS` with at least two digits of hours, or dashes for a time that is not known."""
    if not math.isfinite(seconds):
        return "--:--:--"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"

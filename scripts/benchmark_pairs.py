"""Pairs of measurements next to each other, which all benchmarks print the ratios of."""

import dataclasses
import platform
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from metarl.training.run_folder import collect_versions


def _nothing() -> float:
    return 0.0


@dataclass
class Pair:
    """Two things measured next to each other."""

    key: str
    label: str
    """What ours is compared with."""
    ours: Callable[[], float]
    """Environment steps/s."""
    other: Callable[[], float]
    """Environment steps/s."""
    inverse: bool = False
    """The ratio is one of times, not of rates."""
    rates: list[tuple[float, float]] = field(default_factory=list)
    """Of ours and of the other, for each repetition."""

    def done(self) -> "Pair":
        """The figures alone, without what they were measured with."""
        return dataclasses.replace(self, ours=_nothing, other=_nothing)

    def measure(self, ours_first: bool) -> None:
        """One more repetition."""
        if ours_first:
            ours, other = self.ours(), self.other()
        else:
            other, ours = self.other(), self.ours()
        self.rates.append((ours, other))

    @property
    def ratios(self) -> list[float]:
        """One per repetition."""
        return [(b / a if self.inverse else a / b) for a, b in self.rates]


def repeat(pairs: Sequence[Pair], repetitions: int) -> None:
    """Measure pair after pair, so many times."""
    for repetition in range(repetitions):
        for pair in pairs:
            progress(f"repetition {repetition + 1} of {repetitions}: {pair.key}, {pair.label}")
            pair.measure(ours_first=repetition % 2 == 0)


def progress(text: str) -> None:
    """One line on stderr, which a terminal overwrites with the next."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def spread(values: Sequence[float]) -> str:
    """Median, smallest and largest."""
    return f"{statistics.median(values):.3f} ({min(values):.3f} .. {max(values):.3f})"


def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@contextmanager
def operator_threads(threads: int) -> Iterator[None]:
    """Inside torch's operators, until the end of the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def machine(threads: int) -> str:
    """What was measured with: processor, threads, versions."""
    versions = ", ".join(f"{name} {value}" for name, value in collect_versions().items())
    return f"{cpu_model()}, {threads} threads; {versions}"


def positive(text: str) -> int:
    """A number of repetitions, tasks, threads on the command line."""
    value = int(text)
    if value < 1:
        raise ValueError
    return value


positive.__name__ = "positive integer"  # argparse names it when it refuses a value

"""How much one stacked sweep of continual learners saves over one process for each of them.

  stacked_sweep_over_sequential   wall time of all learners of a method (every strength of the
                                  preset, with so many seeds) as processes one after the other, over
                                  that of the one stacked run; both by `metarl train`, with start-up
  without_start_up                the same of the iterations alone: without imports, measuring
                                  observations and random actions, the first evaluation, checkpoints
  at_preset_length                the same with start-up, extrapolated from --iterations to as many
                                  as the preset has: start-up once, iterations in proportion

Every process may use all threads. Of the processes one after the other, 5 are run unless --all or
--sequential says otherwise, spread over the strengths, each with another seed; their time is scaled
to all learners. Half of them run before the stacked one and half after it. Evaluations are the
preset's, in the same proportion as there if --iterations is a multiple of evaluate_every. Run it on
a machine that does nothing else.
"""

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark_pairs import machine, positive, progress
from rich.console import Console
from rich.table import Table

from metarl.config import load_config
from metarl.continual.config import ContinualConfig
from metarl.errors import UserError, nearest
from metarl.simulation.cpus import usable_cpus

PRESET = Path(__file__).parents[1] / "configs" / "continual" / "half_cheetah_forgetting" / "l2.yaml"
TARGET = "≥ 2"
SEQUENTIAL = 5


@dataclass(frozen=True)
class Process:
    """One training, from start to end."""

    seconds: float
    """Wall time."""
    in_iterations: float
    """Of these, in iterations and their evaluations."""

    @property
    def start_up(self) -> float:
        """Seconds outside iterations."""
        return self.seconds - self.in_iterations


@dataclass(frozen=True)
class Sweep:
    """What is trained: a method's strengths, so many seeds of each."""

    preset: Path
    method: str
    strengths: tuple[float, ...]
    seeds: int
    iterations: int
    threads: int

    @property
    def learners(self) -> int:
        return len(self.strengths) * self.seeds

    def stacked(self) -> Process:
        """All learners in one process."""
        return self._train(self.strengths, self.seeds, 1)

    def single(self, number: int) -> Process:
        """One of the learners in a process of its own: neighbours differ in strength and seed."""
        strength = self.strengths[number % len(self.strengths)]
        return self._train((strength,), 1, 1 + number)

    def _train(self, strengths: Sequence[float], seeds: int, seed: int) -> Process:
        with tempfile.TemporaryDirectory() as folder:
            run = Path(folder, "run")
            options = {
                "algorithm.methods": json.dumps({self.method: list(strengths)}),
                "algorithm.seeds": seeds,
                "sequence.iterations": self.iterations,
                "run.seed": seed,
                "run.threads": self.threads,
                "run.device": "cpu",
                "run.output": run,
            }
            words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
            command = [sys.executable, "-m", "metarl", "train", str(self.preset), *words]
            started = time.perf_counter()
            done = subprocess.run(command, capture_output=True, text=True)
            seconds = time.perf_counter() - started
            if done.returncode:
                raise UserError(f"a training failed: {done.stderr.strip()}")
            with open(run / "metrics.csv", encoding="utf-8", newline="") as file:
                rows = csv.DictReader(file)
                return Process(seconds, sum(float(row["time/iteration_s"]) for row in rows))


def measure(sweep: Sweep, processes: int) -> tuple[Process, list[Process]]:
    """The stacked run, and so many single ones before and after it."""
    singles: list[Process] = []
    stacked = None
    for number in range(processes):
        if number == (processes + 1) // 2:
            stacked = _stacked(sweep)
        progress(f"learner {number + 1} of {processes}, alone")
        singles.append(sweep.single(number))
    stacked = stacked or _stacked(sweep)
    progress("")
    return stacked, singles


def _stacked(sweep: Sweep) -> Process:
    progress(f"{sweep.learners} learners, stacked")
    return sweep.stacked()


def figures(
    sweep: Sweep, stacked: Process, singles: Sequence[Process], longer: float
) -> dict[str, Any]:
    """Ratios, seconds and shares; `longer` is the preset's length over the measured one."""
    scale = sweep.learners / len(singles)
    every = Process(
        scale * sum(each.seconds for each in singles),
        scale * sum(each.in_iterations for each in singles),
    )

    def long(process: Process) -> float:
        return process.start_up + longer * process.in_iterations

    return {
        "stacked_sweep_over_sequential": round(every.seconds / stacked.seconds, 3),
        "without_start_up": round(every.in_iterations / stacked.in_iterations, 3),
        "at_preset_length": round(long(every) / long(stacked), 3),
        "learners": sweep.learners,
        "sequential_measured": len(singles),
        "iterations_per_stage": sweep.iterations,
        "seconds": {"stacked": round(stacked.seconds, 2), "sequential": round(every.seconds, 2)},
        "seconds_of_one": [round(f(each.seconds for each in singles), 2) for f in (min, max)],
        "start_up_share": {
            "stacked": round(stacked.start_up / stacked.seconds, 3),
            "sequential": round(every.start_up / every.seconds, 3),
        },
    }


def show(found: dict[str, Any], sweep: Sweep, console: Console) -> None:
    """The table, and what it was measured on."""
    table = Table()
    table.add_column("figure")
    for heading in ("stacked", "one after the other", "ratio", "target"):
        table.add_column(heading, justify="right")
    seconds, shares = found["seconds"], found["start_up_share"]
    ratio = f"{found['stacked_sweep_over_sequential']:.2f}"
    measured, learners = found["sequential_measured"], found["learners"]
    scaled = "" if measured == learners else f" ({measured} of {learners} measured)"
    together = (f"{seconds['stacked']:,.1f} s", f"{seconds['sequential']:,.1f} s{scaled}")
    table.add_row("stacked_sweep_over_sequential", *together, ratio, TARGET)
    start_up = (f"{shares['stacked']:.0%}", f"{shares['sequential']:.0%}")
    table.add_row("share of start-up", *start_up)
    for name in ("without_start_up", "at_preset_length"):
        table.add_row(name, "", "", f"{found[name]:.2f}")
    console.print(table)
    text = f"{sweep.method}, {len(sweep.strengths)} strengths x {sweep.seeds} seeds"
    console.print(f"{text}, {sweep.iterations} iterations of each stage", highlight=False)
    console.print(machine(sweep.threads), highlight=False)


def _sweep(options: argparse.Namespace) -> tuple[Sweep, float]:
    """What the options ask for, and how much longer the preset trains."""
    config = load_config(options.preset)
    if not isinstance(config, ContinualConfig):
        raise UserError(f"{options.preset} is no continual preset: it has no section `sequence`")
    swept = {name: s for name, s in config.algorithm.methods.items() if s}
    if options.method not in swept:
        hint = nearest(options.method, swept)
        raise UserError(f"{options.preset} has no strengths of {options.method!r}; {hint}")
    sweep = Sweep(
        Path(options.preset),
        options.method,
        swept[options.method],
        options.seeds,
        options.iterations or config.evaluation.evaluate_every,
        options.threads or usable_cpus(),
    )
    return sweep, config.sequence.iterations / sweep.iterations


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--preset",
        default=str(PRESET),
        metavar="CONFIG",
        help="default: half_cheetah_forgetting/l2",
    )
    parser.add_argument(
        "--method", default="l2", metavar="NAME", help="with strengths in the preset (default: l2)"
    )
    for name, default, text in (
        ("seeds", 5, "of every strength (default: 5)"),
        ("iterations", None, "of each stage (default: the preset's evaluate_every)"),
        ("threads", None, "of a process (default: the CPUs this one may use)"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, metavar="N", help=text)
    some = parser.add_mutually_exclusive_group()
    some.add_argument(
        "--sequential",
        type=positive,
        default=SEQUENTIAL,
        metavar="N",
        help=f"processes one after the other that are run (default: {SEQUENTIAL})",
    )
    some.add_argument("--all", action="store_true", help="run one for every learner")
    return parser


def main() -> None:
    """Measure, then print a table or JSON."""
    options = _parser().parse_args()
    try:
        sweep, longer = _sweep(options)
        processes = sweep.learners if options.all else min(options.sequential, sweep.learners)
        found = figures(sweep, *measure(sweep, processes), longer)
    except UserError as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(found))
    else:
        show(found, sweep, Console(width=None if sys.stdout.isatty() else 150))


if __name__ == "__main__":
    main()

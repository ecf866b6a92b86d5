"""Whether every family learns: a short MAML-TRPO run of each preset, beside random actions.

python scripts/learning_table.py --output runs/learning_table --csv learning_table.csv

Trains configs/*/maml_trpo.yaml with the same small budget for all (--iterations, --tasks,
--episodes), one seed each, evaluates adaptation on 40 held-out test tasks, and prints a table of
mean returns: of uniformly random actions, of the initial policy, of the trained policy before
adaptation, after one and after three steps. A run that is complete in OUTPUT is evaluated again,
not trained again; one that was stopped goes on.
"""

import argparse
import csv
import sys
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
from rich.console import Console

from metarl.config import load_config
from metarl.errors import UserError, nearest
from metarl.evaluation.curves import AdaptationCurve
from metarl.evaluation.run import evaluate_run
from metarl.evaluation.statistics import bootstrap_interval
from metarl.jobs import Job
from metarl.launch import find_presets
from metarl.simulation import TaskVectorEnv
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import Tasks, make
from metarl.training.run_folder import RunFolder

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
"""Where the presets are."""


@dataclass(frozen=True)
class Row:
    """One family; returns are means over test tasks and their episodes."""

    family: str
    random_actions: float
    untrained: float
    """Of the initial policy, in the first iteration, on its training tasks."""
    before: float
    after_1: float
    after_3: float
    gain_1: float
    gain_1_low: float
    """95 % bootstrap interval over tasks of the mean gain from one step, lower end."""
    gain_1_high: float
    iterations: int
    environment_steps: int
    minutes: float
    """Wall time of training; 0 where the run was there already."""


def random_return(family: SimulatedFamily, tasks: Tasks, episodes: int, seed: int) -> float:
    """Mean return of uniformly random actions over these tasks."""
    env = TaskVectorEnv(family, len(tasks), episodes)
    env.reset(seed=seed, options={"tasks": tasks})
    env.action_space.seed(seed)
    total = np.zeros(env.num_envs)
    for _ in range(family.horizon):
        total += env.step(env.action_space.sample())[1]
    return float(total.mean())


def train(job: Job, console: Console) -> float:
    """Train as far as that is not done; minutes of wall time. Exits after Ctrl-C."""
    started = time.perf_counter()
    signal_number = job.train(console)
    if signal_number:
        sys.exit(128 + signal_number)
    return (time.perf_counter() - started) / 60.0


def untrained_return(run: RunFolder) -> float:
    """Mean return of the first iteration before adaptation."""
    with run.metrics_file.open(newline="", encoding="utf-8") as file:
        return float(next(csv.DictReader(file))["train/return_pre"])


def gain_interval(curve: AdaptationCurve) -> tuple[float, float]:
    """95 % bootstrap interval of the mean gain from one step, over tasks."""
    low, high = bootstrap_interval(
        curve.returns[:, 1] - curve.returns[:, 0],
        np.mean,
        seed=0,
        distinct_tasks=curve.details["distinct_tasks"],
    )
    return float(low), float(high)


def measure(name: str, path: Path, options: argparse.Namespace, console: Console) -> Row:
    """Train and evaluate one preset."""
    run = RunFolder(Path(options.output) / name)
    overrides = {
        "run.seed": options.seed,
        "run.output": str(run.path),
        "run.iterations": options.iterations,
        "run.evaluate_every": 0,
        "tasks.tasks_per_iteration": options.tasks,
        "tasks.episodes_per_task": options.episodes,
        "evaluation.steps": 3,
        "evaluation.tasks": 40,
        "evaluation.episodes": 20,
    }
    config = load_config(path, overrides)
    minutes = train(Job(name, config, run), console)
    curve, _ = evaluate_run(run.path)
    family = make(config.tasks.family, **config.tasks.options)
    assert isinstance(family, SimulatedFamily)
    tasks = family.split("test").cycle(40)
    mean = curve.mean
    gain_low, gain_high = gain_interval(curve)
    return Row(
        family=family.name,
        random_actions=random_return(family, tasks, 20, options.seed),
        untrained=untrained_return(run),
        before=float(mean[0]),
        after_1=float(mean[1]),
        after_3=float(mean[3]),
        gain_1=float(mean[1] - mean[0]),
        gain_1_low=gain_low,
        gain_1_high=gain_high,
        iterations=options.iterations,
        environment_steps=int(curve.details["training_environment_steps"]),
        minutes=minutes,
    )


def write_csv(rows: list[Row], path: str) -> None:
    """One line for each family."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Row)])
        writer.writeheader()
        writer.writerows(asdict(row) for row in rows)


def show(rows: list[Row]) -> None:
    """A Markdown table."""
    headings = ["family", "random actions", "untrained", "trained, before", "1 step", "3 steps"]
    headings += ["gain from 1 step", "iterations", "minutes"]
    print(f"| {' | '.join(headings)} |")
    print("|---" * len(headings) + "|")
    for row in rows:
        gain = f"{row.gain_1:.1f} ({row.gain_1_low:.1f} to {row.gain_1_high:.1f})"
        numbers = (row.random_actions, row.untrained, row.before, row.after_1, row.after_3)
        cells = [row.family, *(f"{number:.1f}" for number in numbers), gain]
        cells += [str(row.iterations), f"{row.minutes:.1f}"]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    """Train, evaluate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", default="runs/learning_table", help="default: %(default)s")
    parser.add_argument("--csv", metavar="FILE", help="write the rows there, after every family")
    parser.add_argument("--presets", nargs="+", metavar="FOLDER", help="default: all")
    for name, value, text in (
        ("iterations", 60, "meta-iterations"),
        ("tasks", 20, "tasks in a meta-batch"),
        ("episodes", 10, "episodes of each task per adaptation step"),
        ("seed", 1, "seed"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text}; default: {value}")
    options = parser.parse_args()
    presets = {
        name.partition("/")[0]: path
        for name, path in find_presets(CONFIGS, "*").items()
        if name.endswith("/maml_trpo")
    }
    rows: list[Row] = []
    console = Console(stderr=True)
    try:
        for name in options.presets or presets:
            if name not in presets:
                raise UserError(f"unknown preset {name!r}; {nearest(name, presets)}")
            console.rule(name)
            rows.append(measure(name, presets[name], options, console))
            if options.csv:
                write_csv(rows, options.csv)
    except UserError as error:
        sys.exit(f"error: {error}")
    show(rows)


if __name__ == "__main__":
    main()

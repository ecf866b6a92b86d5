"""Tune Reptile-PPO on validation tasks, since no settings for RL exist in print.

python scripts/tune_reptile.py configs/point_navigation/reptile_ppo.yaml --csv grid.csv

First a grid over the inner updates, their learning rate and their clipping; then, from the best
point of the grid, each further change alone. Every point trains with the same budget of
environment steps (--environment-steps) and one seed, and is evaluated on the validation tasks; its
score is the mean return after 1 to 5 adaptation steps. Points that are complete in OUTPUT are not
computed again, and one that was stopped goes on.

python scripts/tune_reptile.py configs/half_cheetah_dir/reptile_ppo.yaml --best-of grid.csv

instead measures the points of such a table on another family, the best first, or only the best N
(--points N).
"""

import argparse
import csv
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from metarl.config import Config, load_config
from metarl.errors import UserError
from metarl.jobs import Job
from metarl.training.run_folder import RunFolder

BASE: dict[str, Any] = {
    "inner_updates": 1,
    "adaptation.learning_rate": 3e-3,
    "adaptation.clip": 0.2,
    "adaptation.epochs": 5,
    "adaptation.optimizer": "adam",
    "adaptation.baseline": "linear",
    "adaptation.entropy_bonus": 0.0,
    "epsilon": 1.0,
    "outer_optimizer": "sgd",
}
"""What a point sets, below `algorithm`; all else is as the preset says."""
GRID: dict[str, list[Any]] = {
    "inner_updates": [1, 3],
    "adaptation.learning_rate": [1e-3, 3e-3, 1e-2],
    "adaptation.clip": [0.2, 0.5],
}
"""The first stage: all combinations."""
CHANGES: list[dict[str, Any]] = [
    {"inner_updates": 5},
    {"epsilon": 0.3},
    {"outer_optimizer": "adam", "epsilon": 1e-2},
    {"adaptation.baseline": "network"},
    {"adaptation.epochs": 10},
    {"adaptation.optimizer": "sgd", "adaptation.learning_rate": 0.1},
    {"adaptation.clip": 1.0},
    {"adaptation.entropy_bonus": 0.05},
    {"adaptation.entropy_bonus": 0.2},
    {"adaptation.entropy_bonus": 0.2, "adaptation.baseline": "network"},
]
"""The second stage: each alone, on top of the best of the first."""


@dataclass(frozen=True)
class Point:
    """Settings of one run and what they came to."""

    stage: int
    settings: dict[str, Any]
    environment_steps: int
    returns: list[float]
    """Mean validation returns after 0, 1, ... adaptation steps."""

    @property
    def score(self) -> float:
        """Mean return over the adaptation steps, without that before adaptation."""
        return sum(self.returns[1:]) / len(self.returns[1:])


def grid() -> list[dict[str, Any]]:
    """The first stage's settings."""
    return [
        {**BASE, **dict(zip(GRID, values, strict=True))}
        for values in itertools.product(*GRID.values())
    ]


def best_of(path: str) -> list[dict[str, Any]]:
    """The settings in a table that `write_csv` wrote, from the best to the worst."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: -float(row["score"]))
    return [{key: type(value)(row[key]) for key, value in BASE.items()} for row in rows]


def name_of(settings: dict[str, Any]) -> str:
    """What differs from `BASE`, as a folder name."""
    changed = {key: value for key, value in settings.items() if value != BASE[key]}
    return "_".join(f"{key.rpartition('.')[2]}-{value}" for key, value in changed.items()) or "base"


def configuration(preset: Path, settings: dict[str, Any], options: argparse.Namespace) -> Config:
    """The preset with these settings, the budget, and validation tasks."""
    overrides = {f"algorithm.{key}": value for key, value in settings.items()}
    overrides |= {
        "run.seed": options.seed,
        "run.iterations": 1_000_000,
        "run.environment_steps": options.environment_steps,
        "run.evaluate_every": 0,
        "run.device": options.device,
        "evaluation.split": "validation",
        "evaluation.inner_learning_rates": None,
        "evaluation.episodes": options.episodes,
    }
    return load_config(preset, overrides)


def measure(
    stage: int, settings: dict[str, Any], options: argparse.Namespace, console: Console
) -> Point:
    """Train and evaluate one point as far as that is not done."""
    config = configuration(options.preset, settings, options)
    run = RunFolder(Path(options.output) / config.tasks.family / name_of(settings))
    job = Job(run.path.name, config, run)
    stopped_by = job.train(console)
    if stopped_by:
        sys.exit(128 + stopped_by)
    curve = job.evaluate()
    steps = int(curve.details["training_environment_steps"])
    point = Point(stage, settings, steps, [float(value) for value in curve.mean])
    console.print(f"{run.path.name}: {point.score:.2f}", highlight=False)
    return point


def write_csv(family: str, points: list[Point], path: str) -> None:
    """One line for each point, in the order in which they were computed."""
    steps = range(len(points[0].returns))
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        columns = ["family", "stage", *BASE, "environment_steps"]
        writer.writerow([*columns, *(f"return_{step}" for step in steps), "score"])
        for point in points:
            cells = [family, point.stage, *point.settings.values(), point.environment_steps]
            writer.writerow([*cells, *(f"{v:.4f}" for v in (*point.returns, point.score))])


def tune(options: argparse.Namespace, console: Console) -> list[Point]:
    """Both stages, or points of another table; the table is written after every point."""
    family = load_config(options.preset).tasks.family
    points: list[Point] = []

    def add(stage: int, settings: dict[str, Any]) -> None:
        points.append(measure(stage, settings, options, console))
        if options.csv:
            write_csv(family, points, options.csv)

    if options.best_of:
        for settings in best_of(options.best_of)[: options.points]:
            add(1, settings)
        return points
    for settings in grid()[: options.points]:
        add(1, settings)
    best = max(points, key=lambda point: point.score).settings
    for change in CHANGES[: options.points]:
        add(2, best | change)
    return points


def main() -> None:
    """Tune, then print the points from the best to the worst."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("preset", type=Path, help="of reptile_ppo")
    parser.add_argument("--output", default="runs/tune_reptile", help="default: %(default)s")
    parser.add_argument("--csv", metavar="FILE", help="write the points there, after every one")
    for name, value, text in (
        ("environment-steps", 2_000_000, "budget of every point"),
        ("episodes", 20, "episodes of each validation task per adaptation step"),
        ("seed", 1, "seed"),
    ):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"{text}; default: {value}")
    parser.add_argument("--points", type=int, metavar="N", help="only the first N of each stage")
    parser.add_argument("--best-of", metavar="CSV", help="take the points of this table instead")
    parser.add_argument("--device", default="cpu", help="default: %(default)s")
    options = parser.parse_args()
    try:
        points = tune(options, Console(stderr=True))
    except UserError as error:
        sys.exit(f"error: {error}")
    for point in sorted(points, key=lambda point: -point.score):
        print(f"{point.score:9.3f}  {name_of(point.settings)}")


if __name__ == "__main__":
    main()

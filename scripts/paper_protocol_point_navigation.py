"""Evaluate a run of 2D navigation the way the MAML paper's code did.

python scripts/paper_protocol_point_navigation.py runs/MY_RUN

The paper's test script (cbfinn/maml_rl, maml_examples/test_maml_point.py, and rllab's vectorised
sampler) differs from our protocol in what it calls a batch and a return:

- its 40 goals are numpy's, seed 1, uniform in the square;
- an adaptation step uses 4 000 transitions, not 20 episodes: 40 environments run side by side, each
  starts anew when its episode ends, and sampling stops when the completed episodes hold 4 000;
- the return is the mean over these completed episodes, so a goal that is reached in 5 steps counts
  many short episodes, and an episode that is still running at the end counts nothing.

Step sizes are those of the run's configuration (the paper's 0.1, then 0.05).
"""

import argparse
import csv
import dataclasses
import io
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from metarl.algorithms.maml_trpo import MAMLTRPO
from metarl.cli import exit_with
from metarl.files import write_text_atomically
from metarl.policies import stack
from metarl.sampling import Trajectories
from metarl.tasks import Tasks
from metarl.training.restore import open_run, restore

GOALS = 40
SLOTS = 40
"""Environments that run side by side."""
TRANSITIONS = 4_000
EPISODES_PER_SLOT = 16
"""Drawn beforehand: more than an environment completes, but for goals next to the start."""


def completed(lengths: Tensor) -> Tensor:
    """Which episodes are completed when the sampler stops, bool `[K, N]`.

    Args:
        lengths: of N = `SLOTS` * m episodes `[K, N]`; environment s runs episodes s, s + SLOTS, ...
    """
    slots = lengths.view(len(lengths), -1, SLOTS)
    ends = slots.cumsum(dim=1)
    chosen = []
    for length, end in zip(slots.flatten(1), ends.flatten(1), strict=True):
        order = end.argsort(stable=True)
        reached = (length[order].cumsum(0) >= TRANSITIONS).nonzero()
        last = end[order[reached[0, 0]]] if len(reached) else end.max()
        chosen.append(end <= last)
    return torch.stack(chosen)


def keep(trajectories: Trajectories, episodes: Tensor) -> Trajectories:
    """The same trajectories in which only these episodes took place."""
    mask = trajectories.mask & episodes.unsqueeze(-1)
    return dataclasses.replace(trajectories, mask=mask)


def evaluate(path: str, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns `[tasks, steps + 1]` by the paper's code, and of the same episodes by ours."""
    run, experiment = open_run(path)
    restore(experiment, run)
    config, learner = experiment.config, experiment.learner
    assert isinstance(learner, MAMLTRPO)
    goals = np.random.RandomState(1).uniform(-0.5, 0.5, (GOALS, 2))
    sampler = experiment.sampler(GOALS, SLOTS * EPISODES_PER_SLOT)
    sampler.begin(Tasks({"goal": torch.from_numpy(goals)}), "paper", config.evaluation.seed, 0)
    rates = config.evaluation.inner_learning_rates or [config.algorithm.inner_learning_rate]
    policies = stack(learner.parameters, GOALS)
    theirs, ours = [], []
    for step in range(steps + 1):
        trajectories = sampler.collect(policies)
        chosen = completed(trajectories.mask.sum(dim=-1))
        returns = trajectories.episode_returns.double()
        theirs.append((returns * chosen).sum(dim=1) / chosen.sum(dim=1))
        ours.append(returns.mean(dim=1))
        if step == steps:
            break
        batch = learner.prepare(keep(trajectories, chosen), policies)
        policies = learner.adapt_in_chunks(policies, batch, rates[min(step, len(rates) - 1)])
    return torch.stack(theirs, dim=1).numpy(), torch.stack(ours, dim=1).numpy()


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", nargs="+", help="run folders of PointNavigation-v0 with MAML-TRPO")
    parser.add_argument("--steps", type=int, default=3, help="adaptation steps (default: 3)")
    parser.add_argument("--csv", metavar="FILE", help="write the returns of every task there")
    options = parser.parse_args()
    if options.steps < 0:
        parser.error(f"argument --steps: must not be negative, got {options.steps}")
    points = [f"{step} steps" for step in range(options.steps + 1)]
    rows: list[list[object]] = [["run", "mean over", "task", *points]]
    table = Table(title="mean return after adaptation, the paper's 40 goals")
    for heading in ("run", "mean over", *points):
        table.add_column(heading, justify="right" if heading in points else "left")
    for path in options.run:
        theirs, ours = evaluate(path, options.steps)
        for label, values in (("completed episodes", theirs), ("all episodes", ours)):
            name = Path(path).resolve().name
            table.add_row(name, label, *(f"{value:.2f}" for value in values.mean(axis=0)))
            rows += [[name, label, task, *row] for task, row in enumerate(values)]
    Console().print(table)
    if options.csv:
        text = io.StringIO(newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        write_text_atomically(options.csv, text.getvalue())
    return 0


if __name__ == "__main__":
    exit_with(main)

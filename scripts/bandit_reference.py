"""Bernoulli bandits: the best that is possible, Thompson sampling, and trained RL^2 runs.

python scripts/bandit_reference.py --run runs/MY_RUN

The return of a trial is the number of rewards in n pulls of k arms whose probabilities are drawn
from U[0, 1]^k, as in RL^2 (Duan et al. 2016), section 3.1 and table 1:

- Bayes-optimal: exact dynamic programming over the posteriors of the arms, undiscounted; no learner
  has a higher expected return;
- Thompson sampling, and the arm of the highest posterior mean (greedy), both with the true prior;
- random: n / 2.

All play the same fresh draws from the prior, which is what the paper's numbers are about, and the
fixed test tasks. Intervals are 95 %, normal, over tasks.
"""

import argparse
import functools
import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from metarl.algorithms.rl2_ppo import RL2PPO
from metarl.cli import exit_with
from metarl.errors import UserError
from metarl.tasks import Tasks, make, stream
from metarl.training.experiment import Experiment
from metarl.training.restore import open_run, restore

FAMILY = "BernoulliBandit-v0"
MOST_PULLS = 15
"""The number of posteriors grows fast: 3,519 for k = 5 and n = 10."""
TRIALS_PER_TEST_TASK = 100

PAPER = {"random": 5.0, "Thompson sampling": 5.7, "greedy": 6.6, "Gittins index": 6.6, "RL^2": 6.7}
"""Table 1 of the paper for k = 5, n = 10: means over 1,000 draws."""

Arms = tuple[tuple[int, int], ...]
"""Successes and failures of each arm."""
Chooser = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]
"""(counts `[n, k, 2]` of successes and failures, pulls left, random stream) -> arms `[n]`."""


@functools.cache
def value(arms: Arms, pulls: int) -> float:
    """Expected return of the best strategy, from posteriors Beta(1 + s, 1 + f) of sorted arms."""
    return max(action_values(arms, pulls)) if pulls else 0.0


def action_values(arms: Arms, pulls: int) -> list[float]:
    """Expected return after pulling each arm, then acting as well as possible."""
    values: list[float] = []
    for index, (successes, failures) in enumerate(arms):
        if index and arms[index] == arms[index - 1]:
            values.append(values[-1])
            continue
        mean = (successes + 1) / (successes + failures + 2)
        rest = arms[:index] + arms[index + 1 :]
        won = value(tuple(sorted((*rest, (successes + 1, failures)))), pulls - 1)
        lost = value(tuple(sorted((*rest, (successes, failures + 1)))), pulls - 1)
        values.append(mean * (1.0 + won) + (1.0 - mean) * lost)
    return values


def bayes_optimal(counts: np.ndarray, left: int, random: np.random.Generator) -> np.ndarray:
    """The arm of the highest expected return."""

    @functools.cache
    def best(arms: Arms) -> int:
        known = tuple(sorted(arms))
        values = action_values(known, left)
        return arms.index(known[values.index(max(values))])

    return np.array([best(tuple(map(tuple, arms))) for arms in counts.tolist()])


def thompson_sampling(counts: np.ndarray, left: int, random: np.random.Generator) -> np.ndarray:
    """The best arm of one draw from the posterior."""
    return random.beta(counts[..., 0] + 1, counts[..., 1] + 1).argmax(axis=1)


def greedy(counts: np.ndarray, left: int, random: np.random.Generator) -> np.ndarray:
    """The arm of the highest posterior mean."""
    return ((counts[..., 0] + 1) / (counts.sum(axis=-1) + 2)).argmax(axis=1)


def uniform(counts: np.ndarray, left: int, random: np.random.Generator) -> np.ndarray:
    """Any arm."""
    return random.integers(counts.shape[1], size=len(counts))


def play(choose: Chooser, means: np.ndarray, pulls: int, random: np.random.Generator) -> np.ndarray:
    """Returns `[n]` of one trial each of bandits `[n, k]`."""
    counts = np.zeros((*means.shape, 2), dtype=np.int64)
    rows = np.arange(len(means))
    for pull in range(pulls):
        arms = choose(counts, pulls - pull, random)
        lost = random.random(len(means)) >= means[rows, arms]
        counts[rows, arms, lost.astype(np.int64)] += 1
    return counts[..., 0].sum(axis=1)


CHOOSERS: dict[str, Chooser] = {
    "random": uniform,
    "Thompson sampling": thompson_sampling,
    "greedy": greedy,
    "Bayes-optimal": bayes_optimal,
}


def play_run(experiment: Experiment, tasks: Tasks, trials: int, seed: int) -> np.ndarray:
    """Returns `[tasks]` of a trained learner, means over its trials of each task."""
    learner = experiment.learner
    assert isinstance(learner, RL2PPO)
    sampler = experiment.sampler(len(tasks), trials)
    sampler.begin(tasks, "bandit reference", seed, 0)
    episodes = learner.adaptation(sampler, learner.config.episodes_per_trial - 1)
    return torch.stack([episode.returns for episode in episodes]).sum(dim=0).numpy()


def load(path: str) -> Experiment:
    """The experiment of a run folder, as its last checkpoint has it."""
    run, experiment = open_run(path)
    if experiment.family.name != FAMILY or not isinstance(experiment.learner, RL2PPO):
        raise UserError(f"{path} is no run of rl2_ppo on {FAMILY}; train one with that preset")
    restore(experiment, run)
    return experiment


def size_of(experiments: dict[str, Experiment], options: argparse.Namespace) -> tuple[int, int]:
    """k and n: those of the runs, which must agree, else of the options."""
    sizes = {
        (
            e.family.parameters["means"].shape[0],
            e.family.horizon * e.config.algorithm.episodes_per_trial,
        )
        for e in experiments.values()
    }
    if len(sizes) > 1:
        raise UserError(f"the runs have different numbers of arms and pulls: {sorted(sizes)}")
    arms, pulls = sizes.pop() if sizes else (options.arms, options.pulls)
    if pulls > MOST_PULLS:
        raise UserError(
            f"{pulls} pulls have too many posteriors; at most {MOST_PULLS} can be solved"
        )
    return arms, pulls


def summary(returns: np.ndarray, optimum: float) -> dict[str, float]:
    """Mean over tasks, half the width of its interval, and the mean's share of `optimum`."""
    half = 1.96 * float(returns.std(ddof=1)) / math.sqrt(len(returns))
    mean = float(returns.mean())
    return {"mean": mean, "half_width": half, "share_of_optimum": mean / optimum}


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Returns of all strategies and runs, on fresh draws and on the test tasks."""
    experiments = {path: load(path) for path in options.run}
    arms, pulls = size_of(experiments, options)
    optimum = value(((0, 0),) * arms, pulls)
    family = make(FAMILY, arms=arms, pulls=1)
    splits = {
        "prior": (family.sample(options.seed, 0, options.tasks), 1),
        "test": (family.split("test"), TRIALS_PER_TEST_TASK),
    }
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for split, (tasks, trials) in splits.items():
        means = np.repeat(tasks["means"].numpy(), trials, axis=0)
        for name, choose in CHOOSERS.items():
            random = stream(options.seed, f"{split}/{name}")
            returns = play(choose, means, pulls, random).reshape(-1, trials).mean(axis=1)
            rows.setdefault(name, {})[split] = summary(returns, optimum)
        for path, experiment in experiments.items():
            returns = play_run(experiment, tasks, trials, options.seed)
            rows.setdefault(path, {})[split] = summary(returns, optimum)
    return {"arms": arms, "pulls": pulls, "bayes_optimal_exact": optimum, "returns": rows}


def show(result: dict[str, Any], tasks: int) -> None:
    """Print the table."""
    arms, pulls = result["arms"], result["pulls"]
    table = Table(title=f"Bernoulli bandits, k = {arms}, n = {pulls}: rewards in a trial")
    headings = ("strategy", f"{tasks:,} draws from the prior", "of the optimum", "100 test tasks")
    for heading in (*headings, "RL^2 paper"):
        table.add_column(heading, justify="left" if heading == "strategy" else "right")
    published = PAPER if (arms, pulls) == (5, 10) else {}
    for name, of in result["returns"].items():
        prior, test = of["prior"], of["test"]
        paper = published.get(name if name in CHOOSERS else "RL^2")
        table.add_row(
            name,
            f"{prior['mean']:.3f} ± {prior['half_width']:.3f}",
            f"{prior['share_of_optimum']:.1%}",
            f"{test['mean']:.3f} ± {test['half_width']:.3f}",
            "" if paper is None else f"{paper}",
        )
    exact = f"{result['bayes_optimal_exact']:.4f}"
    table.add_row("Bayes-optimal, exact", exact, "100.0%", "", "")
    if "Gittins index" in published:
        table.add_row("Gittins index", "", "", "", f"{published['Gittins index']}")
    Console().print(table)


def main() -> int:
    """Print the table, or JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", nargs="+", default=[], help="run folders of rl2_ppo")
    parser.add_argument("--arms", type=int, default=5, help="k without a run (default: 5)")
    parser.add_argument("--pulls", type=int, default=10, help="n without a run (default: 10)")
    parser.add_argument("--tasks", type=int, default=20_000, help="draws (default: 20000)")
    parser.add_argument("--seed", type=int, default=1_000_000, help="of draws and rewards")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.tasks < 2 or options.arms < 2 or options.pulls < 1:
        parser.error("--tasks and --arms must be at least 2, --pulls at least 1")
    result = compare(options)
    if options.json:
        print(json.dumps(result, indent=2))
    else:
        show(result, options.tasks)
    return 0


if __name__ == "__main__":
    exit_with(main)

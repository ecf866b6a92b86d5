"""How much stacking saves, and what each learner costs beside its physics.

  stacked_ppo_over_loop          one iteration (rollout and update) of PPO on 40 tasks with 20
                                 episodes each: one stacked learner, against 40 separate ones in a
                                 loop in the same process, each with its own environments,
                                 parameters and optimiser and all threads; by family
  stacked_ppo_update_over_loop   the update alone
  meta_iteration_over_physics    seconds of one meta-iteration, per second of its physics alone: the
                                 bare engine in the very same motion; by learner, each with its
                                 preset configs/half_cheetah_vel/LEARNER.yaml where there is one,
                                 else with its defaults

The separate learners may use threads inside torch's operators, where that makes them faster. A
ratio is taken of two measurements next to each other, in alternating order; the figure is the
median over repetitions, and `ranges` holds the smallest and the largest. Run it on a machine that
does nothing else.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmark_pairs import Pair, machine, operator_threads, positive, progress, repeat, spread
from benchmark_tools import SEED, MetaIteration, bare_engine, make_experiment, record_episodes
from rich.console import Console
from rich.table import Table

from metarl.algorithms import ALGORITHMS
from metarl.algorithms.ppo import ActorCritic, PPOConfig, StackedPPO
from metarl.config import Config, from_mapping, load_config
from metarl.errors import UserError, nearest
from metarl.policies import Parameters, stack
from metarl.sampling import Trajectories
from metarl.simulation.cpus import usable_cpus
from metarl.tasks import stream
from metarl.training.experiment import Experiment
from metarl.workers import Workers

CONFIGS = Path(__file__).parents[1] / "configs"
FAMILY, FOLDER = "HalfCheetahVel-v0", "half_cheetah_vel"
"""Of the learners' meta-iterations."""
STACKED_FAMILIES = ("HalfCheetahVel-v0", "PointNavigation-v0")
ITERATION, UPDATE = "stacked_ppo_over_loop", "stacked_ppo_update_over_loop"
LEARNERS = "meta_iteration_over_physics"
TARGETS = {ITERATION: "≥ 3"}
MOST_REPETITIONS = 3
"""Of the learners."""


class Separate:
    """So many PPO learners of equal parts of the tasks; one part is a stacked learner."""

    def __init__(self, experiment: Experiment, parts: int, torch_threads: int):
        size = experiment.config.tasks
        self.experiment = experiment
        self.torch_threads = torch_threads
        self.tasks = size.tasks_per_iteration // parts
        self.samplers = [
            experiment.sampler(self.tasks, size.episodes_per_task) for _ in range(parts)
        ]
        self.workers = Workers(experiment.threads)
        self.actor_critic = ActorCritic(experiment.policy, PPOConfig())
        self._start = self.actor_critic.initial_parameters(stream(SEED, "initial parameters"))
        every = experiment.family.sample(SEED, 0, size.tasks_per_iteration)
        parts_of_tasks = range(0, size.tasks_per_iteration, self.tasks)
        self._tasks = [every[first : first + self.tasks] for first in parts_of_tasks]
        self._trajectories: list[Trajectories] = []

    def iteration_rate(self) -> float:
        """Environment steps/s of a rollout and an update of every learner, one after another."""
        learners = self._learners()
        with operator_threads(self.torch_threads):
            started = time.perf_counter()
            for part, learner in enumerate(learners):
                self._update(learner, part, self._collect(part, learner.parameters))
            seconds = time.perf_counter() - started
        return self._environment_steps / seconds

    def update_rate(self) -> float:
        """Environment steps/s of the updates alone."""
        learners = self._learners()
        if not self._trajectories:
            rollouts = enumerate(learners)
            self._trajectories = [self._collect(n, learner.parameters) for n, learner in rollouts]
        with operator_threads(self.torch_threads):
            started = time.perf_counter()
            for part, learner in enumerate(learners):
                self._update(learner, part, self._trajectories[part])
            seconds = time.perf_counter() - started
        return self._environment_steps / seconds

    @property
    def _environment_steps(self) -> int:
        return sum(sampler.environment_steps for sampler in self.samplers)

    def _learners(self) -> list[StackedPPO]:
        """New ones, so that every repetition does the same."""
        start = stack(self._start, self.tasks)
        return [StackedPPO(self.actor_critic, start, "cpu", self.workers) for _ in self.samplers]

    def _collect(self, part: int, parameters: Parameters) -> Trajectories:
        self.samplers[part].begin(self._tasks[part], "benchmark", SEED, part)
        return self.samplers[part].collect(parameters)

    def _update(self, learner: StackedPPO, part: int, trajectories: Trajectories) -> None:
        learner.update(trajectories, self.samplers[part].generators("minibatches"))


def stacked_pairs(family: str, scale: dict[str, int], threads: int) -> list[Pair]:
    """One stacked learner against one for each task, in a whole iteration and in its update."""
    progress(f"setting up stacked and separate learners of {family}")
    tasks = {"family": family, "tasks_per_iteration": scale["tasks"]}
    tasks |= {"episodes_per_task": scale["episodes"]}
    content = {
        "tasks": tasks,
        "policy": {"normalize_observations": family != "PointNavigation-v0"},
        "algorithm": {"name": "ppo_from_scratch"},
        "run": {"threads": threads, "device": "cpu"},
    }
    experiment, _ = make_experiment(from_mapping(content, "benchmark"), scale.get("horizon"))
    stacked = Separate(experiment, 1, torch_threads=1)
    loop = fastest_loop(experiment, scale["tasks"], threads)
    label = f"{scale['tasks']} learners in a loop, {loop.torch_threads} threads in an operator"
    return [
        Pair(f"{ITERATION}/{family}", label, stacked.iteration_rate, loop.iteration_rate),
        Pair(f"{UPDATE}/{family}", label, stacked.update_rate, loop.update_rate),
    ]


def fastest_loop(experiment: Experiment, tasks: int, threads: int) -> Separate:
    """Separate learners with one thread in torch's operators, or with all: what is faster."""
    loop = Separate(experiment, tasks, torch_threads=1)
    rates = {}
    for count in dict.fromkeys((1, threads, 1, threads)):
        loop.torch_threads = count
        rates[count] = max(loop.update_rate(), loop.update_rate())
    loop.torch_threads = max(rates, key=lambda count: rates[count])
    return loop


def learner_pair(name: str, scale: dict[str, int], threads: int) -> Pair:
    """A learner's meta-iteration against its physics."""
    progress(f"recording the episodes of {name}")
    experiment, sampler = make_experiment(configuration(name, scale, threads), scale.get("horizon"))
    iteration = MetaIteration(experiment, sampler)
    episodes = record_episodes(sampler, iteration.rate)
    simulations = len(episodes[0].qpos)
    engine = bare_engine(experiment.family, simulations, threads)
    label = f"{sum(e.steps for e in episodes)} steps of the {engine.label}"
    return Pair(
        f"{LEARNERS}/{name}", label, iteration.rate, lambda: engine.rate(episodes), inverse=True
    )


def configuration(name: str, scale: dict[str, int], threads: int) -> Config:
    """The learner's preset, or its defaults with the size of the others."""
    overrides: dict[str, Any] = {"run.threads": threads, "run.device": "cpu"}
    path = CONFIGS / FOLDER / f"{name}.yaml"
    if path.exists():
        if "horizon" in scale:  # tiny sizes
            overrides["tasks.tasks_per_iteration"] = scale["tasks"]
            overrides["tasks.episodes_per_task"] = scale["episodes"]
        return load_config(path, overrides)
    tasks: dict[str, Any] = {"family": FAMILY, "tasks_per_iteration": scale["tasks"]}
    tasks |= {"episodes_per_task": scale["episodes"]}
    content = {"tasks": tasks, "policy": {"normalize_observations": True}}
    content["algorithm"] = {"name": name}
    try:
        return from_mapping(content, f"defaults of {name}", overrides)
    except UserError:  # it remembers tasks: as many as there are in an iteration
        tasks["training_tasks"] = scale["tasks"]
        return from_mapping(content, f"defaults of {name}", overrides)


def measure(options: argparse.Namespace, threads: int) -> list[Pair]:
    """One part after another, so that little is held at once."""
    scale = {"tasks": options.tasks, "episodes": options.episodes}
    if options.quick:
        scale = {"tasks": 3, "episodes": 2, "horizon": 10}
    pairs: list[Pair] = []
    for family in STACKED_FAMILIES:
        found = stacked_pairs(family, scale, threads)
        repeat(found, options.repetitions)
        pairs += [pair.done() for pair in found]
    for name in options.learners:
        pair = learner_pair(name, scale, threads)
        repeat([pair], min(options.repetitions, MOST_REPETITIONS))
        pairs.append(pair.done())
    progress("")
    return pairs


def figures(pairs: Sequence[Pair]) -> dict[str, dict[str, Any]]:
    """Medians by figure and family or learner, and the smallest and largest of each."""
    medians: dict[str, dict[str, Any]] = {key: {} for key in (ITERATION, UPDATE, LEARNERS)}
    ranges: dict[str, Any] = {}
    for pair in pairs:
        key, _, name = pair.key.partition("/")
        medians[key][name] = round(statistics.median(pair.ratios), 4)
        ranges[pair.key] = [round(min(pair.ratios), 4), round(max(pair.ratios), 4)]
    return {**medians, "ranges": ranges}


def show(pairs: Sequence[Pair], threads: int, console: Console) -> None:
    """The table, and what it was measured on."""
    table = Table()
    for heading in ("figure", "compared with"):
        table.add_column(heading)
    for heading in ("ours, steps/s", "other, steps/s", "median (min .. max)", "target"):
        table.add_column(heading, justify="right")
    for pair in pairs:
        rates = [f"{statistics.median(column):,.0f}" for column in zip(*pair.rates, strict=True)]
        target = TARGETS.get(pair.key.partition("/")[0], "")
        table.add_row(pair.key, pair.label, *rates, spread(pair.ratios), target)
    console.print(table)
    console.print(machine(threads), highlight=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--learners",
        nargs="*",
        default=sorted(ALGORITHMS),
        metavar="NAME",
        help="whose meta-iteration is measured (default: all)",
    )
    for name, value, text in (
        ("repetitions", 5, f"of each pair; at most {MOST_REPETITIONS} of every learner"),
        ("tasks", 40, "stacked tasks, and those of learners without a preset"),
        ("episodes", 20, "of each of these tasks"),
    ):
        help_text = f"{text} (default: {value})"
        parser.add_argument(f"--{name}", type=positive, default=value, metavar="N", help=help_text)
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="of learners and physics (default: the CPUs this process may use)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing"
    )
    return parser


def main() -> None:
    """Measure, then print a table or JSON."""
    options = _parser().parse_args()
    threads = options.threads or usable_cpus()
    try:
        for name in options.learners:
            if name not in ALGORITHMS:
                raise UserError(f"unknown learner {name!r}; {nearest(name, ALGORITHMS)}")
        pairs = measure(options, threads)
    except UserError as error:
        sys.exit(f"error: {error}")
    if options.json:
        print(json.dumps(figures(pairs)))
    else:
        show(pairs, threads, Console(width=None if sys.stdout.isatty() else 150))


if __name__ == "__main__":
    main()

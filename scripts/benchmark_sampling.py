"""How fast sampling and meta-training are, against the bare engine and other vector environments.

On the half-cheetah preset (configs/half_cheetah_vel/maml_trpo.yaml), in environment steps/s:

  closed_loop_over_engine      rollouts of 40 different policies in 20 environments each, against
                               `mujoco.batch.Batch` alone in the very same motion, with the
                               settings that make it fastest
  over_gymnasium_sync          the same rollouts against Gymnasium's SyncVectorEnv,
  over_gymnasium_async         its AsyncVectorEnv, and
  over_envpool                 EnvPool (null where it is not installed), with the same actions
  meta_iteration_over_physics  seconds of one meta-iteration, per second of its physics alone
  peak_memory_gib              most memory that a process of two meta-iterations held

On one family of each robot, with 40 different policies of its own preset:

  robots                       closed loop over the bare engine, as above, in whole episodes,
                               by family
  robots_that_fall             the same where episodes end as the task says: untrained robots soon
                               fall, and both the loop and the engine step those that are left
  redraw_over_rollout          seconds to draw all parameters of 800 different hoppers anew and set
                               them up, per second of 200 steps of all 800 (bare engine)

On each world that is written as tensor functions (point robots, bandits, classic control, ...):

  worlds                       rollouts in whole episodes, in environment steps/s, against
                               Gymnasium's SyncVectorEnv of the same world with random actions

The table also compares with the engine as it comes, with MuJoCo's profiler on and all stages of
Gymnasium's model, which gives the same motion. A ratio is taken of two measurements next to each
other, in alternating order; the figure is the median over repetitions. Run it on a machine that
does nothing else.
"""

import argparse
import csv
import json
import multiprocessing
import statistics
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark_pairs import Pair, machine, positive, progress, repeat, spread
from benchmark_peers import QUICK, Scale, async_sizes, envpool_peer, gymnasium_peer
from benchmark_tools import (
    ClosedLoop,
    MetaIteration,
    Redraw,
    StockEngine,
    bare_engine,
    make_experiment,
    never_end,
    peak_memory_gib,
    record_episodes,
)
from benchmark_worlds import WORLDS, world_peer
from rich.console import Console
from rich.table import Table

from metarl.config import Config, load_config
from metarl.errors import UserError
from metarl.simulation.cpus import usable_cpus

CONFIGS = Path(__file__).parents[1] / "configs"
PRESET = CONFIGS / "half_cheetah_vel" / "maml_trpo.yaml"
TARGETS = {
    "closed_loop_over_engine": "≥ 0.90",
    "over_gymnasium_sync": "≥ 2.5",
    "over_gymnasium_async": "≥ 6",
    "over_envpool": "≥ 1.4",
    "meta_iteration_over_physics": "≤ 1.6",
    "peak_memory_gib": "≤ 2.5",
    "redraw_over_rollout": "≤ 0.02",
}
GROUP_TARGETS = {"robots": "≥ 0.85", "robots_that_fall": "", "worlds": "≥ 2"}
"""Groups of pairs, whose keys are `GROUP/FAMILY`."""
MOST_REPETITIONS = 3
"""Of every robot and world: there are many, and the slow ones take minutes."""
ROBOTS = (
    "half_cheetah_vel",
    "ant_dir2d",
    "humanoid_dir2d",
    "hopper_rand_params",
    "walker2d_vel",
    "swimmer_vel",
)
"""A preset for each robot."""
FALLING = ("ant_dir2d", "humanoid_dir2d", "hopper_rand_params", "walker2d_vel")
"""Those whose episodes end when the robot falls."""


@dataclass(frozen=True)
class Measurements:
    """All that one call of this script finds out."""

    pairs: list[Pair]
    peak_memory: list[float]
    """GiB, for each repetition."""
    config: Config
    threads: int

    def figures(self) -> dict[str, Any]:
        """The medians, by key; None for what is not installed; for groups, by family."""
        found = {pair.key: round(statistics.median(pair.ratios), 4) for pair in self.pairs}
        found["peak_memory_gib"] = round(statistics.median(self.peak_memory), 4)
        figures: dict[str, Any] = {key: found.get(key) for key in TARGETS}
        for group in GROUP_TARGETS:
            members = [key for key in found if key.startswith(f"{group}/")]
            figures[group] = {key.partition("/")[2]: found[key] for key in members}
        return figures


def measure(config: Config, scale: Scale, repetitions: int) -> Measurements:
    """Set everything up, then measure pair after pair in every repetition."""
    threads = config.run.threads or usable_cpus()
    with ExitStack() as stack:
        pairs = _prepare(config, scale, threads, stack)
        repeat(pairs, repetitions)
    for prepare in (*_robots(scale, threads), _redraw(scale, threads), *_worlds(scale, threads)):
        with prepare as pair:
            repeat([pair], min(repetitions, MOST_REPETITIONS))
            pairs.append(pair.done())
    peak_memory = []
    for repetition in range(repetitions):
        progress(f"peak memory, process {repetition + 1} of {repetitions}")
        peak_memory.append(_in_fresh_process(config, scale.horizon))
    progress("")
    return Measurements(pairs, peak_memory, config, threads)


def _preset(folder: str, scale: Scale, threads: int) -> Config:
    size = {"tasks.tasks_per_iteration": 40, "tasks.episodes_per_task": 20}
    overrides = {**size, **scale.overrides, "run.threads": threads}
    return load_config(CONFIGS / folder / "maml_trpo.yaml", overrides)


def _robots(scale: Scale, threads: int) -> Iterator[AbstractContextManager[Pair]]:
    """Each robot's closed loop and its engine, set up when it is its turn."""

    @contextmanager
    def prepare(folder: str, group: str) -> Iterator[Pair]:
        config = _preset(folder, scale, threads)
        progress(f"recording the episodes of {config.tasks.family}")
        falls = group == "robots_that_fall"
        horizon = scale.horizon if falls else scale.robot_horizon
        experiment, sampler = make_experiment(config, horizon)
        if not falls:
            never_end(experiment.family)
        closed_loop = ClosedLoop(experiment, sampler)
        episodes = record_episodes(sampler, closed_loop.rate)
        engine = bare_engine(experiment.family, len(episodes[0].qpos), threads)
        key = f"{group}/{config.tasks.family}"
        yield Pair(key, engine.label, closed_loop.rate, lambda: engine.rate(episodes))

    turns = [("robots", folder) for folder in ROBOTS]
    turns += [("robots_that_fall", folder) for folder in FALLING]
    return (prepare(folder, group) for group, folder in turns)


@contextmanager
def _redraw(scale: Scale, threads: int) -> Iterator[Pair]:
    """New parameters for every simulation, against the steps that they are drawn for."""
    redraw = Redraw(_preset("hopper_rand_params", scale, threads), scale.horizon, threads)
    label = "as many steps of the bare engine"
    yield Pair("redraw_over_rollout", label, redraw.rate, redraw.engine_rate, inverse=True)


def _worlds(scale: Scale, threads: int) -> Iterator[AbstractContextManager[Pair]]:
    """Each tensor world and its Gymnasium peer, set up when it is its turn."""
    folders = {
        load_config(path).tasks.family: path.parent.name
        for path in sorted(CONFIGS.glob("*/maml_trpo.yaml"))
    }

    @contextmanager
    def prepare(family: str) -> Iterator[Pair]:
        progress(f"choosing the fastest setting of the peer of {family}")
        horizon = scale.horizon if scale is QUICK else None
        experiment, sampler = make_experiment(_preset(folders[family], scale, threads), horizon)
        never_end(experiment.family)
        closed_loop = ClosedLoop(experiment, sampler)
        with world_peer(family, scale) as peer:
            yield Pair(
                f"worlds/{family}",
                peer.label,
                lambda: closed_loop.sustained_rate(scale.peer_seconds),
                peer.rate,
            )

    return (prepare(family) for family in WORLDS)


def _prepare(config: Config, scale: Scale, threads: int, stack: ExitStack) -> list[Pair]:
    # AsyncVectorEnv forks, which is safe only before there are threads: hence the order.
    progress("choosing the fastest setting of each vector environment")
    peers = {
        "over_gymnasium_async": gymnasium_peer("async", async_sizes(scale, usable_cpus()), scale),
        "over_gymnasium_sync": gymnasium_peer("sync", scale.sync_sizes, scale),
        "over_envpool": envpool_peer(scale, threads),
    }
    present = {key: stack.enter_context(peer) for key, peer in peers.items() if peer}

    progress("recording the episodes of a rollout and of a meta-iteration")
    experiment, sampler = make_experiment(config, scale.horizon)
    closed_loop = ClosedLoop(experiment, sampler)
    meta_iteration = MetaIteration(experiment, sampler)
    episodes = record_episodes(sampler, closed_loop.rate)
    meta_episodes = record_episodes(sampler, meta_iteration.rate)
    for peer in present.values():
        peer.act_as(episodes[0].controls)
    simulations = len(episodes[0].qpos)
    engine = bare_engine(experiment.family, simulations, threads)
    stock = StockEngine(experiment.family, simulations, threads)

    return [
        Pair(
            "closed_loop_over_engine",
            engine.label,
            closed_loop.rate,
            lambda: engine.rate(episodes),
        ),
        Pair("closed_loop", stock.label, closed_loop.rate, lambda: stock.rate(episodes)),
        *(Pair(key, peer.label, closed_loop.rate, peer.rate) for key, peer in present.items()),
        Pair(
            "meta_iteration_over_physics",
            f"its physics, {engine.label}",
            meta_iteration.rate,
            lambda: engine.rate(meta_episodes),
            inverse=True,
        ),
        Pair(
            "meta_iteration",
            f"its physics, {stock.label}",
            meta_iteration.rate,
            lambda: stock.rate(meta_episodes),
            inverse=True,
        ),
    ]


def _in_fresh_process(config: Config, horizon: int) -> float:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(peak_memory_gib, (config, horizon))


def show(measurements: Measurements, console: Console) -> None:
    """The table, and what it was measured on."""
    size = measurements.config.tasks
    rollout = f"{size.tasks_per_iteration} policies × {size.episodes_per_task} environments"
    table = Table(title=f"{size.family}, {rollout}")
    for heading in ("figure", "compared with"):
        table.add_column(heading)
    for heading in ("ours, steps/s", "other, steps/s", "median (min .. max)", "target"):
        table.add_column(heading, justify="right")
    for pair in measurements.pairs:
        rates = [f"{statistics.median(column):,.0f}" for column in zip(*pair.rates, strict=True)]
        table.add_row(pair.key, pair.label, *rates, spread(pair.ratios), _target(pair.key))
    memory = spread(measurements.peak_memory)
    table.add_row("peak_memory_gib", "", "", "", memory, TARGETS["peak_memory_gib"])
    console.print(table)
    console.print(machine(measurements.threads), highlight=False)


def _target(key: str) -> str:
    return TARGETS.get(key) or GROUP_TARGETS.get(key.partition("/")[0], "")


def write_csv(measurements: Measurements, path: str) -> None:
    """Every single measurement: one row per figure and repetition."""
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["figure", "repetition", "value", "steps_per_s", "other_steps_per_s", "other"]
        )
        for pair in measurements.pairs:
            for index, (ratio, rates) in enumerate(zip(pair.ratios, pair.rates, strict=True), 1):
                writer.writerow([pair.key, index, ratio, *rates, pair.label])
        for index, value in enumerate(measurements.peak_memory, 1):
            writer.writerow(["peak_memory_gib", index, value, "", "", ""])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object of the medians")
    parser.add_argument(
        "--repetitions",
        type=positive,
        default=5,
        metavar="N",
        help=f"of each pair (default: 5); at most {MOST_REPETITIONS} of every robot and world",
    )
    parser.add_argument(
        "--threads",
        type=positive,
        metavar="N",
        help="of our physics and learner, the bare engine and EnvPool "
        "(default: the CPUs this process may use)",
    )
    parser.add_argument("--csv", metavar="FILE", help="write every single measurement there")
    parser.add_argument(
        "--quick", action="store_true", help="tiny sizes: shows that it runs, measures nothing"
    )
    return parser


def main() -> None:
    """Measure, then print a table or JSON."""
    options = _parser().parse_args()
    scale = QUICK if options.quick else Scale()
    overrides = dict(scale.overrides)
    if options.threads:
        overrides["run.threads"] = options.threads
    try:
        measurements = measure(load_config(PRESET, overrides), scale, options.repetitions)
    except UserError as error:
        sys.exit(f"error: {error}")
    if options.csv:
        write_csv(measurements, options.csv)
    if options.json:
        print(json.dumps(measurements.figures()))
    else:
        show(measurements, Console(width=None if sys.stdout.isatty() else 150))


if __name__ == "__main__":
    main()

"""What `benchmark_sampling.py` measures of ours, and the bare engine that it is compared with.

Everything here answers `rate()` with its environment steps per second.
"""

# MuJoCo's compiled modules come without type stubs.
# pyright: reportAttributeAccessIssue=false

import contextlib
import copy
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar
from unittest import mock

import mujoco
import numpy as np
import torch
from mujoco.batch import Batch
from torch import Tensor

from metarl.config import Config
from metarl.policies import Parameters, Policy
from metarl.sampling import Sampler
from metarl.simulation import MujocoFamily, MujocoState, TaskVectorEnv, TensorFamily
from metarl.simulation.engine import SimulatedFamily
from metarl.simulation.mujoco import ASSETS, MujocoEngine
from metarl.simulation.profiling import set_profiling
from metarl.tasks import Tasks, TaskStreams, make, stream
from metarl.training.experiment import Experiment

Candidate = TypeVar("Candidate")

SEED = 0
NO_STAGE = mujoco.mjtStage.mjSTAGE_NONE.value


# Ours -------------------------------------------------------------------------------------------


def make_experiment(config: Config, horizon: int | None) -> tuple[Experiment, Sampler]:
    """The preset's parts, with its number of tasks and episodes; None: the family's horizon."""
    experiment = Experiment.from_config(config)
    experiment.family.horizon = horizon or experiment.family.horizon
    experiment.measure_observations()
    size = config.tasks
    return experiment, experiment.sampler(size.tasks_per_iteration, size.episodes_per_task)


def never_end(family: SimulatedFamily) -> None:
    """Let this family's episodes last for the whole horizon, whatever the task says."""

    def never(state: MujocoState | Tensor, tasks: Tasks) -> Tensor:
        count = len(state) if isinstance(state, Tensor) else len(state.qpos)
        return torch.zeros(count, dtype=torch.bool)

    assert isinstance(family, MujocoFamily | TensorFamily)
    family.terminated = never


class ClosedLoop:
    """One episode in every environment, each task with a policy of its own."""

    def __init__(self, experiment: Experiment, sampler: Sampler):
        self.sampler = sampler
        self.tasks = experiment.family.sample(SEED, 0, sampler.task_count)
        self.parameters = different_policies(experiment.policy, sampler.task_count)

    def rate(self) -> float:
        """Environment steps/s of a rollout: the same episodes in every call."""
        self.sampler.begin(self.tasks, "benchmark", SEED, 0)
        started = time.perf_counter()
        self.sampler.collect(self.parameters)
        return self.sampler.environment_steps / (time.perf_counter() - started)

    def sustained_rate(self, seconds: float) -> float:
        """The same over as many rollouts as take this long: one of a small world is too short."""
        steps, started = 0, time.perf_counter()
        while (spent := time.perf_counter() - started) < seconds:
            self.rate()
            steps += self.sampler.environment_steps
        return steps / spent


class MetaIteration:
    """The first meta-iteration of the preset, as the trainer does it."""

    def __init__(self, experiment: Experiment, sampler: Sampler):
        self.experiment, self.sampler = experiment, sampler
        self._initial = copy.deepcopy(experiment.learner.state_dict())

    def rate(self) -> float:
        """Environment steps/s of a whole iteration: the same one in every call."""
        self.experiment.learner.load_state_dict(copy.deepcopy(self._initial))
        started = time.perf_counter()
        self.run(1)
        return self.sampler.environment_steps / (time.perf_counter() - started)

    def run(self, iteration: int) -> None:
        """Sample tasks and update the learner."""
        seed = self.experiment.config.run.seed
        tasks = self.experiment.family.sample(seed, iteration, self.sampler.task_count)
        self.sampler.begin(tasks, "train", seed, iteration)
        self.experiment.learner.meta_update(self.sampler)


class Redraw:
    """New random parameters for every simulation of a robot."""

    def __init__(self, config: Config, horizon: int, threads: int):
        size = config.tasks
        self.family: Any = make(size.family)
        self.simulations = size.tasks_per_iteration * size.episodes_per_task
        self.steps = self.simulations * horizon
        self._env = TaskVectorEnv(self.family, self.simulations, threads=threads)
        self._engine = bare_engine(self.family, self.simulations, threads)
        self._episodes = [_random_episode(self.family, self.simulations, horizon)]
        self._draws = 0

    def rate(self) -> float:
        """Environment steps of a rollout, per second of drawing and setting all parameters."""
        self._draws += 1
        started = time.perf_counter()
        self._env.set_tasks(self.family.sample(SEED, self._draws, self.simulations))
        return self.steps / (time.perf_counter() - started)

    def engine_rate(self) -> float:
        """Environment steps/s of the bare engine."""
        return self._engine.rate(self._episodes)


def _random_episode(family: MujocoFamily, simulations: int, horizon: int) -> "Episode":
    model, draws = family.model, np.random.default_rng(SEED)
    low, high = model.actuator_ctrlrange.T
    controls = [draws.uniform(low, high, (simulations, model.nu)) for _ in range(horizon)]
    start = np.tile(model.qpos0, (simulations, 1)), np.zeros((simulations, model.nv))
    return Episode(*start, controls, [None] * horizon)


def different_policies(policy: Policy, tasks: int) -> Parameters:
    """Stacked parameters `[K, ...]`, every task with an initialisation of its own."""
    draws = [
        policy.initial_parameters(stream(SEED, "benchmark policies", 0, task))
        for task in range(tasks)
    ]
    return {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}


def peak_memory_gib(config: Config, horizon: int) -> float:
    """Peak memory of two meta-iterations; call it in a fresh process."""
    meta_iteration = MetaIteration(*make_experiment(config, horizon))
    for iteration in (1, 2):
        meta_iteration.run(iteration)
    return _high_water_mark() / 2**30


def _high_water_mark() -> int:
    """Most memory that this process has held, in bytes."""
    # Linux carries ru_maxrss over from the process that started this one; VmHWM is its own.
    with contextlib.suppress(OSError), open("/proc/self/status", encoding="utf-8") as status:
        for line in status:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


# The bare engine --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episode:
    """One rollout of all n simulations, as the engine saw it."""

    qpos: np.ndarray
    """Initial positions `[n, nq]`."""
    qvel: np.ndarray
    """Initial velocities `[n, nv]`."""
    controls: list[np.ndarray] = field(default_factory=list)
    """float64 `[n, nu]` of each time step, so that the bare engine converts nothing."""
    ids: list[np.ndarray | None] = field(default_factory=list)
    """The simulations whose episode had not ended in each time step; None: all."""
    fields: dict[str, np.ndarray] = field(default_factory=dict)
    """Model fields `[n, ...]` of the tasks."""
    constants: bool = False
    """Whether MuJoCo's constants are derived anew from these fields."""

    @property
    def steps(self) -> int:
        """Environment steps taken."""
        return sum(len(self.qpos) if ids is None else len(ids) for ids in self.ids)


def record_episodes(sampler: Sampler, run: Callable[[], object]) -> list[Episode]:
    """The start and the actions of every rollout that `run` makes with this sampler."""
    with contextlib.ExitStack() as stack:
        parts = [stack.enter_context(_recording(env)) for env in sampler.envs]
        run()
    return [_side_by_side(pieces) for pieces in zip(*parts, strict=True)]


@contextlib.contextmanager
def _recording(env: TaskVectorEnv) -> Iterator[list[Episode]]:
    engine = env.engine
    assert isinstance(engine, MujocoEngine)
    reset, step = engine.reset, engine.step
    episodes: list[Episode] = []

    def recording_reset(streams: TaskStreams, ids: Tensor | None) -> Tensor:
        observation = reset(streams, ids)
        family, batch = engine.family, engine.batch
        fields = {n: batch.expand(n).copy() for n in family.physics(family.nominal, engine._tasks)}
        constants = bool(fields) and family.set_const
        start = batch.qpos.copy(), batch.qvel.copy()
        episodes.append(Episode(*start, fields=fields, constants=constants))
        return observation

    def recording_step(actions: Tensor, ids: Tensor | None) -> Any:
        control = engine.family.control(actions, engine._tasks)
        episodes[-1].controls.append(control.double().numpy())
        episodes[-1].ids.append(None if ids is None else ids.numpy().copy())
        return step(actions, ids)

    with (
        mock.patch.object(engine, "reset", recording_reset),
        mock.patch.object(engine, "step", recording_step),
    ):
        yield episodes


def _side_by_side(parts: Sequence[Episode]) -> Episode:
    """One episode of all simulations, from those of consecutive parts of them."""
    steps = max(len(part.controls) for part in parts)
    for part in parts:  # one that ended early steps no simulation any more
        missing = steps - len(part.controls)
        part.controls.extend([part.controls[-1]] * missing)
        part.ids.extend([np.empty(0, dtype=np.int64)] * missing)
    return Episode(
        np.concatenate([part.qpos for part in parts]),
        np.concatenate([part.qvel for part in parts]),
        [np.concatenate(v) for v in zip(*(part.controls for part in parts), strict=True)],
        [_joined_ids(parts, step) for step in range(steps)],
        {name: np.concatenate([part.fields[name] for part in parts]) for name in parts[0].fields},
        parts[0].constants,
    )


def _joined_ids(parts: Sequence[Episode], step: int) -> np.ndarray | None:
    if all(part.ids[step] is None for part in parts):
        return None
    found, first = [], 0
    for part in parts:
        count, ids = len(part.qpos), part.ids[step]
        found.append(first + (np.arange(count) if ids is None else ids))
        first += count
    return np.concatenate(found)


class BareEngine:
    """Nothing but `mujoco.batch.Batch`, in the very motion of recorded episodes.

    What a physics step costs depends on the motion (contacts, solver iterations), so actions of
    another distribution would compare two different things.
    """

    def __init__(
        self, model: mujoco.MjModel, frame_skip: int, simulations: int, threads: int, label: str
    ):
        self.batch = Batch(model, simulations, threads)
        self.frame_skip = frame_skip
        self.label = label

    def rate(self, episodes: Sequence[Episode]) -> float:
        """Environment steps/s without resets: writing controls and stepping, nothing else."""
        seconds = sum(self._replay(episode) for episode in episodes)
        return sum(episode.steps for episode in episodes) / seconds

    def _replay(self, episode: Episode) -> float:
        batch, frame_skip = self.batch, self.frame_skip
        for name, values in episode.fields.items():
            batch.expand(name)[...] = values
        if episode.constants:
            batch.set_const()
        batch.reset(stage=NO_STAGE)
        batch.qpos[...] = episode.qpos
        batch.qvel[...] = episode.qvel
        batch.forward()
        control = batch.bind("ctrl")
        started = time.perf_counter()
        for values, ids in zip(episode.controls, episode.ids, strict=True):
            control[...] = values
            batch.step(ids, nstep=frame_skip, stage=NO_STAGE)
        return time.perf_counter() - started


def bare_engine(family: SimulatedFamily, simulations: int, threads: int) -> BareEngine:
    """The engine with our settings: no profiler, none of the stages that the family disables."""
    assert isinstance(family, MujocoFamily)
    return BareEngine(family.model, family.frame_skip, simulations, threads, "bare engine")


class StockEngine(BareEngine):
    """The engine as it comes: Gymnasium's own model, and MuJoCo's profiler on."""

    def __init__(self, family: SimulatedFamily, simulations: int, threads: int):
        assert isinstance(family, MujocoFamily)
        path = str(ASSETS / family.xml)
        with silenced():  # MuJoCo warns of an attribute in this file
            model = mujoco.MjModel.from_xml_path(path)
        super().__init__(model, family.frame_skip, simulations, threads, "engine as it comes")

    def rate(self, episodes: Sequence[Episode]) -> float:
        """As of the bare engine."""
        with profiler():
            return super().rate(episodes)


@contextlib.contextmanager
def profiler() -> Iterator[None]:
    """MuJoCo's profiler on, as for everyone who only imports it."""
    was_on = set_profiling(True)
    try:
        yield
    finally:
        set_profiling(was_on)


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Nothing on stdout and stderr, for C libraries and child processes too."""
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        for descriptor, copied in zip((1, 2), saved, strict=True):
            os.dup2(copied, descriptor)
            os.close(copied)


def fastest(candidates: Sequence[Candidate], rate: Callable[[Candidate], float]) -> Candidate:
    """The candidate with the highest rate, each at its best of two alternating tries."""
    best = [0.0] * len(candidates)
    for _ in range(2 if len(candidates) > 1 else 0):
        for index, candidate in enumerate(candidates):
            best[index] = max(best[index], rate(candidate))
    return candidates[best.index(max(best))]

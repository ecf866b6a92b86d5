"""`ContinualExperiment`: L learners, one sequence of tasks, and everything measured on the way."""

import dataclasses
import math
import time
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms import Metrics
from metarl.algorithms.ppo import ActorCritic
from metarl.continual.config import ContinualConfig
from metarl.continual.learner import ContinualPPO, rows_of
from metarl.continual.measurements import Examiner, collect_told, random_returns, told
from metarl.continual.methods import Setting
from metarl.continual.record import PLASTICITY, ContinualRecord, SequenceRecord, TaskRecord
from metarl.continual.sequence import TaskSequence
from metarl.continual.start import initial_parameters, learned_start, make_policy
from metarl.errors import UserError
from metarl.sampling import ActionBoundary, ObservationNormalizer, Sampler, Trajectories
from metarl.simulation.cpus import usable_cpus
from metarl.tasks import stream
from metarl.training.devices import resolve_device
from metarl.training.families import make_family
from metarl.training.run_folder import collect_versions
from metarl.training.trainable import Trainable
from metarl.workers import Workers

NORMALIZATION_EPISODES = 20
"""Episodes of an untrained policy on the first task, which observations are normalised by."""


class ContinualExperiment(Trainable):
    """Trains every method, strength and seed of a configuration on one task after another.

    Learners of the same seed start from the same parameters and draw the same random numbers, so
    that methods are compared in pairs; what a learner does depends on no other one.
    """

    def __init__(self, config: ContinualConfig):
        torch.set_num_threads(1)  # parallelism is over learners, see `Workers`
        self.config = config
        self.environment_steps = 0
        self.threads = config.run.threads or usable_cpus()
        family = make_family(config.sequence)
        self.sequence = TaskSequence.of(family, config.sequence)
        device = resolve_device(config.run.device)
        self.plain, policy = make_policy(family, config, len(self.sequence.tasks))
        settings = config.algorithm
        self.setting = Setting(
            ActorCritic(policy, settings.ppo),
            settings,
            self.sequence.stages,
            config.sequence.iterations,
        )
        self.rows = rows_of(settings.methods, settings.seeds)
        self._check_episodes()
        initial = initial_parameters(self.setting.actor_critic, self.rows, config.run.seed)
        workers = Workers(self.threads if device.type == "cpu" else 1)
        self.learner = ContinualPPO(self.setting, self.rows, initial, device, workers)
        self.boundary = ActionBoundary(family.action_space, config.policy.action_scaling)
        self.normalizer = ObservationNormalizer(self.plain.network.sizes[0])
        self._make_history()

    @classmethod
    def from_config(cls, config: ContinualConfig) -> "ContinualExperiment":
        """Build everything; UserError for an unknown family, task or device."""
        return cls(config)

    @property
    def place(self) -> tuple[str, str]:
        """Family and algorithm."""
        return self.config.sequence.family, self.config.algorithm.name

    @property
    def iterations(self) -> int:
        """All stages' iterations."""
        return len(self.sequence) * self.config.sequence.iterations

    def is_budget_spent(self) -> bool:
        """Never: a sequence is trained to its end."""
        return False

    def describe(self) -> dict[str, Any]:
        """What pins the exact tasks and their order."""
        family = self.sequence.family
        sequence = self.sequence.content_hash()
        return {"family": family.name, "horizon": family.horizon, "sequence": sequence}

    def start(self) -> None:
        """Normalise, take a meta-learned start if there is one, and measure the untrained."""
        if self.config.policy.normalize_observations:
            self._measure_observations()
        if self.config.algorithm.initial_run is not None:
            learned_start(self.config, self.learner, self.normalizer)
        self.history["random"] = random_returns(
            self.sequence, self.plain, self.boundary, self.threads, self.config.evaluation.seed
        )
        self._evaluate(0)

    def iterate(self, iteration: int) -> Metrics:
        """One PPO update of every learner on the task of the stage; evaluations where due."""
        started = time.perf_counter()
        stage, number = divmod(iteration - 1, self.config.sequence.iterations)
        if number == 0:
            self.learner.begin_stage(stage)
        self.learner.before_iteration(stage, number)
        trajectories = self._collect(stage, iteration)
        sampler = self._training_sampler
        losses = self.learner.update(trajectories, sampler.generators("minibatches"))
        returns = trajectories.returns
        self.history["training_returns"][:, iteration - 1] = returns
        if number == self.config.sequence.iterations - 1:
            self._end_stage(stage)
        steps, seconds = sampler.environment_steps, time.perf_counter() - started
        self.environment_steps += steps
        if iteration in self.moments:
            self._evaluate(iteration)
        return {
            "train/return": float(returns.mean()),
            **self._returns_by_method(returns),
            "train/failed_episodes": float(trajectories.failed.sum()),
            **losses,
            "train/stage": float(stage + 1),
            "train/environment_steps": float(self.environment_steps),
            "time/iteration_s": time.perf_counter() - started,
            "time/env_steps_per_s": steps / seconds,
        }

    def _collect(self, stage: int, iteration: int) -> Trajectories:
        """Episodes of the stage's task; of all tasks for the methods that train on all."""
        tasks = self._tasks_of_episodes(stage)
        sampler = self._training_sampler
        seeds = [row.seed for row in self.rows]
        own = self.sequence.tasks[tasks.flatten()]
        sampler.begin(own, "train", self.config.run.seed, iteration, streams=seeds)
        memory = told(self.setting.policy, tasks, len(self.sequence.tasks))
        return collect_told(sampler, self.learner.parameters, memory)

    def _check_episodes(self) -> None:
        episodes, count = self.config.sequence.episodes, len(self.sequence.tasks)
        if "multi_task" in self.config.algorithm.methods and episodes < count:
            raise UserError(
                f"sequence.episodes is {episodes}, but multi_task spreads them over {count} tasks; "
                f"give at least {count}"
            )

    def _tasks_of_episodes(self, stage: int) -> Tensor:
        """Which task each episode is of, `[L, N]`."""
        episodes, count = self.config.sequence.episodes, len(self.sequence.tasks)
        tasks = torch.full((len(self.rows), episodes), self.sequence.stages[stage])
        for group in self.learner.groups:
            if group.method.trains_on_all_tasks:
                tasks[group.rows] = torch.arange(episodes) % count
        return tasks

    def _end_stage(self, stage: int) -> None:
        """Fresh episodes of the final policies, for what the methods remember of the task."""
        sampler, task = self._training_sampler, self.sequence.stages[stage]
        tasks = torch.full((len(self.rows), sampler.episodes), task)
        memory = told(self.setting.policy, tasks, len(self.sequence.tasks))
        trajectories = collect_told(sampler, self.learner.parameters, memory)
        self.learner.end_stage(stage, trajectories, sampler.generators("memory"))

    @cached_property
    def _training_sampler(self) -> Sampler:
        return self._sampler(len(self.rows), self.config.sequence.episodes)

    @cached_property
    def _examiner(self) -> Examiner:
        sampler = self._sampler(len(self.rows), self.config.evaluation.episodes)
        return Examiner(sampler, self.learner, self.sequence, self.config.evaluation.seed)

    def _sampler(self, tasks: int, episodes: int) -> Sampler:
        normalizer = self.normalizer if self.config.policy.normalize_observations else None
        return Sampler.of(
            self.sequence.family,
            tasks,
            episodes,
            self.setting.policy,
            self.boundary,
            self.threads,
            normalizer,
        )

    def _measure_observations(self) -> None:
        # One policy of its own, so that the numbers depend on no learner.
        sampler = Sampler.of(
            self.sequence.family, 1, NORMALIZATION_EPISODES, self.plain, self.boundary, self.threads
        )
        first = self.sequence.tasks[self.sequence.stages[0]]
        sampler.begin(first, "normalization", self.config.run.seed, 0)
        generator = stream(self.config.run.seed, "normalization")
        initial = self.plain.initial_parameters(generator)
        self.normalizer.measure(sampler.collect({n: v.unsqueeze(0) for n, v in initial.items()}))
        self.environment_steps += sampler.environment_steps

    def _evaluate(self, iteration: int) -> None:
        """Fill in what the history has for this moment of training."""
        returns, episodes = self._examiner.returns(iteration)
        history, moment = self.history, self.moments.index(iteration)
        history["curve_returns"][:, moment] = returns
        stage, inside = divmod(iteration, self.config.sequence.iterations)
        if inside:
            return
        task = self.sequence.stages[max(stage - 1, 0)]
        history["matrix"][:, stage] = returns
        for name, values in self._examiner.plasticity(episodes[task]).items():
            history[name][:, stage] = values
        if self.sequence.held_out is not None:
            steps = self.config.evaluation.adaptation_steps
            history["adaptation"][:, stage] = self._examiner.adaptation(task, steps, iteration)

    def _make_history(self) -> None:
        inner = self.config.sequence.iterations
        every, stages = self.config.evaluation.evaluate_every, len(self.sequence)
        inside = [*range(every, inner, every), inner]
        self.moments = [0, *(stage * inner + at for stage in range(stages) for at in inside)]
        """Iterations after which all tasks are evaluated."""
        points = self.config.evaluation.adaptation_steps + 1 if self.sequence.held_out else 0
        rows, tasks = len(self.rows), len(self.sequence.tasks)
        shapes = {
            "training_returns": (rows, stages * inner),
            "curve_returns": (rows, len(self.moments), tasks),
            "matrix": (rows, stages + 1, tasks),
            "adaptation": (rows, stages + 1, points),
            "random": (tasks,),
            **dict.fromkeys(PLASTICITY, (rows, stages + 1)),
        }
        self.history = {
            name: torch.full(shape, math.nan, dtype=torch.float64) for name, shape in shapes.items()
        }
        """What was measured so far, NaN where training has not got to; see `ContinualRecord`."""

    def _returns_by_method(self, returns: Tensor) -> Metrics:
        """Means over seeds, for each method and strength."""
        found: dict[str, list[float]] = {}
        for row, value in zip(self.rows, returns.tolist(), strict=True):
            strength = "" if row.strength is None else f"/{row.strength:g}"
            found.setdefault(f"train/return/{row.method}{strength}", []).append(value)
        return {name: float(np.mean(values)) for name, values in found.items()}

    def record(self, iteration: int) -> ContinualRecord:
        """Everything measured by the end of an iteration."""
        described, config = self.sequence.describe(), self.config
        held_out = described["held_out"]
        arrays = {name: value.numpy() for name, value in self.history.items()}
        return ContinualRecord(
            sequence=SequenceRecord(
                family=described["family"],
                tasks=tuple(TaskRecord(**task) for task in described["tasks"]),
                stages=self.sequence.stages,
                held_out=held_out and TaskRecord(**held_out),
                iterations=config.sequence.iterations,
                episodes=config.sequence.episodes,
                horizon=described["horizon"],
                hash=self.sequence.content_hash(),
            ),
            # The policy with it: runs of other policies are other learners.
            algorithm={**_flat(config.algorithm), "policy": _flat(config.policy)},
            seed=config.run.seed,
            evaluation_episodes=config.evaluation.episodes,
            rows=self.rows,
            matrix=arrays["matrix"],
            training_returns=arrays["training_returns"],
            curve_iterations=np.array(self.moments),
            curve_returns=arrays["curve_returns"],
            adaptation=arrays["adaptation"],
            plasticity={name: arrays[name] for name in PLASTICITY},
            random=arrays["random"],
            iteration=iteration,
            environment_steps=self.environment_steps,
            versions=collect_versions(),
        )

    def state_dict(self) -> dict[str, Any]:
        """What training changes."""
        return {
            "learner": self.learner.state_dict(),
            "normalizer": self.normalizer.state_dict(),
            "environment_steps": self.environment_steps,
            "history": {name: value.clone() for name, value in self.history.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.learner.load_state_dict(state["learner"])
        self.normalizer.load_state_dict(state["normalizer"])
        self.environment_steps = int(state["environment_steps"])
        self.history = {name: state["history"][name].clone() for name in self.history}


def _flat(section: Any) -> dict[str, Any]:
    return dataclasses.asdict(section)

"""`Experiment`: the parts that a meta-RL configuration describes, put together."""

import dataclasses
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from metarl.algorithms import Learner, Metrics, make_learner
from metarl.config import Config
from metarl.errors import UserError
from metarl.evaluation.evaluate import evaluate
from metarl.policies import Policy, make_policy, stack
from metarl.sampling import ActionBoundary, ObservationNormalizer, Sampler
from metarl.simulation.cpus import usable_cpus
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import stream
from metarl.tasks.stages import TaskStages
from metarl.training.devices import resolve_device
from metarl.training.families import make_family
from metarl.training.trainable import Trainable
from metarl.workers import Workers


@dataclass
class Experiment(Trainable):
    """A task family, a policy and a learner that fit each other."""

    config: Config
    family: SimulatedFamily
    learner: Learner
    normalizer: ObservationNormalizer
    threads: int
    stages: TaskStages | None = None
    """The sequence of task distributions, where there is one."""
    environment_steps: int = 0

    @property
    def policy(self) -> Policy:
        """What acts: the learner's policy."""
        return self.learner.policy

    def _evaluate_stages(self, iteration: int) -> Metrics:
        """At the end of a stage, mean returns before and after one adaptation step on the tasks of
        every stage, `stage/return_pre_1`, `stage/return_post_1`, ...; nan in other iterations.
        """
        if not self.stages:
            return {}
        count = len(self.stages)
        names = [f"stage/return_{w}_{s + 1}" for s in range(count) for w in ("pre", "post")]
        if not self.stages.ends_at(iteration):
            return dict.fromkeys(names, float("nan"))
        settings = self.config.evaluation
        sampler = self.sampler(settings.tasks, settings.episodes)
        values = []
        for stage in range(count):
            tasks = self.stages.evaluation_tasks(stage, settings.tasks)
            sampler.begin(tasks, f"evaluation/stage {stage}", settings.seed, iteration)
            rates = settings.inner_learning_rates
            for trajectories in self.learner.adaptation(sampler, 1, rates):
                values.append(float(trajectories.returns.mean()))
        return dict(zip(names, values, strict=True))

    @property
    def boundary(self) -> ActionBoundary:
        """From the policy's actions to the environment's, as configured."""
        return ActionBoundary(self.family.action_space, self.config.policy.action_scaling)

    @property
    def wanted_normalizer(self) -> ObservationNormalizer | None:
        """The normaliser; None where the configuration wants none."""
        return self.normalizer if self.config.policy.normalize_observations else None

    @classmethod
    def from_config(cls, config: Config) -> "Experiment":
        """Build everything; UserError for an unknown family or a device that is not there.

        Sets torch to one thread for each operator, for the whole process: parallelism is over
        tasks (see `Workers`), which makes results independent of the number of threads.
        """
        torch.set_num_threads(1)
        threads = config.run.threads or usable_cpus()
        device = resolve_device(config.run.device)
        family = make_family(config.tasks)
        policy = make_policy(
            family.observation_space,
            family.action_space,
            config.policy.hidden_sizes,
            config.policy.activation,
            config.policy.initial_std,
            config.policy.min_std,
        )
        generator = stream(config.run.seed, "initial parameters")
        workers = Workers(threads if device.type == "cpu" else 1)
        learner = make_learner(config.algorithm, policy, family, generator, device, workers)
        normalizer = ObservationNormalizer(policy.network.sizes[0])
        stages = None
        if config.tasks.iterations_per_stage:
            length = config.tasks.iterations_per_stage
            stages = TaskStages.of(family, config.tasks.stages, length)
        return cls(config, family, learner, normalizer, threads, stages)

    @property
    def place(self) -> tuple[str, str]:
        """Family and algorithm."""
        return self.config.tasks.family, self.config.algorithm.name

    @property
    def iterations(self) -> int:
        """The last iteration."""
        return self.config.run.iterations

    def is_budget_spent(self) -> bool:
        """Whether all environment steps are taken."""
        budget = self.config.run.environment_steps
        return budget is not None and self.environment_steps >= budget

    def start(self) -> None:
        """Measure observations, where the configuration wants them normalised."""
        self.environment_steps = self.measure_observations()

    def iterate(self, iteration: int) -> Metrics:
        """One meta-iteration; with validation where it is due."""
        started = time.perf_counter()
        sampler = self._training_sampler
        self.begin(sampler, iteration)
        metrics = self.learner.meta_update(sampler)
        seconds = time.perf_counter() - started
        self.environment_steps += sampler.environment_steps
        return {
            **metrics,
            **self._validate(iteration),
            **self._evaluate_stages(iteration),
            "train/environment_steps": float(self.environment_steps),
            "time/iteration_s": seconds,
            "time/env_steps_per_s": sampler.environment_steps / seconds,
        }

    @cached_property
    def _training_sampler(self) -> Sampler:
        tasks = self.config.tasks
        return self.sampler(tasks.tasks_per_iteration, tasks.episodes_per_task)

    def _validate(self, iteration: int) -> Metrics:
        """Mean return on validation tasks after each adaptation step; nan when none is due."""
        every = self.config.run.evaluate_every
        if not every:
            return {}
        settings = dataclasses.replace(self.config.evaluation, split="validation")
        names = [f"validation/return_{step}" for step in range(settings.steps + 1)]
        if iteration % every:
            return dict.fromkeys(names, float("nan"))
        sampler = self.sampler(settings.tasks, settings.episodes)
        curve = evaluate(self.learner, sampler, settings)
        return dict(zip(names, map(float, curve.mean), strict=True))

    def sampler(self, tasks: int, episodes: int) -> Sampler:
        """Rollouts of `tasks` tasks with `episodes` episodes each."""
        return Sampler.of(
            self.family,
            tasks,
            episodes,
            self.policy,
            self.boundary,
            self.threads,
            self.wanted_normalizer,
        )

    def measure_observations(self) -> int:
        """Set up the normaliser, where the configuration wants one; the environment steps it took.

        It sees episodes of the untrained policy on training tasks of their own.
        """
        if not self.config.policy.normalize_observations:
            return 0
        size = self.config.tasks
        sampler = self.sampler(size.tasks_per_iteration, size.episodes_per_task)
        self._begin_training(sampler, "normalization", 0)
        generator = stream(self.config.run.seed, "initial parameters")
        initial = self.policy.initial_parameters(generator)
        self.normalizer.measure(sampler.collect(stack(initial, sampler.task_count)))
        return sampler.environment_steps

    def begin(self, sampler: Sampler, iteration: int) -> None:
        """Give a sampler the meta-batch of a training iteration."""
        self._begin_training(sampler, "train", iteration)

    def _begin_training(self, sampler: Sampler, purpose: str, iteration: int) -> None:
        seed, size = self.config.run.seed, self.config.tasks
        count, wanted = size.training_tasks, size.tasks_per_iteration
        if count is None:
            indices = range(wanted)
            source = self.stages or self.family
            tasks = source.sample(seed, iteration, wanted)
        else:
            chosen = stream(seed, "training tasks", iteration).permutation(count)[:wanted]
            indices = sorted(chosen.tolist())
            tasks = self.family.sample(seed, 0, count)[indices]
        sampler.begin(tasks, purpose, seed, iteration, indices)

    def state_dict(self) -> dict[str, Any]:
        """What training changes."""
        return {
            "learner": self.learner.state_dict(),
            "normalizer": self.normalizer.state_dict(),
            "environment_steps": self.environment_steps,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.learner.load_state_dict(state["learner"])
        self.normalizer.load_state_dict(state["normalizer"])
        self.environment_steps = int(state["environment_steps"])

    def describe(self) -> dict[str, Any]:
        """What pins the exact tasks: family, horizon and the hash of each of its fixed lists."""
        hashes: dict[str, str] = {}
        for split in ("validation", "test", "ood"):
            try:
                hashes[split] = self.family.split(split).content_hash()
            except UserError:  # a family without tasks out of distribution
                continue
        return {
            "family": self.family.name,
            "horizon": self.family.horizon,
            "task_lists": hashes,
        }

"""`Experiment`: the parts that a configuration describes, put together."""

from dataclasses import dataclass
from typing import Any

import torch

from metarl.algorithms import Learner, make_learner
from metarl.config import Config, TasksConfig
from metarl.errors import UserError
from metarl.policies import Policy, make_policy, stack
from metarl.sampling import ActionBoundary, ObservationNormalizer, Sampler
from metarl.simulation.cpus import usable_cpus
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import make, stream
from metarl.training.devices import resolve_device
from metarl.workers import Workers


@dataclass(frozen=True)
class Experiment:
    """A task family, a policy and a learner that fit each other."""

    config: Config
    family: SimulatedFamily
    learner: Learner
    normalizer: ObservationNormalizer
    threads: int

    @property
    def policy(self) -> Policy:
        """What acts: the learner's policy."""
        return self.learner.policy

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
        family = _make_family(config.tasks)
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
        return cls(config, family, learner, normalizer, threads)

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
            tasks = self.family.sample(seed, iteration, wanted)
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
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.learner.load_state_dict(state["learner"])
        self.normalizer.load_state_dict(state["normalizer"])

    def describe_tasks(self) -> dict[str, Any]:
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


def _make_family(config: TasksConfig) -> SimulatedFamily:
    family = make(config.family, **config.options)
    if not isinstance(family, SimulatedFamily):
        raise UserError(f"{config.family} has no engine; derive it from one's family")
    family.horizon = config.horizon or family.horizon
    return family

"""`Experiment`: the parts that a configuration describes, put together."""

from dataclasses import dataclass
from typing import Any

import torch

from metarl.algorithms import Learner, make_learner
from metarl.config import Config
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
    policy: Policy
    learner: Learner
    normalizer: ObservationNormalizer
    threads: int

    @classmethod
    def from_config(cls, config: Config) -> "Experiment":
        """Build everything; UserError for an unknown family or a device that is not there.

        Sets torch to one thread for each operator, for the whole process: parallelism is over
        tasks (see `Workers`), which makes results independent of the number of threads.
        """
        torch.set_num_threads(1)
        threads = config.run.threads or usable_cpus()
        device = resolve_device(config.run.device)
        family = make(config.tasks.family, **config.tasks.options)
        if not isinstance(family, SimulatedFamily):
            raise UserError(f"{config.tasks.family} has no engine; derive it from one's family")
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
        learner = make_learner(config.algorithm, policy, generator, device, workers)
        normalizer = ObservationNormalizer(policy.network.sizes[0])
        return cls(config, family, policy, learner, normalizer, threads)

    def sampler(self, tasks: int, episodes: int) -> Sampler:
        """Rollouts of `tasks` tasks with `episodes` episodes each."""
        boundary = ActionBoundary(self.family.action_space, self.config.policy.action_scaling)
        normalizer = self.normalizer if self.config.policy.normalize_observations else None
        return Sampler.of(
            self.family, tasks, episodes, self.policy, boundary, self.threads, normalizer
        )

    def measure_observations(self) -> int:
        """Set up the normaliser, where the configuration wants one; the environment steps it took.

        It sees episodes of the untrained policy on training tasks of their own.
        """
        if not self.config.policy.normalize_observations:
            return 0
        size, seed = self.config.tasks, self.config.run.seed
        sampler = self.sampler(size.tasks_per_iteration, size.episodes_per_task)
        tasks = self.family.sample(seed, 0, size.tasks_per_iteration)
        sampler.begin(tasks, "normalization", seed, 0)
        generator = stream(seed, "initial parameters")
        initial = self.policy.initial_parameters(generator)
        self.normalizer.measure(sampler.collect(stack(initial, sampler.task_count)))
        return sampler.environment_steps

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
        """Names that pin the exact tasks: the family and the hash of each of its fixed lists."""
        hashes: dict[str, str] = {}
        for split in ("validation", "test", "ood"):
            try:
                hashes[split] = self.family.split(split).content_hash()
            except UserError:  # a family without tasks out of distribution
                continue
        return {"family": self.family.name, "task_lists": hashes}

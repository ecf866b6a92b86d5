"""What learners share whose adaptation is PPO on the task, from parameters they have learned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from metarl.algorithms.learner import ParameterLearner
from metarl.algorithms.ppo import ActorCritic, PPOConfig, StackedPPO, UpdateRule
from metarl.policies import Parameters, stack
from metarl.sampling import Sampler, Trajectories


@dataclass(frozen=True)
class FineTuningConfig:
    """Settings of learners that adapt by PPO."""

    name: str = ""
    """The learner."""
    adaptation: PPOConfig = field(default_factory=PPOConfig)
    """The PPO update that is one adaptation step."""


class FineTuning(ParameterLearner):
    """Learns initial parameters of a policy and a value network; PPO on each task adapts them."""

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Of the policy and, named `value.*`, of the value network."""
        self.actor_critic = ActorCritic(self.policy, self.config.adaptation)
        return self.actor_critic.initial_parameters(generator)

    def learners(self, tasks: int) -> StackedPPO:
        """K PPO learners that start from the shared parameters with fresh optimisers."""
        start = stack(self.parameters, tasks)
        return StackedPPO(self.actor_critic, start, self.device, self.workers)

    def rule(self) -> UpdateRule | None:
        """What is added to the updates of tasks that adapt."""
        return None

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """Trajectories after 0, 1, ..., `steps` PPO updates on each task, `[K, N, T, ...]`.

        `rates` are the learning rates of the first updates, the last one repeated; None: that of
        the settings.
        """
        rates = rates or [self.config.adaptation.learning_rate]
        learners = self.learners(sampler.task_count)
        for step in range(steps):
            trajectories = sampler.collect(learners.parameters)
            yield trajectories
            learners.set_learning_rate(rates[min(step, len(rates) - 1)])
            learners.update(trajectories, sampler.generators("minibatches"), self.rule())
        yield sampler.collect(learners.parameters)

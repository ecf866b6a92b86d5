"""What learners share whose adaptation is PPO on the task, from parameters they have learned."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from metarl.algorithms.learner import Learner
from metarl.algorithms.ppo import ActorCritic, Penalty, PPOConfig, StackedPPO
from metarl.policies import Parameters, Policy, stack
from metarl.sampling import Sampler, Trajectories
from metarl.workers import Workers


@dataclass(frozen=True)
class FineTuningConfig:
    """Settings of learners that adapt by PPO."""

    name: str = ""
    """The learner."""
    adaptation: PPOConfig = field(default_factory=PPOConfig)
    """The PPO update that is one adaptation step."""


class FineTuning(Learner):
    """Learns initial parameters of a policy and a value network; PPO on each task adapts them.

    Args:
        policy: the policy of every task.
        config: settings.
        generator: random stream of the initial parameters.
        device: where the learner differentiates; rollouts stay on the CPU.
        workers: threads for chunks of tasks on the CPU.
    """

    def __init__(
        self,
        policy: Policy,
        config: Any,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.policy = policy
        self.config = config
        self.device = torch.device(device)
        self.workers = workers or Workers()
        self.actor_critic = ActorCritic(policy, config.adaptation)
        initial = self.actor_critic.initial_parameters(generator)
        self.parameters: Parameters = {n: v.to(self.device) for n, v in initial.items()}
        """Where adaptation starts, shared by all tasks."""

    def learners(self, tasks: int) -> StackedPPO:
        """K PPO learners that start from the shared parameters with fresh optimisers."""
        start = stack(self.parameters, tasks)
        return StackedPPO(self.actor_critic, start, self.device, self.workers)

    def penalty(self) -> Penalty | None:
        """What is added to the losses of tasks that adapt."""
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
            learners.update(trajectories, sampler.generators("minibatches"), self.penalty())
        yield sampler.collect(learners.parameters)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        # Copies: an optimiser changes parameters in place.
        return {"parameters": {n: v.detach().cpu().clone() for n, v in self.parameters.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        loaded = state["parameters"]
        self.parameters = {name: loaded[name].to(self.device) for name in self.parameters}

"""Baseline: PPO with a policy that is told the task, which shows what there is to gain."""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Learner, Metrics, refuse_rates, returns_of_one_policy
from metarl.algorithms.ppo import ActorCritic, PPOConfig
from metarl.algorithms.shared_ppo import SharedPPO, means
from metarl.policies import ConditionedPolicy, Policy, stack
from metarl.sampling import Sampler, Trajectories
from metarl.sampling.normalization import CONSTANT
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import Tasks
from metarl.workers import Workers

DRAWS = 1000
"""Training tasks whose parameters are measured."""
SEED = 20_260_101
"""Of those draws: the same in every run, so that runs share one oracle's inputs."""


@dataclass(frozen=True)
class OraclePPOConfig:
    """Settings of the task-informed oracle."""

    name: Literal["oracle_ppo"] = "oracle_ppo"
    """The learner."""
    training: PPOConfig = field(default_factory=PPOConfig)
    """The PPO update of an iteration."""


class OraclePolicy(ConditionedPolicy):
    """A policy that reads the task parameters beside the observation.

    They are flattened to M numbers, each with mean 0 and standard deviation 1 in training tasks.

    Args:
        plain: decides the kind of actions and the hidden layers.
        family: whose tasks it is told.
    """

    def __init__(self, plain: Policy, family: SimulatedFamily):
        drawn = flat(family.sample(SEED, 0, DRAWS))
        super().__init__(plain, drawn.shape[1])
        std = drawn.std(dim=0, correction=0)
        self._mean = drawn.mean(dim=0)
        self._std = torch.where(std > CONSTANT, std, 1.0)

    def information(self, tasks: Tasks) -> Tensor:
        """What it is told about K tasks, `[K, M]`."""
        return ((flat(tasks) - self._mean) / self._std).float()


class OraclePPO(Learner):
    """One policy for all tasks, told which task it is in, trained by PPO on the whole meta-batch.

    The value network, or the linear baseline, is told too. There is nothing to adapt.

    Args:
        policy: from `policy_for`.
        config: settings.
        generator: random stream of the initial parameters.
        device: where the learner differentiates; rollouts stay on the CPU.
        workers: threads for chunks of tasks on the CPU.
    """

    def __init__(
        self,
        policy: OraclePolicy,
        config: OraclePPOConfig,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.policy = policy
        self.config = config
        self._tell = policy.information
        actor_critic = ActorCritic(policy, config.training)
        initial = actor_critic.initial_parameters(generator)
        self.ppo = SharedPPO(actor_critic, initial, device, workers)

    @classmethod
    def policy_for(cls, policy: Policy, family: SimulatedFamily, config: Any) -> OraclePolicy:
        return OraclePolicy(policy, family)

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One PPO update of the shared parameters on every task of the meta-batch."""
        trajectories = self.collect(sampler)
        told = informed(trajectories, self._information(sampler))
        losses = self.ppo.update(told, sampler.generators("minibatches"))
        return {**returns_of_one_policy(trajectories), **means(losses)}

    def collect(self, sampler: Sampler) -> Trajectories:
        """Episodes of the present policy in the sampler's tasks, `[K, N, T, ...]`."""
        information = self._information(sampler).unsqueeze(1)
        memory = information.repeat(1, sampler.episodes, 1)
        return sampler.collect(stack(self.ppo.parameters, sampler.task_count), memory)

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """`steps` + 1 times fresh episodes of the policy, which stays the same."""
        refuse_rates(self.config.name, rates)
        for _ in range(steps + 1):
            yield self.collect(sampler)

    def _information(self, sampler: Sampler) -> Tensor:
        assert sampler.tasks is not None, "the sampler has begun no iteration"
        return self._tell(sampler.tasks)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        return self.ppo.optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.ppo.optimizer.load_state_dict(state)


def flat(tasks: Tasks) -> Tensor:
    """All parameters of K tasks side by side, `[K, M]` float64."""
    rows = len(tasks)
    return torch.cat([tasks[name].double().reshape(rows, -1) for name in tasks.names], dim=1)


def informed(trajectories: Trajectories, information: Tensor) -> Trajectories:
    """The same trajectories with the information `[K, M]` after every observation."""
    seen = trajectories.observations
    told = information[:, None, None].expand(*seen.shape[:-1], -1)
    return dataclasses.replace(trajectories, observations=torch.cat([seen, told], dim=-1))

"""Measuring L continual learners: returns on every task, adaptation to a new one, plasticity."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.algorithms.ppo import StackedPPO
from metarl.algorithms.random_policy import RandomPolicy
from metarl.continual.learner import ContinualPPO
from metarl.continual.plasticity import plasticity
from metarl.continual.sequence import TaskSequence
from metarl.policies import MemoryPolicy, Parameters, Policy
from metarl.sampling import ActionBoundary, Sampler, Trajectories
from metarl.tasks import Tasks

RANDOM_EPISODES = 50
"""Episodes of uniformly random actions on each task."""


def told(policy: Policy, tasks: Tensor, count: int) -> Tensor | None:
    """What environments in these tasks (`[...]`, 0 to J - 1) are told, `[..., J]`: one-hot vectors.

    None for a policy that is told nothing.
    """
    if not isinstance(policy, MemoryPolicy):
        return None
    return torch.nn.functional.one_hot(tasks, count).float()


def collect_told(sampler: Sampler, parameters: Parameters, memory: Tensor | None) -> Trajectories:
    """Episodes `[L, N, T, ...]`, whose observations hold what policies are told, `[L, N, J]`."""
    trajectories = sampler.collect(parameters, None if memory is None else memory.clone())
    if memory is None:
        return trajectories
    seen = trajectories.observations
    beside = memory.unsqueeze(2).expand(*seen.shape[:-1], -1)
    fields = {**vars(trajectories), "observations": torch.cat([seen, beside], dim=-1)}
    return Trajectories(**fields)


@dataclass(frozen=True)
class Examiner:
    """Plays evaluation episodes for all learners of a run.

    Every learner of one seed sees the same starts and the same noise.
    """

    sampler: Sampler
    """For L tasks, with the episodes of an evaluation."""
    learner: ContinualPPO
    sequence: TaskSequence
    seed: int

    def returns(self, moment: int) -> tuple[Tensor, list[Trajectories]]:
        """Mean returns `[L, J]` of the present policies on every task, and the episodes.

        `moment` numbers the evaluations of a run: each has episodes of its own.
        """
        episodes = [self._play(task, moment) for task in range(len(self.sequence.tasks))]
        return torch.stack([each.returns for each in episodes], dim=1), episodes

    def _play(self, task: int, moment: int) -> Trajectories:
        self._begin(self.sequence.tasks[task], f"continual evaluation {task}", moment)
        memory = self._told(task)
        return collect_told(self.sampler, self.learner.views(task), memory)

    def adaptation(self, task: int, steps: int, moment: int) -> Tensor:
        """Returns `[L, n + 1]` on the held-out task after 0 to n PPO updates from the policies now.

        Policies that are told the task are told `task`, the last one: of the new one they know
        nothing. Nothing holds the parameters, and the learners stay as they are.
        """
        assert self.sequence.held_out is not None
        self._begin(self.sequence.held_out, "continual adaptation", moment)
        memory, own = self._told(task), self.learner.ppo
        copies = StackedPPO(own.actor_critic, own.parameters, own.device, own.workers)
        returns = []
        for step in range(steps + 1):
            trajectories = collect_told(self.sampler, copies.parameters, memory)
            returns.append(trajectories.returns)
            if step < steps:
                copies.update(trajectories, self.sampler.generators("minibatches"))
        return torch.stack(returns, dim=1)

    def plasticity(self, episodes: Trajectories) -> dict[str, Tensor]:
        """Dormant units, stable rank and weight norm of every policy, `[L]` each."""
        policy = self.learner.setting.policy
        inputs = episodes.observations.flatten(1, 2)
        return plasticity(policy, self.learner.parameters, inputs, episodes.mask.flatten(1, 2))

    def _begin(self, task: Tasks, purpose: str, moment: int) -> None:
        rows = self.learner.rows
        seeds = [row.seed for row in rows]
        same = task[torch.zeros(len(rows), dtype=torch.int64)]
        self.sampler.begin(same, purpose, self.seed, moment, streams=seeds)

    def _told(self, task: int) -> Tensor | None:
        shape = (len(self.learner.rows), self.sampler.episodes)
        policy, count = self.learner.setting.policy, len(self.sequence.tasks)
        return told(policy, torch.full(shape, task), count)


def random_returns(
    sequence: TaskSequence, plain: Policy, boundary: ActionBoundary, threads: int, seed: int
) -> Tensor:
    """Mean returns `[J]` of uniformly random actions on every task."""
    family, count = sequence.family, len(sequence.tasks)
    policy = RandomPolicy(plain, family.action_space)
    sampler = Sampler.of(family, count, RANDOM_EPISODES, policy, boundary, threads)
    sampler.begin(sequence.tasks, "random actions", seed, 0)
    parameters: Parameters = {}
    if not policy.choices:
        low, high = boundary.policy_range()
        parameters = {"low": low.expand(count, -1), "high": high.expand(count, -1)}
    return sampler.collect(parameters).returns

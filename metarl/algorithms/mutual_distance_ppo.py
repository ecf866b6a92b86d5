"""Cross-task transfer: PPO on every training task, held together by their mutual distance.

min sum_i L_i(theta_i) + lambda sum_{j != i} ||theta_i - theta_j||^2, each pair of tasks counted
once. Every learner descends its own part, L_i + lambda sum_j ||theta_i - theta_j||^2, while the
others stay where the update found them: the gradient is the exact one in the first step (a Jacobi
iteration over the tasks), and the tasks need not wait for each other.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from metarl.algorithms.fine_tuning import FineTuning
from metarl.algorithms.learner import Metrics, returns_of_one_policy
from metarl.algorithms.ppo import ActorCritic, Penalized, Penalty, StackedPPO
from metarl.algorithms.shared_ppo import PretrainingConfig
from metarl.errors import UserError
from metarl.policies import Parameters, stack
from metarl.sampling import Sampler
from metarl.validation import require, require_at_least


@dataclass(frozen=True)
class MutualDistancePPOConfig(PretrainingConfig):
    """Settings of PPO with a mutual-distance penalty."""

    name: Literal["mutual_distance_ppo"] = "mutual_distance_ppo"
    """The learner."""
    distance_penalty: float = 1e-4
    """lambda, the weight of the squared distance of two tasks' parameters; 0: they learn apart."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, self, "distance_penalty")

    def check_tasks(self, tasks: Any) -> None:
        """Refuse other tasks than one fixed set, all of it in every iteration."""
        wanted = f"tasks.tasks_per_iteration = {tasks.tasks_per_iteration}"
        message = f"must be {wanted}: {self.name} trains a policy of its own on each task"
        same = tasks.training_tasks == tasks.tasks_per_iteration
        require(same, "tasks.training_tasks", f"{message}; got {tasks.training_tasks}")


class MutualDistancePPO(FineTuning):
    """A policy and a value network for each training task, drawn towards those of the others.

    The learners and their optimisers live on from iteration to iteration. A new task joins them:
    its policy starts from their mean and pays for its distance from each of them, which stay fixed.
    """

    config: MutualDistancePPOConfig

    def set_up(self) -> None:
        """The training of the residents, who are not there yet."""
        self.training = ActorCritic(self.policy, self.config.training)
        self.residents: StackedPPO | None = None
        """The learners of the training tasks; None before the first iteration."""

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One PPO update of every training task's learner on its own episodes."""
        if self.residents is None:
            self.residents = self._settle(stack(self.parameters, sampler.task_count))
        residents = self.residents
        if residents.tasks != sampler.task_count:
            raise UserError(
                f"{self.config.name} has learned on {residents.tasks} tasks, and cannot on "
                f"{sampler.task_count}; keep tasks.training_tasks"
            )
        trajectories = sampler.collect(residents.parameters)
        pull = self._distances(residents.parameters, among_themselves=True)
        losses = residents.update(trajectories, sampler.generators("minibatches"), pull)
        after = residents.parameters
        self.parameters = {name: value.mean(dim=0) for name, value in after.items()}
        spread = float(spread_around(after, self.parameters)) / residents.tasks
        return {**returns_of_one_policy(trajectories), **losses, "loss/spread": spread**0.5}

    def rule(self) -> Penalized | None:
        """What a task that adapts pays for its distance from the training tasks' parameters."""
        if self.residents is None:
            return None
        return self._distances(self.residents.parameters, among_themselves=False)

    def _distances(self, others: Parameters, among_themselves: bool) -> Penalized | None:
        weight = self.config.distance_penalty
        if weight == 0:
            return None
        return Penalized(distance_penalty(others, weight, among_themselves))

    def _settle(self, parameters: Parameters) -> StackedPPO:
        return StackedPPO(self.training, parameters, self.device, self.workers)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        learned = {} if self.residents is None else {"residents": self.residents.state_dict()}
        return {**super().state_dict(), **learned}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.residents = None
        if "residents" in state:
            self.residents = self._settle(state["residents"]["parameters"])
            self.residents.load_state_dict(state["residents"])


def distance_penalty(others: Parameters, weight: float, among_themselves: bool) -> Penalty:
    """lambda sum_j ||theta_i - theta_j||^2, but for a constant, summed over the tasks i of a chunk.

    Args:
        others: theta_j, stacked `[K, ...]`; they stay as they are.
        weight: lambda.
        among_themselves: whether task i is the i-th of them, which then does not count.

    With n others and their mean m the sum over j is n ||theta_i - m||^2 plus their own squared
    distances from m: a constant here, and O(K) instead of O(K^2).
    """
    tasks = len(next(iter(others.values())))
    count = tasks - int(among_themselves)
    means: Parameters = {}
    for name, value in others.items():
        total = value.sum(dim=0, keepdim=True)
        # Without the task itself; a single task has no others, and then the mean counts 0 times.
        means[name] = (total - value) / max(count, 1) if among_themselves else total / count

    def penalty(parameters: Parameters, chunk: slice) -> Tensor:
        squares = []
        for name, value in parameters.items():
            mean = means[name][chunk] if among_themselves else means[name]
            squares.append((value - mean).square().sum())
        return weight * count * torch.stack(squares).sum()

    return penalty


def spread_around(parameters: Parameters, mean: Parameters) -> Tensor:
    """sum_i ||theta_i - m||^2 of stacked parameters `[K, ...]`."""
    squares = [(value - mean[name]).square().sum() for name, value in parameters.items()]
    return torch.stack(squares).sum()

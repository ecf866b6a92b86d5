"""Baseline: PPO on all tasks at once with one policy, then fine-tuning on each test task.

Training minimises sum_i lambda_i L_i(theta), the weighted multi-task loss with shared parameters.
The weights are equal, given, or learned as Kendall et al. 2018, "Multi-Task Learning Using
Uncertainty to Weigh Losses", learn them.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from metarl.algorithms.fine_tuning import FineTuning
from metarl.algorithms.learner import Metrics, returns_of_one_policy
from metarl.algorithms.ppo import ActorCritic
from metarl.algorithms.shared_ppo import Losses, PretrainingConfig, SharedPPO, means
from metarl.policies import stack
from metarl.sampling import Sampler
from metarl.validation import require, require_positive


@dataclass(frozen=True)
class MultiTaskPPOConfig(PretrainingConfig):
    """Settings of multi-task pre-training with PPO, and of fine-tuning."""

    name: Literal["multi_task_ppo"] = "multi_task_ppo"
    """The learner."""
    weighting: Literal["fixed", "uncertainty"] = "fixed"
    """Weights of the tasks' losses: fixed ones, or exp(-s_i) with a learned log-variance s_i of
    each training task; the latter needs `tasks.training_tasks` and a value network."""
    task_weights: tuple[float, ...] | None = None
    """Fixed weights lambda_i, one for each of `tasks.training_tasks` tasks; null: all are 1."""
    uncertainty_learning_rate: float = 0.1
    """Step size of the log-variances, one step of gradient descent in an iteration."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "task_weights", "uncertainty_learning_rate")
        if self.weighting == "uncertainty":
            message = "must be null where weighting is uncertainty: they are learned"
            require(self.task_weights is None, "task_weights", message)
            message = "must be network where weighting is uncertainty: its error is learned from"
            require(self.training.baseline == "network", "training.baseline", message)

    def check_tasks(self, tasks: Any) -> None:
        """Refuse weights of other tasks than those of the configuration's `tasks` section."""
        count, weights = tasks.training_tasks, self.task_weights
        if count is None:
            message = f"must be a number of tasks: {self.name} learns a weight for each of them"
            require(self.weighting == "fixed", "tasks.training_tasks", message)
            message = "needs tasks.training_tasks: a fixed set, whose tasks it weighs"
            require(weights is None, "algorithm.task_weights", message)
        elif weights is not None:
            message = f"must hold tasks.training_tasks = {count} weights, got {len(weights)}"
            require(len(weights) == count, "algorithm.task_weights", message)


class MultiTaskPPO(FineTuning):
    """One policy for all tasks, trained by PPO; adaptation is PPO on the task alone.

    The weights multiply the whole loss of a task. Log-variances minimise
    exp(-s_i) L_i + s_i (Kendall et al., equation 7) with the squared error of the value network
    for L_i: they say how uncertain a task's returns are. The policy's own loss, whose sign
    varies, would send them to minus infinity.
    """

    config: MultiTaskPPOConfig

    def set_up(self) -> None:
        """One PPO learner for all tasks."""
        training = ActorCritic(self.policy, self.config.training)
        self.ppo = SharedPPO(training, self.parameters, self.device, self.workers)
        self.parameters = self.ppo.parameters
        self.log_variances = torch.zeros(0, dtype=torch.float64)
        """s_i of the training tasks met so far, `[tasks]`; 0 at first."""

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One PPO update of the shared parameters on every task of the meta-batch."""
        trajectories = sampler.collect(stack(self.parameters, sampler.task_count))
        chosen = torch.tensor(list(sampler.task_indices))
        weights = self.weights(chosen)
        losses = self.ppo.update(trajectories, sampler.generators("minibatches"), weights.float())
        if self.config.weighting == "uncertainty":
            self._learn_weights(chosen, losses)
        return {**returns_of_one_policy(trajectories), **means(losses)}

    def weights(self, chosen: Tensor) -> Tensor:
        """lambda_i `[K]` of the training tasks with these indices."""
        if self.config.weighting == "uncertainty":
            missing = int(chosen.max()) + 1 - len(self.log_variances)
            if missing > 0:
                self.log_variances = torch.cat([self.log_variances, torch.zeros(missing).double()])
            return torch.exp(-self.log_variances[chosen])
        if self.config.task_weights is None:
            return torch.ones(len(chosen))
        return torch.tensor(self.config.task_weights)[chosen]

    def _learn_weights(self, chosen: Tensor, losses: Losses) -> None:
        """s_i <- s_i - rate * (1 - exp(-s_i) L_i), the last factor not below -1."""
        error = losses["value"].double().cpu()
        slope = (1.0 - torch.exp(-self.log_variances[chosen]) * error).clamp(min=-1.0)
        step = self.config.uncertainty_learning_rate * slope
        self.log_variances = self.log_variances.index_add(0, chosen, -step)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        return {**self.ppo.optimizer.state_dict(), "log_variances": self.log_variances}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.ppo.optimizer.load_state_dict(state)
        self.parameters = self.ppo.parameters
        self.log_variances = state["log_variances"]

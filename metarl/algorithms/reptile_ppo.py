"""Reptile with PPO as its inner learner (Nichol et al. 2018).

theta <- theta + epsilon * mean_k(theta_k - theta), with theta_k after some PPO updates on task k
(algorithm 2, batched). Its direction can also go through Adam, as if minus it were a gradient.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch

from metarl.algorithms.fine_tuning import FineTuning, FineTuningConfig
from metarl.algorithms.learner import Metrics, copied, load_optimized
from metarl.policies import Parameters
from metarl.sampling import Sampler
from metarl.validation import require_at_least, require_positive


@dataclass(frozen=True)
class ReptilePPOConfig(FineTuningConfig):
    """Settings of Reptile-PPO; none are published for RL: docs/results.md has the grid."""

    name: Literal["reptile_ppo"] = "reptile_ppo"
    """The learner."""
    inner_updates: int = 3
    """PPO updates of each task, k, each on fresh episodes."""
    epsilon: float = 1.0
    """Step size of the outer update."""
    epsilon_decay_iterations: int | None = None
    """Iteration in which a linearly falling epsilon reaches 0; null: it is constant."""
    outer_optimizer: Literal["sgd", "adam"] = "sgd"
    """How the mean of theta_k - theta is followed: by epsilon times itself, or by Adam."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "inner_updates", "epsilon_decay_iterations")
        require_positive(self, "epsilon")


class ReptilePPO(FineTuning):
    """Moves the initial parameters towards what PPO makes of them on each task."""

    config: ReptilePPOConfig

    def set_up(self) -> None:
        """The outer optimiser and its count of updates."""
        self.iteration = 0
        """Outer updates so far."""
        kind = torch.optim.Adam if self.config.outer_optimizer == "adam" else torch.optim.SGD
        self.optimizer = kind(self.parameters.values(), lr=self.config.epsilon)

    def meta_update(self, sampler: Sampler) -> Metrics:
        """k PPO updates on every task from the same parameters, then one step towards their mean.

        No episodes are spent on the last update: `train/return_post` is the return after k - 1.
        """
        learners = self.learners(sampler.task_count)
        returns: list[float] = []
        failed = 0
        metrics: Metrics = {}
        for _ in range(self.config.inner_updates):
            trajectories = sampler.collect(learners.parameters)
            returns.append(float(trajectories.returns.mean()))
            failed += int(trajectories.failed.sum())
            metrics = learners.update(trajectories, sampler.generators("minibatches"))
        return {
            "train/return_pre": returns[0],
            "train/return_post": returns[-1],
            "train/adaptation_gain": returns[-1] - returns[0],
            "train/failed_episodes": float(failed),
            **metrics,
            **self.outer_step(learners.parameters),
        }

    def outer_step(self, adapted: Parameters) -> Metrics:
        """theta + epsilon * mean_k(theta_k - theta), for stacked theta_k `[K, ...]`."""
        epsilon = self.epsilon()
        square = 0.0
        for name, value in self.parameters.items():
            value.grad = value.detach() - adapted[name].mean(dim=0)
            square += float(value.grad.square().sum())
        for group in self.optimizer.param_groups:
            group["lr"] = epsilon
        self.optimizer.step()
        self.iteration += 1
        return {"loss/reptile_direction_norm": square**0.5, "loss/epsilon": epsilon}

    def epsilon(self) -> float:
        """Step size of the next outer update."""
        end = self.config.epsilon_decay_iterations
        if end is None:
            return self.config.epsilon
        return self.config.epsilon * max(0.0, 1.0 - self.iteration / end)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        optimizer = copied(self.optimizer.state_dict())
        return {**super().state_dict(), "optimizer": optimizer, "iteration": self.iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        load_optimized(self.parameters, self.optimizer, state)
        self.iteration = state["iteration"]

"""Weighted multi-task learning: one encoder, a last layer for each task, min sum_i lambda_i L_i.

Caruana 1997, "Multitask Learning". Each group of training classes (an alphabet, a domain) is a
task, whose classes are told apart from each other only. The weights lambda_i are given, or learned
as in Kendall, Gal & Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses", eq. 10:
sum_i exp(-s_i) L_i + s_i / 2 with s_i = log sigma_i^2.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.frozen_features import RegressionOnFeatures, RegressionSettings
from metarl.fewshot.methods.parts import part_of_class
from metarl.policies import Parameters
from metarl.validation import require, require_at_least

LOG_VARIANCES = "task_log_variances"


@dataclass(frozen=True)
class WeightedMultiTaskConfig(RegressionSettings):
    """Settings of weighted multi-task learning; new tasks get a logistic regression."""

    name: Literal["weighted_multi_task"] = "weighted_multi_task"
    """The method."""
    tasks: int | None = None
    """How many tasks the training classes are dealt to, whole groups to one task; null: every
    group is a task."""
    weighting: Literal["given", "uncertainty"] = "uncertainty"
    """Weights of the tasks' losses: those of `weights`, or learned."""
    weights: tuple[float, ...] = ()
    """Given weights, one for each task; empty: 1 for all."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "tasks")
        require_at_least(0, self, "weights")
        given = self.weighting == "given" or not self.weights
        require(
            given, "weights", "are read only with weighting: given; set that, or leave them out"
        )


@register_method("weighted_multi_task", WeightedMultiTaskConfig)
class WeightedMultiTask(RegressionOnFeatures):
    """One encoder for all training tasks, a last layer for each, losses with weights."""

    config: WeightedMultiTaskConfig

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The classifier's, and s_i = 0 of each task where weights are learned."""
        self.parts = part_of_class(self.problem, self.config.tasks).to(self.device)
        tasks = int(self.parts.max()) + 1
        self.weights = torch.tensor(self.config.weights or (1.0,) * tasks, device=self.device)
        if len(self.weights) != tasks:
            raise UserError(
                f"algorithm.weights: {len(self.weights)} weights for {tasks} tasks; give one each"
            )
        self.learnable = torch.bincount(self.parts) > 1
        """Which tasks have classes to tell apart: the loss of others is 0, whatever s_i is, and
        would pull it down for ever."""
        if not self.learnable.any():
            raise UserError(
                f"algorithm.tasks: each of the {tasks} tasks has one class, and nothing to tell "
                "apart; take fewer tasks"
            )
        parameters = super().initial_parameters(generator)
        if self.config.weighting == "uncertainty":
            parameters[LOG_VARIANCES] = torch.zeros(tasks)
        return parameters

    def logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """Of the classes of an example's own task; the others have none."""
        strangers = self.parts.unsqueeze(0) != self.parts[classes].unsqueeze(1)
        return super().logits(features, classes).masked_fill(strangers, -torch.inf)

    def loss(self, logits: Tensor, classes: Tensor, inputs: Tensor) -> Tensor:
        """sum_i lambda_i L_i, over the tasks of two classes or more that the batch has examples of,
        divided by T."""
        each = F.cross_entropy(logits, classes, reduction="none")
        losses, counts = task_losses(each, self.parts[classes], len(self.weights))
        there = (counts > 0) & self.learnable
        if self.config.weighting == "given":
            return weighted_sum(losses, self.weights) / len(losses)
        return (uncertainty_weighted(losses, self.parameters[LOG_VARIANCES]) * there).mean()


def task_losses(each: Tensor, parts: Tensor, tasks: int) -> tuple[Tensor, Tensor]:
    """Mean loss `[T]` of each task's examples (0 where it has none), and how many there are."""
    counts = torch.zeros(tasks, device=each.device).index_add(0, parts, torch.ones_like(each))
    sums = torch.zeros(tasks, device=each.device).index_add(0, parts, each)
    return sums / counts.clamp(min=1.0), counts


def weighted_sum(losses: Tensor, weights: Tensor) -> Tensor:
    """sum_i lambda_i L_i."""
    return (weights * losses).sum()


def uncertainty_weighted(losses: Tensor, log_variances: Tensor) -> Tensor:
    """exp(-s_i) L_i + s_i / 2 of each task, `[T]`."""
    return (-log_variances).exp() * losses + 0.5 * log_variances

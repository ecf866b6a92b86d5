"""Baseline: policies of several training tasks distilled into one, then fine-tuned.

Policy distillation (Rusu et al. 2016) with the softened outputs of Hinton et al. 2015: teachers
learn by PPO, one on each training task; a student then minimises
tau^2 KL(softened teacher || softened student) on the states that the teachers visit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.fine_tuning import FineTuning
from metarl.algorithms.learner import Metrics, returns_of_one_policy
from metarl.algorithms.ppo import ActorCritic, PPOConfig, Samples, StackedPPO, minibatches
from metarl.algorithms.shared_ppo import (
    Losses,
    PretrainingConfig,
    SharedOptimizer,
    means,
    prepare_in_chunks,
)
from metarl.errors import UserError
from metarl.policies import Categorical, Gaussian, Parameters, stack
from metarl.sampling import Sampler, Trajectories
from metarl.validation import require, require_at_least, require_positive


@dataclass(frozen=True)
class DistillationPPOConfig(PretrainingConfig):
    """Settings of policy distillation; `training` is the PPO update of the teachers."""

    name: Literal["distillation_ppo"] = "distillation_ppo"
    """The learner."""
    teacher_iterations: int = 40
    """Iterations in which the teachers learn; in all further ones the student does."""
    temperature: float = 1.0
    """tau: softened probabilities are softmax(z / tau), softened variances tau sigma^2."""
    student_learning_rate: float = 1e-3
    """Step size of the student's Adam."""
    student_epochs: int = 5
    """Passes over the teachers' episodes in each of the student's iterations."""
    student_minibatches: int = 4
    """Parts of each pass, one step each."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "teacher_iterations", "student_epochs", "student_minibatches")
        require_positive(self, "temperature", "student_learning_rate")

    def check_tasks(self, tasks: Any) -> None:
        """Refuse other tasks than one fixed set, all of it in every iteration."""
        wanted = f"tasks.tasks_per_iteration = {tasks.tasks_per_iteration}"
        message = f"must be {wanted}: {self.name} trains a teacher on each task"
        same = tasks.training_tasks == tasks.tasks_per_iteration
        require(same, "tasks.training_tasks", f"{message}; got {tasks.training_tasks}")

    def student(self) -> PPOConfig:
        """The student's optimiser and minibatches."""
        return PPOConfig(
            learning_rate=self.student_learning_rate,
            epochs=self.student_epochs,
            minibatches=self.student_minibatches,
            max_gradient_norm=self.training.max_gradient_norm,
            tasks_per_chunk=self.training.tasks_per_chunk,
        )


class DistillationPPO(FineTuning):
    """Teachers first, then a student of all of them, from which adaptation by PPO starts.

    Where there are value networks, the student's learns the teachers' values, by the squared error
    with the weight `training.value_weight`.
    """

    config: DistillationPPOConfig

    def set_up(self) -> None:
        """The student; its teachers are not there yet."""
        self.training = ActorCritic(self.policy, self.config.training)
        self.teachers: StackedPPO | None = None
        """The learners of the training tasks; None before the first iteration."""
        self.student = SharedOptimizer(
            self.parameters, self.config.student(), self.device, self.workers
        )
        self.iteration = 0
        """Iterations so far, the teachers' and the student's."""
        self._follow_student()

    def _follow_student(self) -> None:
        self.parameters = {n: v.detach() for n, v in self.student.parameters.items()}

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One PPO update of the teachers or, later, some steps of the student.

        `train/return_pre` is the return of the teachers, whose episodes they are.
        """
        if self.teachers is None:
            self.teachers = self._appoint(sampler.task_count)
        if self.teachers.tasks != sampler.task_count:
            raise UserError(
                f"{self.config.name} has {self.teachers.tasks} teachers, and cannot learn on "
                f"{sampler.task_count} tasks; keep tasks.training_tasks"
            )
        trajectories = sampler.collect(self.teachers.parameters)
        generators = sampler.generators("minibatches")
        if self.iteration < self.config.teacher_iterations:
            # Not a number yet; named, so that metrics.csv has their columns from the first row on.
            unknown = dict.fromkeys(("loss/distillation", "loss/student_value"), math.nan)
            losses = {**self.teachers.update(trajectories, generators), **unknown}
        else:
            losses = self._teach(self.teachers, trajectories, generators)
        self.iteration += 1
        return {**returns_of_one_policy(trajectories), **losses}

    def _teach(
        self,
        teachers: StackedPPO,
        trajectories: Trajectories,
        generators: Sequence[np.random.Generator],
    ) -> Metrics:
        """Passes over the teachers' episodes; means over the last minibatch are reported."""
        tasks, known = len(generators), teachers.parameters
        samples = prepare_in_chunks(
            self.training, known, trajectories, self.student.chunks(tasks), self.workers
        )
        losses: Losses = {}
        for index in minibatches(generators, samples.weights.shape[1], self.student.config):
            index = index.to(self.device)

            def chunk_losses(chunk: slice, index: Tensor = index) -> Losses:
                own = {name: value[chunk] for name, value in known.items()}
                return self.student_losses(own, samples[chunk].take(index[chunk]))

            losses = self.student.step(tasks, chunk_losses)
        return means(losses)

    def student_losses(self, teachers: Parameters, samples: Samples) -> Losses:
        """`total` loss of the student on each task and its parts, `[K]`.

        total = E[tau^2 KL(softened teacher || softened student)] + weight E[(V - target)^2]

        Args:
            teachers: parameters of the tasks' teachers, stacked.
            samples: of their episodes.
        """
        observations, tau = samples.inputs[..., :-1], self.config.temperature
        weights = samples.weights / samples.weights.sum(dim=1, keepdim=True).clamp(min=1.0)
        with torch.no_grad():
            teacher = soften(self.policy.distribution(teachers, observations), tau)
        shared = self.student.parameters
        student = soften(self.policy.distribution(shared, observations), tau)
        distillation = tau**2 * (student.kl_from(teacher) * weights).sum(dim=1)
        losses = {"distillation": distillation, "total": distillation}
        if self.config.training.baseline == "network":
            error = self.training.value(shared, samples.inputs) - samples.targets
            losses["student_value"] = (error.square() * weights).sum(dim=1)
            value_weight = self.config.training.value_weight
            losses["total"] = distillation + value_weight * losses["student_value"]
        return losses

    def _appoint(self, tasks: int) -> StackedPPO:
        """Teachers of K tasks, which start where the student does."""
        start = stack(self.parameters, tasks)
        return StackedPPO(self.training, start, self.device, self.workers)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        teachers = {} if self.teachers is None else {"teachers": self.teachers.state_dict()}
        return {**self.student.state_dict(), "iteration": self.iteration, **teachers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.student.load_state_dict(state)
        self._follow_student()
        self.iteration = state["iteration"]
        self.teachers = None
        if "teachers" in state:
            tasks = len(next(iter(state["teachers"]["parameters"].values())))
            self.teachers = self._appoint(tasks)
            self.teachers.load_state_dict(state["teachers"])


def soften(distribution: Any, temperature: float) -> Any:
    """The distribution proportional to p^(1 / tau).

    Logits z become z / tau; a Gaussian keeps its mean, and its standard deviation grows by the
    square root of tau.
    """
    if isinstance(distribution, Categorical):
        return Categorical(distribution.logits / temperature)
    return Gaussian(distribution.mean, distribution.log_std + 0.5 * math.log(temperature))

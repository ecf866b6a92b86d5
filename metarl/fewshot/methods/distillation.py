"""Born-again networks: an encoder is distilled into a fresh one of the same size.

Furlanello et al. 2018, "Born-Again Neural Networks", for few-shot features as in Tian et al. 2020,
"Rethinking Few-Shot Image Classification: a Good Embedding Is All You Need?" (section 3.4): after
a teacher is trained on all training classes, a student starts anew and descends
alpha * cross-entropy + beta * tau^2 KL(softmax(z_teacher / tau) || softmax(z_student / tau))
(Hinton, Vinyals & Dean 2015). Settings are those of Tian et al.'s code: alpha = beta = .5, tau = 4,
SGD at .05 with momentum .9 and weight decay 5e-4, the rate times .1 after 60 and 80 % of training.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from metarl.algorithms.learner import Metrics, copied
from metarl.fewshot.learner import TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.frozen_features import RegressionOnFeatures, RegressionSettings
from metarl.fewshot.methods.pretraining import HEAD
from metarl.fewshot.normalization import RunningStatistics
from metarl.policies import Parameters
from metarl.validation import require, require_at_least, require_positive


@dataclass(frozen=True)
class DistillationConfig(RegressionSettings):
    """Settings of born-again distillation; new tasks get a logistic regression."""

    name: Literal["distillation"] = "distillation"
    """The method."""
    learning_rate: float = 0.05
    """Step size of stochastic gradient descent with momentum."""
    batch_size: int = 64
    """Examples of a batch, drawn from all training classes."""
    weight_decay: float = 5e-4
    """Weight of ||theta||^2 / 2, in the gradient."""
    momentum: float = 0.9
    """Of the gradient descent."""
    generation_iterations: int = 5000
    """Updates of the teacher, then of each student; the last student goes on to the end."""
    generations: int = 1
    """Students one after another, each taught by the one before."""
    temperature: float = 4.0
    """tau, by which logits are divided before the softmax."""
    label_weight: float = 0.5
    """alpha, the weight of the cross-entropy with the classes, for students."""
    teacher_weight: float = 0.5
    """beta, the weight of the distillation loss."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "generation_iterations", "generations")
        require_positive(self, "temperature")
        require_at_least(0, self, "label_weight", "teacher_weight")
        require(0 <= self.momentum < 1, "momentum", f"must lie in [0, 1), got {self.momentum}")


@register_method("distillation", DistillationConfig)
class Distillation(RegressionOnFeatures):
    """Pre-trains a teacher, then students that learn from classes and from its softened outputs.

    The teacher sees a student's batch normalised by the statistics of that batch. A run that ends
    before `generation_iterations` has trained the teacher only.
    """

    config: DistillationConfig

    def set_up(self) -> None:
        """Stochastic gradient descent, no teacher yet."""
        super().set_up()
        self.updates = 0
        self.teacher: Parameters = {}
        """The network before this one, as it ended; empty in the first generation."""
        self._start_optimizer()

    def update(self, source: TrainingSource) -> Metrics:
        """One step on one batch; at the start of a generation, of a fresh student."""
        each = self.config.generation_iterations
        generation = min(self.updates // each, self.config.generations)
        if generation and self.updates == generation * each:
            self._begin_student(source)
        done = (self.updates - generation * each) / each
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * decay(done)
        self.updates += 1
        return super().update(source)

    @property
    def missing_stage(self) -> str:
        """The last student, before its first update."""
        if self.updates > self.config.generations * self.config.generation_iterations:
            return ""
        return "the last student was not trained" if self.teacher else "no student was trained"

    def loss(self, logits: Tensor, classes: Tensor, inputs: Tensor) -> Tensor:
        """Cross-entropy; for a student alpha times it plus beta times the distillation loss."""
        of_classes = F.cross_entropy(logits, classes)
        if not self.teacher:
            return of_classes
        with torch.no_grad():
            features, _ = self.problem.encoder(self.teacher, inputs.unsqueeze(0))
            wanted = features.squeeze(0) @ self.teacher[HEAD[0]] + self.teacher[HEAD[1]]
        of_teacher = distillation_loss(logits, wanted, self.config.temperature)
        return self.config.label_weight * of_classes + self.config.teacher_weight * of_teacher

    def _begin_student(self, source: TrainingSource) -> None:
        self.teacher = {name: value.detach().clone() for name, value in self.parameters.items()}
        fresh = self.initial_parameters(source.generators("student", 1)[0])
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(fresh[name])
        self.running = RunningStatistics()
        self._start_optimizer()

    def _start_optimizer(self) -> None:
        config = self.config
        self.optimizer = torch.optim.SGD(
            self.parameters.values(),
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
        )

    def state_dict(self) -> dict[str, Any]:
        """Of the network that learns, and its teacher."""
        more = {"updates": self.updates, "teacher": copied(self.teacher)}
        return {**super().state_dict(), **more}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.updates = state["updates"]
        self.teacher = {name: value.to(self.device) for name, value in state["teacher"].items()}


def distillation_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """tau^2 KL(softmax(teacher / tau) || softmax(student / tau)), the mean over logits `[b, C]`."""
    wanted = (teacher / temperature).log_softmax(dim=-1)
    given = (student / temperature).log_softmax(dim=-1)
    return temperature**2 * (wanted.exp() * (wanted - given)).sum(dim=-1).mean()


def decay(done: float) -> float:
    """Factor of the learning rate after this share of a generation: 1, .1 from .6, .01 from .8."""
    return 0.1 ** (int(done >= 0.6) + int(done >= 0.8))

"""What all few-shot methods share: parameters, an optimiser, episodes in, predictions out."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics, copied, load_optimized
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.models.encoder import Encoder
from metarl.policies import Parameters
from metarl.workers import Workers


@dataclass(frozen=True)
class Problem:
    """What is to be learned from how much."""

    kind: Literal["classification", "regression"]
    encoder: Encoder
    """From examples to features; in regression from x to features of the last layer."""
    ways: int
    """Classes of a test episode, N; 1 in regression."""
    shots: int
    """Support examples of each class at test, K."""
    queries: int
    """Query examples of each class at test, Q."""
    training_classes: int
    """Classes of the training split; 0 in regression."""
    training_groups: tuple[int, ...]
    """Which alphabet or domain each training class is of; empty where there are none."""
    normalization: Literal["transductive", "support", "running", "none"]
    """Where BatchNorm's statistics come from at test; see `ModelConfig`."""


@dataclass(frozen=True)
class Prediction:
    """What a method says of B episodes' m queries."""

    log_probs: Tensor | None = None
    """Classification: log-probabilities `[B, m, N]`."""
    mean: Tensor | None = None
    """Regression: `[B, m, 1]`."""
    std: Tensor | None = None
    """Regression, where the method knows how sure it is: `[B, m, 1]`."""


def log_density(values: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Of normal distributions at `values`, elementwise; not a number where `mean` or `std` are not,
    as torch would refuse: a network that has diverged is found, and named, where losses and
    predictions are judged."""
    return torch.distributions.Normal(mean, std, validate_args=False).log_prob(values)


class TrainingSource(Protocol):
    """Training examples of one iteration, drawn from its own random streams."""

    def episodes(self) -> Episodes:
        """A meta-batch, another one at every call."""
        ...

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        """Inputs `[count, ...]` and classes `[count]` (0 to training_classes - 1) of examples of
        all training classes, for methods that pre-train; UserError in regression."""
        ...

    def all_examples(self) -> tuple[Tensor, Tensor]:
        """Inputs `[n, ...]` of every training example, as they are stored (images as bytes), and
        their classes `[n]`; UserError in regression."""
        ...

    def generators(self, name: str, count: int) -> Sequence[np.random.Generator]:
        """Random streams for the method's own draws."""
        ...


class FewShotLearner(ABC):
    """A method. A subclass says where parameters start, what it loses on episodes, and predicts.

    Args:
        problem: what is to be learned.
        config: the method's settings, with `learning_rate`.
        generator: random stream of the initial parameters.
        device: where everything is computed.
        workers: threads for chunks of episodes on the CPU.
    """

    config_class: ClassVar[type]
    """The dataclass of its settings; its first field is `name`."""
    has_steps: ClassVar[bool] = False
    """Whether it adapts in steps, so that its predictions form a curve."""
    kinds: ClassVar[tuple[str, ...]] = ("classification",)
    """What it can learn."""
    fixed_ways: ClassVar[bool] = False
    """Whether some parameters are those of a number of classes, the same in training and test."""

    def __init__(
        self,
        problem: Problem,
        config: Any,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.problem = problem
        self.config = config
        self.device = torch.device(device)
        self.workers = workers or Workers()
        initial = self.initial_parameters(generator)
        self.parameters: Parameters = {
            name: value.to(self.device).requires_grad_() for name, value in initial.items()
        }
        """What is learned across episodes: leaves, shared by all."""
        self.set_up()

    @abstractmethod
    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The parameters at the start."""

    def set_up(self) -> None:
        """Make what is needed beside the parameters: an optimiser; by default Adam."""
        rate = self.config.learning_rate
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(self.parameters.values(), lr=rate)

    def losses(self, episodes: Episodes, source: TrainingSource) -> dict[str, Tensor]:
        """`total` of each episode `[B]`, differentiable, and other numbers to report, `[B]`.

        Needed unless the method has an `update` of its own.
        """
        raise NotImplementedError(f"{type(self).__name__} has neither losses nor an update")

    def update(self, source: TrainingSource) -> Metrics:
        """One iteration: by default one step down the mean `total` of a meta-batch.

        Returns `train/...` means over episodes.
        """
        found = self.losses(source.episodes(), source)
        values = list(self.parameters.values())
        self.step(torch.autograd.grad(found["total"].mean(), values, materialize_grads=True))
        return reported(found)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """The optimiser's step down these gradients, which are in the parameters' order."""
        for value, gradient in zip(self.parameters.values(), gradients, strict=True):
            value.grad = gradient
        self.optimizer.step()

    @abstractmethod
    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """Predictions after 0, 1, ..., `steps` adaptation steps; one only without `has_steps`.

        Reads support inputs, support targets and query inputs, never query targets. Changes
        nothing.
        """

    @property
    def missing_stage(self) -> str:
        """Which of the method's stages has not begun, in words: "no student was trained"; empty in
        the last one.

        Until then predictions are not yet those of the method: results say so, and validation
        remembers none of them as the best.
        """
        return ""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads: copies."""
        return copied({"parameters": self.parameters, "optimizer": self.optimizer.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        load_optimized(self.parameters, self.optimizer, state)


def reported(found: Mapping[str, Tensor]) -> Metrics:
    """Means over episodes: `loss/total` of `total`, and `train/...` of the others."""
    names = {"total": "loss/total"}
    return {names.get(n, f"train/{n}"): float(v.detach().mean()) for n, v in found.items()}

"""What transfer baselines share: an encoder trained as a classifier of all training classes."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Prediction, TrainingSource
from metarl.fewshot.methods.metric import episode_chunks
from metarl.fewshot.models.encoder import Statistics
from metarl.fewshot.models.layers import glorot
from metarl.fewshot.normalization import RunningStatistics, embed
from metarl.policies import Parameters
from metarl.validation import require_at_least, require_positive

HEAD = ("head.weight", "head.bias")
"""The last layer's parameters, `[F, C]` and `[C]`."""


@dataclass(frozen=True)
class PretrainingConfig:
    """Settings of the classifier that is trained first."""

    name: str = ""
    """The method."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    batch_size: int = 128
    """Examples of a batch, drawn from all training classes."""
    weight_decay: float = 0.0
    """Weight of ||theta||^2 / 2, in the gradient."""

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate")
        require_at_least(2, self, "batch_size")
        require_at_least(0, self, "weight_decay")


class PretrainedClassifier(FewShotLearner):
    """Trains encoder and linear layer by cross-entropy on all training classes at once.

    The first stage of Chen et al. 2019, "A Closer Look at Few-shot Classification" (Baseline). A
    subclass says what becomes of the encoder at test, and may add to the loss.
    """

    config: Any

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The encoder's, and those of the last layer, Glorot-uniform."""
        encoder, classes = self.problem.encoder, self.problem.training_classes
        parameters = encoder.initial_parameters(generator)
        shape = (encoder.features, classes)
        return {
            **parameters,
            HEAD[0]: glorot(generator, shape, *shape),
            HEAD[1]: torch.zeros(classes),
        }

    def set_up(self) -> None:
        """Adam and running statistics."""
        self.running = RunningStatistics()
        self.optimizer = torch.optim.Adam(
            self.parameters.values(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )

    def update(self, source: TrainingSource) -> Metrics:
        """One step on one batch. `train/accuracy` is that on the batch's training classes."""
        inputs, classes = source.examples(self.config.batch_size)
        features, statistics = self.problem.encoder(self.parameters, inputs.unsqueeze(0))
        features = features.squeeze(0)
        logits = self.logits(features, classes)
        loss = self.loss(logits, classes, inputs) + self.penalty(features, classes, source)
        values = list(self.parameters.values())
        self.step(torch.autograd.grad(loss, values, materialize_grads=True))
        self.running.observe(statistics)
        right = (logits.detach().argmax(dim=-1) == classes).float().mean()
        return {"loss/total": float(loss.detach()), "train/accuracy": float(right)}

    def logits(self, features: Tensor, classes: Tensor) -> Tensor:
        """Of all training classes, `[b, C]`; `classes` are the right ones."""
        return features @ self.parameters[HEAD[0]] + self.parameters[HEAD[1]]

    def loss(self, logits: Tensor, classes: Tensor, inputs: Tensor) -> Tensor:
        """Of a batch: cross-entropy."""
        return F.cross_entropy(logits, classes)

    def penalty(self, features: Tensor, classes: Tensor, source: TrainingSource) -> Tensor:
        """What is added to the loss; here nothing."""
        return features.new_zeros(())

    # At test -------------------------------------------------------------------------------------

    def features(self, episodes: Episodes) -> tuple[Tensor, Tensor, Statistics]:
        """Of support `[B, n, F]` and queries `[B, m, F]`, by the frozen encoder."""
        mode = self.problem.normalization
        return embed(self.problem.encoder, self.parameters, episodes, mode, self.running)

    def map_episodes(self, function: Callable[[Episodes], Any], episodes: Episodes) -> list[Any]:
        """`function` of a few episodes at a time, on the threads, without gradients unless it
        asks for them."""

        @torch.no_grad()
        def some(chunk: slice) -> Any:
            return function(episodes[chunk])

        return self.workers.map(some, episode_chunks(episodes, self.device))

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimiser, running statistics."""
        return {**super().state_dict(), "running": self.running.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.running.load_state_dict(state["running"], self.device)


class FrozenFeatures(PretrainedClassifier):
    """A pre-trained encoder that stays as it is; a classifier reads its features at test."""

    def classify(self, support: Tensor, queries: Tensor, episodes: Episodes) -> Tensor:
        """Log-probabilities `[B, m, N]` of features `[B, n, F]` and `[B, m, F]`."""
        raise NotImplementedError

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """One prediction: there are no steps."""

        def judge(some: Episodes) -> Tensor:
            support, queries, _ = self.features(some)
            return self.classify(support, queries, some)

        yield Prediction(torch.cat(self.map_episodes(judge, episodes)))

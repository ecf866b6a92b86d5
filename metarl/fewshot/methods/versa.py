"""VERSA: a network that reads the support set writes a distribution over a linear classifier.

Gordon et al. 2019, "Meta-Learning Probabilistic Inference for Prediction", sections 2 and 3.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import Prediction, TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.chunked import (
    Found,
    accuracy,
    cross_entropy,
    mixture,
    named,
    part,
)
from metarl.fewshot.methods.embedding import EmbeddingLearner
from metarl.policies import MLP, Parameters
from metarl.tasks import stream
from metarl.validation import require, require_at_least, require_positive

_INITIAL_LOG_VARIANCE = -4.0
"""Where the log-variances of weights start: from 0 the noise of 256 weights drowns the logits."""


@dataclass(frozen=True)
class VersaConfig:
    """Settings; the defaults are the paper's for Omniglot, where it states them."""

    name: Literal["versa"] = "versa"
    """The method."""
    learning_rate: float = 1e-4
    """Step size of Adam."""
    feature_size: int = 256
    """Numbers that a linear layer makes of the model's features; a class has as many weights."""
    inference_sizes: tuple[int, ...] = (256, 256)
    """Hidden layers of the network from the mean features of a class to its weights."""
    samples: int = 10
    """Classifiers drawn for each episode in training."""
    test_samples: int = 15
    """Classifiers drawn for each episode at test."""
    dropout: float = 0.1
    """Share of the model's features that are dropped in training (the paper: in every block)."""

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate")
        keys = ("feature_size", "inference_sizes", "samples", "test_samples")
        require_at_least(1, self, *keys)
        require(0.0 <= self.dropout < 1.0, "dropout", f"must lie in [0, 1), got {self.dropout}")


@register_method("versa", VersaConfig)
class Versa(EmbeddingLearner):
    """VERSA: amortised distribution over the weights of a linear classifier."""

    config_class = VersaConfig

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Of the model (`encoder.*`), the linear layer behind it and the inference network."""
        size = self.config.feature_size
        self.projection = MLP((self.problem.encoder.features, size))
        self.inference = MLP((size, *self.config.inference_sizes, 2 * (size + 1)), "relu")
        parameters = {
            **named("encoder", self.problem.encoder.initial_parameters(generator)),
            **named("projection", self.projection.initial_parameters(generator)),
            **named("inference", self.inference.initial_parameters(generator)),
        }
        last = f"inference.bias{len(self.config.inference_sizes)}"
        parameters[last][size + 1 :] = _INITIAL_LOG_VARIANCE
        return parameters

    def draw(self, episodes: Episodes, source: TrainingSource) -> tuple[Tensor, ...]:
        """Noise of the classifiers `[B, L, N, d + 1]`, and which features of the support set
        `[B, n, F]` and of the queries `[B, m, F]` are kept, and by which factor."""
        count, ways = episodes.classes.shape
        generators = source.generators("classifiers", count)
        noise = torch.stack([self._noise(each, self.config.samples, ways) for each in generators])
        kept = (
            self._kept(source.generators(f"dropout of {name}", count), inputs.shape[1])
            for name, inputs in (
                ("support", episodes.support_inputs),
                ("queries", episodes.query_inputs),
            )
        )
        return tuple(each.to(self.device) for each in (noise, *kept))

    def judge(self, episodes: Episodes, drawn: tuple[Tensor, ...]) -> Found:
        """-log of the mean over samples of p(y | x, psi), a mean over queries (equation 4)."""
        noise, support_kept, queries_kept = drawn
        support, queries, statistics = self.embed(episodes, training=True)
        log_probs = self.log_probs(support * support_kept, queries * queries_kept, noise)
        targets = episodes.query_targets
        found = {"total": cross_entropy(log_probs, targets)}
        return {**found, "accuracy": accuracy(log_probs, targets)}, statistics

    def prediction(self, episodes: Episodes) -> Prediction:
        """The same random numbers serve all episodes: no prediction depends on its batch."""
        support, queries, _ = self.embed(episodes, training=False)
        generator = stream(0, "classifiers at test")
        noise = self._noise(generator, self.config.test_samples, episodes.classes.shape[1])
        noise = noise.to(self.device).expand(len(support), *noise.shape)
        return Prediction(log_probs=self.log_probs(support, queries, noise))

    def posterior(self, support: Tensor, ways: int) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[B, N, d + 1]` of each class's weights and bias, from its
        own support features `[B, N K, F]` alone (section 3)."""
        projected = self.projection(part(self.parameters, "projection"), support)
        means = projected.unflatten(1, (ways, -1)).mean(dim=2)
        found = self.inference(part(self.parameters, "inference"), means)
        mean, log_variance = found.chunk(2, dim=-1)
        return mean, (0.5 * log_variance).exp()

    def log_probs(self, support: Tensor, queries: Tensor, noise: Tensor) -> Tensor:
        """Log-probabilities `[B, m, N]`, a mixture over L classifiers.

        Args:
            support: features `[B, N K, F]`.
            queries: features `[B, m, F]`.
            noise: standard normal `[B, L, N, d + 1]`.
        """
        mean, std = self.posterior(support, noise.shape[2])
        drawn = mean.unsqueeze(1) + std.unsqueeze(1) * noise
        weights, biases = drawn[..., :-1], drawn[..., -1]
        projected = self.projection(part(self.parameters, "projection"), queries)
        logits = torch.einsum("bmd,blnd->blmn", projected, weights) + biases.unsqueeze(2)
        return mixture(logits.log_softmax(dim=-1), dim=1)

    def _noise(self, generator: np.random.Generator, samples: int, ways: int) -> Tensor:
        shape = (samples, ways, self.config.feature_size + 1)
        return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))

    def _kept(self, generators: Sequence[np.random.Generator], examples: int) -> Tensor:
        """Factors `[B, examples, F]` of dropout: 0, or 1 / keep so that means stay."""
        keep, features = 1.0 - self.config.dropout, self.problem.encoder.features
        if keep == 1.0:
            return torch.ones(len(generators), 1, 1)
        shape = (examples, features)
        drawn = np.stack([each.random(shape, dtype=np.float32) for each in generators])
        return (torch.from_numpy(drawn) < keep).float() / keep

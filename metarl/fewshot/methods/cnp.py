"""Conditional Neural Processes: predictions from the mean of what context points say.

Garnelo et al. 2018, "Conditional Neural Processes", section 2.2, equations 1 to 3 and 5. Widths,
learning rate and the form of the standard deviation are those of the authors' notebook.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import softplus

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import Prediction, TrainingSource, log_density
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.chunked import (
    Found,
    accuracy,
    cross_entropy,
    named,
    part,
)
from metarl.fewshot.methods.embedding import EmbeddingLearner
from metarl.fewshot.models.encoder import Statistics
from metarl.policies import MLP, Parameters
from metarl.validation import require, require_at_least, require_positive


@dataclass(frozen=True)
class CNPConfig:
    """Settings; the defaults are those of the authors' notebook on Gaussian-process curves."""

    name: Literal["cnp"] = "cnp"
    """The method."""
    learning_rate: float = 1e-4
    """Step size of Adam."""
    representation_sizes: tuple[int, ...] = (128, 128, 128, 128)
    """Curves: layers of the network that reads a context point (x, y); the last one is linear, and
    its outputs are averaged over context points. Images and texts are read by the model."""
    decoder_sizes: tuple[int, ...] = (128, 128)
    """Hidden layers of the network that predicts a query from the average."""
    std_floor: float = 0.1
    """Curves: least predicted standard deviation; the rest is (1 - floor) softplus."""
    context: tuple[int, int] | None = (3, 10)
    """Curves: in training every episode has a random number of context points between these, taken
    from the support points, and all points are predicted; null: all support points."""

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate")
        require_at_least(1, self, "representation_sizes", "decoder_sizes")
        require(len(self.representation_sizes) > 0, "representation_sizes", "must name a layer")
        message = f"must lie in (0, 1), got {self.std_floor}"
        require(0.0 < self.std_floor < 1.0, "std_floor", message)
        if self.context is not None:
            two = f"must be two numbers of points, such as [3, 10], got {list(self.context)}"
            require(len(self.context) == 2, "context", two)
            low, high = self.context
            message = f"must be numbers of points, 1 <= low <= high, got {low} and {high}"
            require(1 <= low <= high, "context", message)


@register_method("cnp", CNPConfig)
class CNP(EmbeddingLearner):
    """Conditional Neural Process: predictions from averaged representations of the support set."""

    config_class = CNPConfig
    kinds = ("classification", "regression")
    fixed_ways = True

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Of the network that reads (`encoder.*`) and the one that predicts (`decoder.*`)."""
        ways, sizes = self.problem.ways, self.config.decoder_sizes
        if self.problem.kind == "classification":
            reader, inputs = self.problem.encoder, (ways + 1) * self.problem.encoder.features
            self.decoder = MLP((inputs, *sizes, ways), "relu")
        else:
            reader = self.reader = MLP((2, *self.config.representation_sizes), "relu")
            self.decoder = MLP((self.reader.sizes[-1] + 1, *sizes, 2), "relu")
        return {
            **named("encoder", reader.initial_parameters(generator)),
            **named("decoder", self.decoder.initial_parameters(generator)),
        }

    def draw(self, episodes: Episodes, source: TrainingSource) -> tuple[Tensor, ...]:
        """Which support points are context, `[B, n, 1]` ones and zeros: curves only."""
        if self.problem.kind == "classification":
            return ()
        mask = torch.ones_like(episodes.support_inputs)
        if self.config.context is not None:
            points = mask.shape[1]
            low, high = (min(each, points) for each in self.config.context)
            generators = source.generators("context points", len(mask))
            for row, generator in zip(mask, generators, strict=True):
                row[generator.integers(low, high + 1) :] = 0.0
        return (mask,)

    def judge(self, episodes: Episodes, drawn: tuple[Tensor, ...]) -> Found:
        """Negative log-likelihood of the targets (equation 5), of all points for curves."""
        if self.problem.kind == "classification":
            log_probs, statistics = self.log_probs(episodes, True)
            targets = episodes.query_targets
            found = {"total": cross_entropy(log_probs, targets)}
            return {**found, "accuracy": accuracy(log_probs, targets)}, statistics
        x = torch.cat([episodes.support_inputs, episodes.query_inputs], dim=1)
        y = torch.cat([episodes.support_targets, episodes.query_targets], dim=1)
        context = (episodes.support_inputs, episodes.support_targets, drawn[0])
        mean, std = self.distribution(*context, queries=x)
        density = log_density(y, mean, std)
        error = (mean - y).square().mean(dim=(1, 2))
        return {"total": -density.mean(dim=(1, 2)), "mse": error}, ()

    def prediction(self, episodes: Episodes) -> Prediction:
        """Log-probabilities, or means and standard deviations."""
        if self.problem.kind == "classification":
            return Prediction(log_probs=self.log_probs(episodes, False)[0])
        x, y = episodes.support_inputs, episodes.support_targets
        mean, std = self.distribution(x, y, torch.ones_like(x), episodes.query_inputs)
        return Prediction(mean=mean, std=std)

    def distribution(
        self, x: Tensor, y: Tensor, mask: Tensor, queries: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Means and standard deviations `[B, m, 1]` at `queries`.

        Args:
            x: `[B, n, 1]`.
            y: `[B, n, 1]`.
            mask: `[B, n, 1]`, 1 where a point is context, else 0.
            queries: x `[B, m, 1]`.
        """
        read = self.reader(part(self.parameters, "encoder"), torch.cat([x, y], dim=-1))
        average = (read * mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
        inputs = torch.cat([average.expand(-1, queries.shape[1], -1), queries], dim=-1)
        mean, spread = self.decoder(part(self.parameters, "decoder"), inputs).split(1, dim=-1)
        floor = self.config.std_floor
        return mean, floor + (1.0 - floor) * softplus(spread)

    def log_probs(self, episodes: Episodes, training: bool) -> tuple[Tensor, Statistics]:
        """Log-probabilities `[B, m, N]`: the mean features of each class, one behind another, and
        the query's own features decide (section 4.3)."""
        ways = self.problem.ways
        support, queries, statistics = self.embed(episodes, training)
        averages = support.unflatten(1, (ways, -1)).mean(dim=2).flatten(1).unsqueeze(1)
        inputs = torch.cat([averages.expand(-1, queries.shape[1], -1), queries], dim=-1)
        logits = self.decoder(part(self.parameters, "decoder"), inputs)
        return logits.log_softmax(dim=-1), statistics

"""What metric-based methods share: one encoder, a comparison of features, training by episodes."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Prediction, TrainingSource, reported
from metarl.fewshot.models.encoder import Statistics
from metarl.fewshot.normalization import RunningStatistics, embed, joined
from metarl.policies import Parameters
from metarl.validation import require_at_least, require_positive
from metarl.workers import chunks

EXAMPLES_PER_CHUNK = 400
"""Examples that one CPU thread encodes at once, in whole episodes."""


@dataclass(frozen=True)
class MetricConfig:
    """Settings that all metric-based methods have."""

    name: str = ""
    """The method."""
    learning_rate: float = 1e-3
    """Adam's step size."""
    halve_every: int = 0
    """Updates after which the learning rate is halved, again and again; 0: never."""

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate")
        require_at_least(0, self, "halve_every")


@dataclass(frozen=True)
class Comparison:
    """How queries and support examples compare."""

    scores: Tensor
    """`[B, m, ...]`, whatever the method makes log-probabilities and its loss of."""
    statistics: dict[str, Statistics]
    """BatchNorm's statistics, by network."""


class MetricLearner(FewShotLearner):
    """Compares queries with the support examples; nothing adapts, only features are learned.

    A subclass says how features compare, and may replace the loss, which is cross-entropy.
    """

    config: Any
    networks: ClassVar[tuple[str, ...]] = ("encoder",)
    """Names of the networks that have BatchNorm."""

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The encoder's."""
        return self.problem.encoder.initial_parameters(generator)

    def set_up(self) -> None:
        """Adam, a counter for its schedule, running statistics."""
        super().set_up()
        self.updates = 0
        self.running = {name: RunningStatistics() for name in self.networks}

    # What a subclass fills in --------------------------------------------------------------------

    @abstractmethod
    def compare(self, episodes: Episodes, training: bool) -> Comparison:
        """Scores of B episodes; reads no query targets."""

    def log_probs(self, scores: Tensor, episodes: Episodes) -> Tensor:
        """Log-probabilities `[B, m, N]`; here of scores `[B, m, N]`."""
        return scores.log_softmax(dim=-1)

    def loss(self, scores: Tensor, episodes: Episodes) -> Tensor:
        """Of each episode, `[B]`; here the queries' mean cross-entropy."""
        log_probs = self.log_probs(scores, episodes)
        return -log_probs.gather(-1, episodes.query_targets.unsqueeze(-1)).mean(dim=(1, 2))

    # What it gets --------------------------------------------------------------------------------

    def features(self, episodes: Episodes, training: bool) -> tuple[Tensor, Tensor, Statistics]:
        """Of support `[B, n, F]` and queries `[B, m, F]`."""
        mode, running = self.problem.normalization, None if training else self.running["encoder"]
        return embed(self.problem.encoder, self.parameters, episodes, mode, running)

    def losses(self, episodes: Episodes, source: TrainingSource) -> dict[str, Tensor]:
        """`total` and `accuracy` of each episode, `[B]`."""
        return self._judge(self.compare(episodes, training=True), episodes)

    def update(self, source: TrainingSource) -> Metrics:
        """One step of Adam down the mean loss of a meta-batch, whose chunks are differentiated on
        the threads and added in their order."""
        episodes = source.episodes()
        values = list(self.parameters.values())
        count = len(episodes.query_targets)

        def differentiate(chunk: slice) -> tuple[Any, dict[str, Tensor], dict[str, Statistics]]:
            comparison = self.compare(episodes[chunk], training=True)
            found = self._judge(comparison, episodes[chunk])
            loss = found["total"].sum() / count
            gradients = torch.autograd.grad(loss, values, materialize_grads=True)
            return gradients, {n: v.detach() for n, v in found.items()}, comparison.statistics

        parts = self.workers.map(differentiate, self._chunks(episodes))
        gradients, found, statistics = zip(*parts, strict=True)
        self._set_rate()
        self.step([reduce(torch.add, each) for each in zip(*gradients, strict=True)])
        self.updates += 1
        for name, running in self.running.items():
            running.observe(joined([each[name] for each in statistics]))
        return reported({name: torch.cat([each[name] for each in found]) for name in found[0]})

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """One prediction: there are no steps."""

        @torch.no_grad()
        def judge(chunk: slice) -> Tensor:
            some = episodes[chunk]
            return self.log_probs(self.compare(some, training=False).scores, some)

        yield Prediction(torch.cat(self.workers.map(judge, self._chunks(episodes))))

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimiser, updates made, running statistics."""
        running = {name: each.state_dict() for name, each in self.running.items()}
        return {**super().state_dict(), "updates": self.updates, "running": running}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.updates = state["updates"]
        for name, each in self.running.items():
            each.load_state_dict(state["running"][name], self.device)

    def _judge(self, comparison: Comparison, episodes: Episodes) -> dict[str, Tensor]:
        total = self.loss(comparison.scores, episodes)
        chosen = self.log_probs(comparison.scores.detach(), episodes).argmax(dim=-1)
        right = (chosen == episodes.query_targets).float().mean(dim=1)
        return {"total": total, "accuracy": right}

    def _set_rate(self) -> None:
        halvings = self.updates // self.config.halve_every if self.config.halve_every else 0
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.learning_rate * 0.5**halvings

    def _chunks(self, episodes: Episodes) -> list[slice]:
        return episode_chunks(episodes, self.device)


def episode_chunks(episodes: Episodes, device: torch.device) -> list[slice]:
    """B episodes as slices of few enough examples for a CPU's cache; on a GPU all at once.

    They depend on sizes alone, so that results do not depend on the number of threads.
    """
    count = len(episodes.query_inputs)
    each = episodes.support_inputs.shape[1] + episodes.query_inputs.shape[1]
    size = max(1, EXAMPLES_PER_CHUNK // each) if device.type == "cpu" else count
    return chunks(count, size)


def ways_of(episodes: Episodes) -> int:
    """N."""
    return episodes.classes.shape[1]

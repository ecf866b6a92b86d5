"""Baselines without a network: nearest raw inputs, TF-IDF; nothing is learned by gradients."""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.errors import UserError
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Prediction, TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.classifiers import (
    class_means,
    cosines,
    one_hot,
    squared_distances,
)
from metarl.fewshot.methods.metric import episode_chunks, ways_of
from metarl.policies import Parameters
from metarl.validation import require_positive


class Untrained(FewShotLearner):
    """A classifier of episodes with no parameters; one iteration is all its training."""

    config: Any

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """None."""
        return {}

    def set_up(self) -> None:
        """No optimiser."""

    def fit(self, source: TrainingSource) -> None:
        """Read what it needs to know of the training examples; here nothing."""

    @abstractmethod
    def log_probs(self, episodes: Episodes) -> Tensor:
        """`[B, m, N]`; reads no query targets."""

    def update(self, source: TrainingSource) -> Metrics:
        """Fit, and measure on a training meta-batch."""
        self.fit(source)
        episodes = source.episodes()
        (prediction,) = self.predict(episodes, 0)
        assert prediction.log_probs is not None
        right = (prediction.log_probs.argmax(dim=-1) == episodes.query_targets).float().mean()
        own = prediction.log_probs.gather(-1, episodes.query_targets.unsqueeze(-1))
        return {"loss/total": -float(own.mean()), "train/accuracy": float(right)}

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """One prediction: there are no steps."""

        @torch.no_grad()
        def judge(chunk: slice) -> Tensor:
            return self.log_probs(episodes[chunk])

        pieces = self.workers.map(judge, episode_chunks(episodes, self.device))
        yield Prediction(torch.cat(pieces))

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing."""


@dataclass(frozen=True)
class RawInputsConfig:
    """Settings of nearest raw inputs."""

    name: Literal["raw_inputs"] = "raw_inputs"
    """The method."""
    distance: Literal["cosine", "euclidean"] = "cosine"
    """Of inputs, e.g. pixels, as one long vector."""
    rule: Literal["neighbor", "centroid"] = "neighbor"
    """A query is of the class of its nearest support example, or of the nearest class mean."""
    scale: float = 10.0
    """Factor of cosines before the softmax: of no account for accuracy."""

    def __post_init__(self) -> None:
        require_positive(self, "scale")


@register_method("raw_inputs", RawInputsConfig)
class RawInputs(Untrained):
    """Nearest neighbour, or class mean, of the inputs themselves, e.g. pixels.

    The baseline "pixels" of Vinyals et al. 2016 (table 1).
    """

    config: RawInputsConfig

    def log_probs(self, episodes: Episodes) -> Tensor:
        """Softmax over classes of the highest, or the centroid's, likeness, `[B, m, N]`."""
        support, queries = (
            each.flatten(2) for each in (episodes.support_inputs, episodes.query_inputs)
        )
        if not support.is_floating_point():
            raise UserError("algorithm.name: raw_inputs compares images; for texts take tfidf")
        targets, ways = episodes.support_targets, ways_of(episodes)
        if self.config.rule == "centroid":
            means = class_means(support, targets, ways)
            return self._likeness(queries, means).log_softmax(dim=-1)
        others = one_hot(targets, ways).transpose(1, 2) == 0
        likeness = self._likeness(queries, support).unsqueeze(2)
        highest = likeness.masked_fill(others.unsqueeze(1), -torch.inf).amax(dim=-1)
        return highest.log_softmax(dim=-1)

    def _likeness(self, queries: Tensor, points: Tensor) -> Tensor:
        if self.config.distance == "cosine":
            return self.config.scale * cosines(queries, points)
        return -squared_distances(queries, points)

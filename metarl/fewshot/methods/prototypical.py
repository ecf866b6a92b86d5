"""Prototypical Networks: classes are the means of their examples' features.

Snell, Swersky & Zemel 2017, "Prototypical Networks for Few-shot Learning":
c_k = mean of f(x_i) over the support examples of class k (eq. 1), and
p(y = k | x) = softmax over k of -||f(x) - c_k||^2 (eq. 2). Trained on episodes of more classes
than at test (section 2.6): 60-way on Omniglot, with Adam at 1e-3, halved every 2000 episodes
(section 3.1).
"""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.classifiers import class_means, cosines, squared_distances
from metarl.fewshot.methods.metric import Comparison, MetricConfig, MetricLearner, ways_of
from metarl.validation import require_positive


@dataclass(frozen=True)
class PrototypicalConfig(MetricConfig):
    """Settings of Prototypical Networks."""

    name: Literal["prototypical"] = "prototypical"
    """The method."""
    halve_every: int = 2000
    """Updates after which the learning rate is halved, again and again; 0: never."""
    distance: Literal["euclidean", "cosine"] = "euclidean"
    """Squared Euclidean distance, or the cosine times `scale` (section 2.7 compares them)."""
    scale: float = 10.0
    """Factor of the cosine."""
    normalize: bool = False
    """Scale the features of every example to length 1, before class means are taken."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "scale")


@register_method("prototypical", PrototypicalConfig)
class Prototypical(MetricLearner):
    """Class means in feature space; a query belongs to the nearest."""

    config: PrototypicalConfig

    def compare(self, episodes: Episodes, training: bool) -> Comparison:
        """Logits `[B, m, N]`."""
        support, queries, statistics = self.features(episodes, training)
        if self.config.normalize:
            support, queries = F.normalize(support, dim=-1), F.normalize(queries, dim=-1)
        prototypes = class_means(support, episodes.support_targets, ways_of(episodes))
        return Comparison(self.logits(queries, prototypes), {"encoder": statistics})

    def logits(self, queries: Tensor, prototypes: Tensor) -> Tensor:
        """-||q - c||^2, or the scaled cosine, `[B, m, N]`."""
        if self.config.distance == "cosine":
            return self.config.scale * cosines(queries, prototypes)
        return -squared_distances(queries, prototypes)

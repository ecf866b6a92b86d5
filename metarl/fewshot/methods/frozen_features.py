"""Transfer by frozen features: pre-train a classifier, keep its encoder, classify what it gives."""

from dataclasses import dataclass
from typing import Any, Literal

import torch.nn.functional as F
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.classifiers import logistic_regression, nearest_centroid
from metarl.fewshot.methods.metric import ways_of
from metarl.fewshot.methods.pretraining import FrozenFeatures, PretrainingConfig
from metarl.validation import require_positive


@dataclass(frozen=True)
class NearestCentroidConfig(PretrainingConfig):
    """Settings of the nearest centroid on frozen features."""

    name: Literal["nearest_centroid"] = "nearest_centroid"
    """The method."""
    normalize: bool = True
    """Scale features to length 1 (L2N in SimpleShot)."""


@register_method("nearest_centroid", NearestCentroidConfig)
class NearestCentroid(FrozenFeatures):
    """Pre-trained features; a query belongs to the nearest class mean.

    Wang et al. 2019, "SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot
    Learning" (L2N with `normalize`, UN without).
    """

    config: NearestCentroidConfig

    def classify(self, support: Tensor, queries: Tensor, episodes: Episodes) -> Tensor:
        """Softmax of minus the squared distances to the class means, `[B, m, N]`."""
        if self.config.normalize:
            support, queries = F.normalize(support, dim=-1), F.normalize(queries, dim=-1)
        return nearest_centroid(support, episodes.support_targets, queries, ways_of(episodes))


@dataclass(frozen=True)
class RegressionSettings(PretrainingConfig):
    """A logistic regression on frozen features."""

    strength: float = 1.0
    """C of the regularisation ||W||^2 / (2 C): smaller is stronger."""
    normalize: bool = True
    """Scale features to length 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "strength")


@dataclass(frozen=True)
class LogisticRegressionConfig(RegressionSettings):
    """Settings of logistic regression on frozen features."""

    name: Literal["logistic_regression"] = "logistic_regression"
    """The method."""


class RegressionOnFeatures(FrozenFeatures):
    """A logistic regression on the features of the support set (`RegressionSettings`)."""

    config: Any

    def classify(self, support: Tensor, queries: Tensor, episodes: Episodes) -> Tensor:
        """Log-probabilities `[B, m, N]`."""
        if self.config.normalize:
            support, queries = F.normalize(support, dim=-1), F.normalize(queries, dim=-1)
        targets, ways = episodes.support_targets, ways_of(episodes)
        return logistic_regression(support, targets, queries, ways, self.config.strength)


@register_method("logistic_regression", LogisticRegressionConfig)
class LogisticRegression(RegressionOnFeatures):
    """Pre-trained features; a logistic regression is fitted to each support set.

    Tian et al. 2020, "Rethinking Few-Shot Image Classification: a Good Embedding Is All You
    Need?" (section 3.3): on features of length 1, with C = 1.
    """

    config: LogisticRegressionConfig

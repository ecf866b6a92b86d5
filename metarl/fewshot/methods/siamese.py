"""Siamese networks: near means same, learned from pairs of examples.

Two copies of one encoder and the contrastive loss y d^2 + (1 - y) max(0, m - d)^2 on pairs, where
d is the Euclidean distance of their features, y = 1 for two examples of one class, and m a margin
(Chopra, Hadsell & LeCun 2005; Hadsell, Chopra & LeCun 2006, eq. 4, there with y reversed and a
factor 1/2). Koch, Zemel & Salakhutdinov 2015 brought such networks to one-shot Omniglot, with a
weighted L1 distance, a sigmoid and cross-entropy in place of this loss.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.classifiers import class_means
from metarl.fewshot.methods.metric import Comparison, MetricConfig, MetricLearner, ways_of
from metarl.validation import require_positive


@dataclass(frozen=True)
class SiameseConfig(MetricConfig):
    """Settings of Siamese networks."""

    name: Literal["siamese"] = "siamese"
    """The method."""
    margin: float = 1.0
    """m: pairs of different classes are pushed apart to this distance."""
    normalize: bool = True
    """Scale features to length 1, so that the margin means the same for any encoder; distances
    then lie between 0 and 2."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "margin")


@register_method("siamese", SiameseConfig)
class Siamese(MetricLearner):
    """Pairs of one class near, others a margin apart; a query is of the class it is nearest to."""

    config: SiameseConfig

    def compare(self, episodes: Episodes, training: bool) -> Comparison:
        """Distances `[B, m, n]` of each query to each support example."""
        support, queries, statistics = self.features(episodes, training)
        if self.config.normalize:
            support, queries = (
                torch.nn.functional.normalize(each, dim=-1) for each in (support, queries)
            )
        return Comparison(distances(queries, support), {"encoder": statistics})

    def log_probs(self, scores: Tensor, episodes: Episodes) -> Tensor:
        """Softmax of minus the mean distance to the support examples of each class."""
        targets, ways = episodes.support_targets, ways_of(episodes)
        means = class_means(scores.transpose(1, 2), targets, ways)
        return (-means.transpose(1, 2)).log_softmax(dim=-1)

    def loss(self, scores: Tensor, episodes: Episodes) -> Tensor:
        """The contrastive loss of all pairs of a query and a support example, `[B]`."""
        same = episodes.query_targets.unsqueeze(2) == episodes.support_targets.unsqueeze(1)
        return contrastive_loss(scores, same, self.config.margin)


def distances(queries: Tensor, support: Tensor) -> Tensor:
    """Euclidean distances `[B, m, n]`, with a gradient where they are zero too."""
    differences = queries.unsqueeze(2) - support.unsqueeze(1)
    return (differences.square().sum(dim=-1) + 1e-12).sqrt()


def contrastive_loss(distances: Tensor, same: Tensor, margin: float) -> Tensor:
    """y d^2 + (1 - y) max(0, m - d)^2, `[B]`, of distances and sameness `[B, m, n]`.

    The mean over the pairs of one class and that over the others count half each: in N-way
    episodes there are N - 1 times as many of the latter, while pairs are drawn half and half in
    Koch et al. 2015 (section 3.2).
    """
    near, far = same.float(), (~same).float()
    pull = (near * distances.square()).sum(dim=(1, 2)) / near.sum(dim=(1, 2))
    push = (far * (margin - distances).clamp(min=0.0).square()).sum(dim=(1, 2))
    return 0.5 * (pull + push / far.sum(dim=(1, 2)))

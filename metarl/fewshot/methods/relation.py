"""Relation Networks: a second network learns how alike a query and a class are.

Sung et al. 2018, "Learning to Compare: Relation Network for Few-Shot Learning":
r_ij = g(C(f(x_i), f(x_j))) in [0, 1] (eq. 1) is regressed to 1 for the query's class and to 0 for
the others, sum (r_ij - 1(y_i = y_j))^2 (eq. 2). With K shots the feature maps of a class are
summed. Adam at 1e-3, halved every 100,000 episodes (section 4); gradients clipped at .5 as in the
authors' code (github.com/floodsung/LearningToCompare_FSL). That code differs from this in what
follows: its first two convolutions have no padding (maps of 5 x 5 instead of 7 x 7), its linear
layers start near zero with biases of 1, its BatchNorm stays transductive at test, and all classes
of an episode are turned by one angle.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.classifiers import class_sums, one_hot
from metarl.fewshot.methods.metric import Comparison, MetricConfig, MetricLearner, ways_of
from metarl.fewshot.models.batch_norm import normalization_parameters, normalize_or_shift
from metarl.fewshot.models.convolution import convolve
from metarl.fewshot.models.encoder import Encoder, Statistics
from metarl.fewshot.models.layers import glorot, linear, linear_parameters
from metarl.policies import Parameters
from metarl.validation import require_at_least, require_positive

BLOCKS = 2


@dataclass(frozen=True)
class RelationConfig(MetricConfig):
    """Settings of Relation Networks."""

    name: Literal["relation"] = "relation"
    """The method."""
    halve_every: int = 100_000
    """Updates after which the learning rate is halved, again and again; 0: never."""
    channels: int = 64
    """Of the two convolutions of the relation module."""
    hidden_size: int = 8
    """Units of its hidden layer."""
    max_gradient_norm: float = 0.5
    """Longer gradients are shortened to this."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "channels", "hidden_size")
        require_positive(self, "max_gradient_norm")


@register_method("relation", RelationConfig)
class Relation(MetricLearner):
    """A learned comparison of the feature maps of a query and a class.

    Where the relation scores of a query's classes sum to 1, they are its probabilities; else they
    are divided by their sum: the paper reads only the highest.
    """

    config: RelationConfig
    networks: ClassVar[tuple[str, ...]] = ("encoder", "relation")

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The encoder's and the relation module's."""
        config = self.config
        self.module = RelationModule(
            map_shape(self.problem.encoder),
            config.channels,
            config.hidden_size,
            self.problem.normalization != "none",
        )
        first = super().initial_parameters(generator)
        return {**first, **self.module.initial_parameters(generator)}

    def compare(self, episodes: Episodes, training: bool) -> Comparison:
        """Logits of the relation scores, `[B, m, N]`."""
        support, queries, statistics = self.features(episodes, training)
        classes = class_sums(support, episodes.support_targets, ways_of(episodes))
        given = self._given(support, classes, training)
        logits, own = self.module(self.parameters, queries, classes, given)
        return Comparison(logits, {"encoder": statistics, "relation": own})

    def _given(self, support: Tensor, classes: Tensor, training: bool) -> Statistics | None:
        """The module's statistics: in mode `support`, those of support examples and classes."""
        mode, averages = self.problem.normalization, self.running["relation"].values
        if mode == "running" and not training and averages is not None:
            return averages
        if mode == "support" or (mode == "running" and not training):
            return self.module(self.parameters, support, classes)[1]
        return None

    def log_probs(self, scores: Tensor, episodes: Episodes) -> Tensor:
        """log(r_k / sum_j r_j)."""
        return torch.nn.functional.logsigmoid(scores).log_softmax(dim=-1)

    def loss(self, scores: Tensor, episodes: Episodes) -> Tensor:
        """Mean over queries and classes of (r - 1(same))^2, `[B]`: eq. 2."""
        return relation_loss(scores.sigmoid(), episodes.query_targets)

    def step(self, gradients: Sequence[Tensor]) -> None:
        """Encoder and relation module have a gradient norm of their own."""
        clipped = list(gradients)
        for of_module in (False, True):
            own = [i for i, name in enumerate(self.parameters) if _in_module(name) == of_module]
            norm = torch.stack([gradients[i].norm() for i in own]).norm()
            factor = (self.config.max_gradient_norm / (norm + 1e-6)).clamp(max=1.0)
            for i in own:
                clipped[i] = gradients[i] * factor
        super().step(clipped)


def relation_loss(scores: Tensor, targets: Tensor) -> Tensor:
    """Mean squared error `[B]` of scores `[B, m, N]` from 1 for the class and 0 for the others."""
    return (scores - one_hot(targets, scores.shape[-1])).square().mean(dim=(1, 2))


def map_shape(encoder: Encoder) -> tuple[int, int, int]:
    """Height, width and channels of the map that the features are, `[F]` in that order.

    An encoder with maps says so by its `map_shape`; the features of any other are one place.
    """
    return getattr(encoder, "map_shape", (1, 1, encoder.features))


def _in_module(name: str) -> bool:
    return name.startswith("relation")


class RelationModule:
    """g: two convolutional blocks on both maps, one after the other, and two linear layers.

    Each block is a 3 x 3 convolution, BatchNorm, ReLU and, where there are two places or more to
    a side, 2 x 2 max pooling. Weights start Glorot-uniform and biases at zero. A convolution has a
    bias only without BatchNorm, which would subtract it.

    Args:
        shape: height, width and channels of a feature map.
        channels: of both blocks.
        hidden_size: units of the hidden layer.
        batch_norm: normalise after each convolution.
    """

    def __init__(
        self, shape: tuple[int, int, int], channels: int, hidden_size: int, batch_norm: bool = True
    ):
        self.shape, self.channels, self.hidden_size = shape, channels, hidden_size
        self.normalizes = batch_norm
        sides = shape[:2]
        for _ in range(BLOCKS):
            sides = _pooled(sides)
        self.flat = sides[0] * sides[1] * channels

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Named `relation...`; of the blocks `.weight` with `.scale` and `.shift`, or `.shift`."""
        parameters: Parameters = {}
        before = 2 * self.shape[2]
        for block in range(BLOCKS):
            name = f"relation{block}"
            shape = (3, 3, before, self.channels)
            weight = glorot(generator, shape, 9 * before, 9 * self.channels)
            parameters[f"{name}.weight"] = weight
            parameters |= normalization_parameters(name, self.channels, self.normalizes)
            before = self.channels
        parameters |= linear_parameters(generator, "relation_hidden", self.flat, self.hidden_size)
        return parameters | linear_parameters(generator, "relation_score", self.hidden_size, 1)

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        queries: Tensor,
        classes: Tensor,
        statistics: Statistics | None = None,
    ) -> tuple[Tensor, Statistics]:
        """Logits `[B, m, N]` of features `[B, m, F]` and `[B, N, F]`, and what normalised."""
        hidden = self._pairs(queries, classes)
        used: list[tuple[Tensor, Tensor]] = []
        for block in range(BLOCKS):
            name = f"relation{block}"
            hidden = convolve(hidden, parameters[f"{name}.weight"], stride=1)
            given = statistics[block] if statistics else None
            rows, own = normalize_or_shift(parameters, name, hidden.flatten(1, 3), given)
            used += own
            hidden = _pool(rows.relu().view(hidden.shape))
        units = linear(parameters, "relation_hidden", hidden.flatten(2)).relu()
        logits = linear(parameters, "relation_score", units).squeeze(-1)
        return logits.unflatten(1, (queries.shape[1], classes.shape[1])), tuple(used)

    def _pairs(self, queries: Tensor, classes: Tensor) -> Tensor:
        """Maps of all pairs, `[B, m N, h, w, 2 C]`: the class's channels before the query's."""
        m, ways = queries.shape[1], classes.shape[1]
        query_maps = queries.unflatten(2, self.shape).unsqueeze(2).expand(-1, -1, ways, -1, -1, -1)
        class_maps = classes.unflatten(2, self.shape).unsqueeze(1).expand(-1, m, -1, -1, -1, -1)
        return torch.cat([class_maps, query_maps], dim=-1).flatten(1, 2)


def _pooled(sides: tuple[int, int]) -> tuple[int, int]:
    return sides if min(sides) < 2 else (sides[0] // 2, sides[1] // 2)


def _pool(maps: Tensor) -> Tensor:
    """2 x 2 max pooling of `[B, n, h, w, C]`, unless a side has one place only."""
    if min(maps.shape[2:4]) < 2:
        return maps
    channels_first = maps.flatten(0, 1).permute(0, 3, 1, 2)
    pooled = torch.nn.functional.max_pool2d(channels_first, 2)
    return pooled.permute(0, 2, 3, 1).unflatten(0, maps.shape[:2])

"""ANIL: MAML whose inner loop adapts the last layer alone.

Raghu, Raghu, Bengio & Vinyals 2020, "Rapid Learning or Feature Reuse? Towards Understanding the
Effectiveness of MAML", section 4: the features of an episode are computed once, the inner steps of
MAML change the head, and the meta-gradient goes through them into the features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import Prediction
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.maml import HEAD, MAML, MAMLConfig
from metarl.fewshot.models.encoder import Statistics
from metarl.fewshot.models.layers import linear


@dataclass(frozen=True)
class ANILConfig(MAMLConfig):
    """Settings; the defaults are MAML's."""

    name: Literal["anil"] = "anil"  # pyright: ignore[reportIncompatibleVariableOverride]
    """The method."""


@register_method("anil", ANILConfig)
class ANIL(MAML):
    """MAML whose inner loop adapts the last layer alone."""

    def adapts(self, name: str) -> bool:
        """The head adapts."""
        return name.startswith(f"{HEAD}.")

    def network(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, statistics: Statistics | None = None
    ) -> tuple[Tensor, Statistics]:
        """The head's outputs, of features."""
        return linear(parameters, HEAD, inputs), ()

    def embed(self, episodes: Episodes, training: bool) -> tuple[Episodes, list[Statistics]]:
        """Episodes of features, and what normalised support set and queries."""
        encoder, averages = self.problem.encoder, None if training else self._averages()
        untrained = self.problem.normalization == "running" and not training and averages is None
        support, used = encoder(self.parameters, episodes.support_inputs, averages)
        of_support = self.problem.normalization == "support" or untrained
        given = used if of_support else averages
        queries, used_by_queries = encoder(self.parameters, episodes.query_inputs, given)
        features = replace(episodes, support_inputs=support, query_inputs=queries)
        return features, [used, used_by_queries]

    def _losses(self, episodes: Episodes) -> tuple[dict[str, Tensor], list[Statistics]]:
        features, seen = self.embed(episodes, training=True)
        return super()._losses(features)[0], seen

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """Predictions after 0, 1, ..., `steps` inner steps."""

        @torch.no_grad()
        def embed(chunk: slice) -> Episodes:
            return self.embed(episodes[chunk], training=False)[0]

        slices = self.chunks(episodes)
        yield from super().predict(Episodes.concatenate(self.workers.map(embed, slices)), steps)

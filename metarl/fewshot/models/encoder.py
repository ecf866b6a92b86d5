"""What a few-shot model is: a pure function of its parameters, from examples to features."""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np
from torch import Tensor

from metarl.fewshot.data import Curves, DataSet
from metarl.policies import Parameters

Statistics = tuple[tuple[Tensor, Tensor], ...]
"""Mean and variance of each BatchNorm layer, `[B, C]` (of each episode) or `[C]` (for all)."""


class Encoder(ABC):
    """Features of examples. Holds no parameters itself.

    With shared parameters all episodes have one network; with stacked ones, `[B, ...]`, each
    episode has its own, as in the inner loop of MAML.
    """

    features: int
    """Numbers in the features of one example, F."""
    normalizes: bool = False
    """Whether it has BatchNorm; without, its statistics are empty."""
    fixed: frozenset[str] = frozenset()
    """Parameters that are learned across episodes, but that no inner loop of few gradient steps
    changes: embeddings of words, of which an episode uses few, and pre-trained transformers."""

    def prepare(self, data: DataSet | Curves) -> DataSet | Curves:
        """The data as this network reads them; text models with tokens of their own change them."""
        return data

    @abstractmethod
    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Shared initial parameters."""

    @abstractmethod
    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        inputs: Tensor,
        statistics: Statistics | None = None,
    ) -> tuple[Tensor, Statistics]:
        """Features `[B, n, F]` of inputs `[B, n, ...]`, and the statistics that normalised them.

        Without `statistics` BatchNorm takes those of the n inputs of each episode. Other names in
        the parameters are ignored.
        """

"""Encoders of texts: bags of n-grams, a convolutional and a recurrent network over words.

Tokens are numbers `[B, n, L]`, 0 where a text has ended; features do not depend on how many zeros
follow. None of them has BatchNorm. Word embeddings are learned across episodes, but no inner loop
adapts them: an episode has few of the words.
"""

from abc import abstractmethod
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from metarl.fewshot.models.encoder import Encoder, Statistics
from metarl.fewshot.models.layers import (
    dense,
    dense_parameters,
    linear,
    linear_parameters,
    lookup,
)
from metarl.policies import Parameters

WORDS = "words.weight"
BUCKETS = 8192
"""Rows that all bigrams share, by a hash."""
FILTER_WIDTHS, FILTERS = (3, 4, 5), 50
"""Words that a filter sees, and filters of each width (Bao et al. 2020, section 4.1)."""


class TextEncoder(Encoder):
    """Embeds words, summarises them in one vector, and sends that through linear layers.

    The layers have `sizes` units with ReLU between them; the last gives the features. Embeddings
    start with variance 1 / E, so that a word's has length about 1; layers Glorot-uniform.

    Args:
        vocabulary: token numbers there are, with padding.
        embedding: numbers of an embedding, E.
        sizes: units of the layers.
    """

    rows = 0
    """Of the table of embeddings beside the vocabulary."""
    fixed = frozenset({WORDS})

    def __init__(self, vocabulary: int, embedding: int, sizes: tuple[int, ...]):
        self.vocabulary, self.embedding, self.sizes = vocabulary, embedding, sizes
        self.summary = self._summary_size()
        self.features = sizes[-1] if sizes else self.summary

    def _summary_size(self) -> int:
        return self.embedding

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """`words.weight` `[V, E]`, those of the summary, and `denseI.weight`, `denseI.bias`."""
        shape = (self.vocabulary + self.rows, self.embedding)
        words = generator.standard_normal(shape) / self.embedding**0.5
        return {
            WORDS: torch.from_numpy(words).float(),
            **self.summary_parameters(generator),
            **dense_parameters(generator, self.summary, self.sizes),
        }

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        inputs: Tensor,
        statistics: Statistics | None = None,
    ) -> tuple[Tensor, Statistics]:
        """Features `[B, n, F]` of tokens `[B, n, L]`."""
        summary = self.summarize(parameters, _without_padding(inputs))
        return dense(parameters, summary, len(self.sizes)), ()

    def summary_parameters(self, generator: np.random.Generator) -> Parameters:
        """Initial parameters of what stands between embeddings and layers."""
        return {}

    @abstractmethod
    def summarize(self, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """One vector `[B, n, S]` for each text of tokens `[B, n, L]`."""


class BagOfNgrams(TextEncoder):
    """The mean embedding of a text's words and pairs of words (Joulin et al. 2017, fastText).

    Pairs share `BUCKETS` rows of the table, by a hash.
    """

    rows = BUCKETS

    def summarize(self, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """Mean over words and pairs, `[B, n, E]`."""
        first, second = tokens[..., :-1], tokens[..., 1:]
        pairs = self.vocabulary + (first * 1_000_003 + second) % self.rows
        grams = torch.cat([tokens, pairs], dim=-1)
        there = torch.cat([tokens > 0, second > 0], dim=-1)
        embedded = lookup(parameters[WORDS], grams)
        mask = there.unsqueeze(-1).to(embedded.dtype)
        return (embedded * mask).sum(dim=2) / mask.sum(dim=2).clamp(min=1)


class TextCNN(TextEncoder):
    """Filters over 3, 4 and 5 words, and the highest value of each (Kim 2014)."""

    def _summary_size(self) -> int:
        return FILTERS * len(FILTER_WIDTHS)

    def summary_parameters(self, generator: np.random.Generator) -> Parameters:
        """`filtersW.weight` `[W E, 50]` and `filtersW.bias` for each width W."""
        parameters: Parameters = {}
        for width in FILTER_WIDTHS:
            fan_in = width * self.embedding
            parameters |= linear_parameters(generator, f"filters{width}", fan_in, FILTERS)
        return parameters

    def summarize(self, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """The highest value of each filter where it begins on a word, `[B, n, 150]`."""
        there = (tokens > 0).unsqueeze(-1)
        embedded = lookup(parameters[WORDS], tokens)
        embedded = embedded * there.to(embedded.dtype)
        episodes, n, length, _ = embedded.shape
        found = []
        for width in FILTER_WIDTHS:
            padded = torch.nn.functional.pad(embedded, (0, 0, 0, width - 1))
            windows = padded.unfold(2, width, 1).transpose(3, 4)
            rows = windows.reshape(episodes, n * length, width * self.embedding)
            values = linear(parameters, f"filters{width}", rows).relu()
            values = values.view(episodes, n, length, FILTERS)
            found.append((values * there.to(values.dtype)).amax(dim=2))
        return torch.cat(found, dim=-1)


class TextGRU(TextEncoder):
    """A gated recurrent unit read from left to right; its last state (Cho et al. 2014).

    The first of `sizes` is its number of units, the others are layers above it.
    """

    def __init__(self, vocabulary: int, embedding: int, sizes: tuple[int, ...]):
        self.units = sizes[0]
        super().__init__(vocabulary, embedding, sizes[1:])

    def _summary_size(self) -> int:
        return self.units

    def summary_parameters(self, generator: np.random.Generator) -> Parameters:
        """`input` and `recurrent` layers to reset gate, update gate and candidate, side by side."""
        inward = linear_parameters(generator, "input", self.embedding, 3 * self.units)
        return inward | linear_parameters(generator, "recurrent", self.units, 3 * self.units)

    def summarize(self, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """The state `[B, n, units]` after each text's last word."""
        episodes, n, length = tokens.shape
        embedded = lookup(parameters[WORDS], tokens)
        inward = linear(parameters, "input", embedded.flatten(1, 2))
        inward = inward.view(episodes, n, length, 3 * self.units)
        there = (tokens > 0).unsqueeze(-1)
        state = inward.new_zeros(episodes, n, self.units)
        for time in range(length):
            reset, update, candidate = inward[:, :, time].chunk(3, dim=-1)
            before = linear(parameters, "recurrent", state)
            from_reset, from_update, from_candidate = before.chunk(3, dim=-1)
            keep = (update + from_update).sigmoid()
            new = (candidate + (reset + from_reset).sigmoid() * from_candidate).tanh()
            state = torch.where(there[:, :, time], new + keep * (state - new), state)
        return state


def _without_padding(tokens: Tensor) -> Tensor:
    """Tokens up to where the longest text ends; at least one."""
    lengths = (tokens > 0).sum(dim=-1)
    return tokens[..., : max(1, int(lengths.max()))]

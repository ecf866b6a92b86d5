"""Encoders of texts: bags of n-grams, a convolutional and a recurrent network over words.

Tokens are numbers `[B, n, L]`, 0 where a text has ended; features do not depend on how many zeros
follow. None of them has BatchNorm. Word embeddings are learned across episodes, but no inner loop
adapts them: an episode has few of the words.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from zlib import crc32

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
FIRST_WORD = 2
"""Smaller token numbers are padding (0) and the unknown word (1)."""
BUCKETS = 8192
"""Rows that all pairs of words and parts of words share, by a hash."""
PAIR_LENGTH = 0.0
"""Of these rows at the start, where words have lengths of their own: a pair or a part means nothing
before it has been learned."""
PART_SIZES = (3, 4, 5)
"""Letters of a part of a word."""
FILTER_WIDTHS, FILTERS = (3, 4, 5), 50
"""Words that a filter sees, and filters of each width (Bao et al. 2020, section 4.1)."""


class TextEncoder(Encoder):
    """Embeds words, summarises them in one vector, and sends that through linear layers.

    The layers have `sizes` units with ReLU between them; the last gives the features, without any
    the summary does. Embeddings start Gaussian, those of words about as long as `lengths` says;
    layers Glorot-uniform.

    Args:
        vocabulary: token numbers there are, with padding.
        embedding: numbers of an embedding, E.
        sizes: units of the layers.
        lengths: of the words' embeddings at the start, `[vocabulary]`; None: 1 for all. By inverse
            document frequency a bag compares texts, before it has learned anything, much as TF-IDF
            does: Gaussian vectors of many numbers are nearly orthogonal.
    """

    rows = 0
    """Of the table of embeddings beside the vocabulary."""
    fixed = frozenset({WORDS})

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        sizes: tuple[int, ...],
        lengths: Tensor | None = None,
    ):
        self.vocabulary, self.embedding, self.sizes = vocabulary, embedding, sizes
        self.lengths = lengths
        self.summary = self._summary_size()
        self.features = sizes[-1] if sizes else self.summary

    def _summary_size(self) -> int:
        return self.embedding

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """`words.weight` `[V, E]`, those of the summary, and `denseI.weight`, `denseI.bias`."""
        shape = (self.vocabulary + self.rows, self.embedding)
        words = torch.from_numpy(generator.standard_normal(shape) / self.embedding**0.5).float()
        if self.lengths is not None:
            words[: self.vocabulary] *= self.lengths.unsqueeze(1)
            words[self.vocabulary :] *= PAIR_LENGTH
        return {
            WORDS: words,
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

    Pairs share `BUCKETS` rows of the table, by a hash. With `parts` a word's embedding is its own
    plus that of its parts, which are among the same rows (Bojanowski et al. 2017, "Enriching Word
    Vectors with Subword Information"): what is learned of words reaches new ones like them.

    Args:
        parts: of each word, `[vocabulary, G]`: numbers of its parts, -1 after the last; None: words
            have none. See `parts_of_words`.
    """

    rows = BUCKETS

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        sizes: tuple[int, ...],
        lengths: Tensor | None = None,
        parts: Tensor | None = None,
    ):
        self.parts = parts
        super().__init__(vocabulary, embedding, sizes, lengths)

    def summarize(self, parameters: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
        """Mean over words and pairs, `[B, n, E]`."""
        table = parameters[WORDS]
        first, second = tokens[..., :-1], tokens[..., 1:]
        pairs = self.vocabulary + (first * 1_000_003 + second) % self.rows
        embedded = self._grams(table, torch.cat([tokens, pairs], dim=-1))
        there = torch.cat([tokens > 0, second > 0], dim=-1)
        mask = there.unsqueeze(-1).to(embedded.dtype)
        return (embedded * mask).sum(dim=2) / mask.sum(dim=2).clamp(min=1)

    def _grams(self, table: Tensor, grams: Tensor) -> Tensor:
        """`[B, n, G, E]` of a table `[V, E]`, or of each episode's `[B, V, E]`."""
        if self.parts is None:
            return lookup(table, grams)
        if table.dim() == 3:
            pieces = zip(table, grams.unsqueeze(1), strict=True)
            return torch.cat([self._grams(own, some) for own, some in pieces])
        # Grams come up many times in a batch, but have their parts summed once; and all of them by
        # one operator, whose gradient is as large as the table.
        found, places = grams.unique(return_inverse=True)
        words = found[found < self.vocabulary]
        parts = self.parts.to(grams.device)[words]
        there = torch.nn.functional.pad(parts >= 0, (1, 0), value=True)
        rows = torch.cat([words.unsqueeze(1), self.vocabulary + parts], dim=1)
        # By the root of their number: parts that start alike make every word's sum as long.
        weights = (there.sum(dim=1, keepdim=True) - 1).clamp(min=1).to(table.dtype).rsqrt()
        weights = torch.cat([torch.ones_like(weights), weights.expand_as(parts)], dim=1)
        pairs = found[len(words) :]  # `unique` sorts: words come first
        sizes = torch.cat([there.sum(dim=1), torch.ones_like(pairs)])
        sums = torch.nn.functional.embedding_bag(
            torch.cat([rows[there], pairs]),
            table,
            sizes.cumsum(0) - sizes,
            mode="sum",
            per_sample_weights=torch.cat([weights[there], table.new_ones(len(pairs))]),
        )
        return lookup(sums, places)


def parts_of_words(vocabulary: Sequence[str]) -> Tensor:
    """Numbers below `BUCKETS`, by a hash, of the 3 to 5 letters side by side in <word>, `[V, G]`.

    -1 after a word's last; the first two numbers of the vocabulary stand for no words.
    """
    found: list[list[int]] = []
    for number, word in enumerate(vocabulary):
        marked = f"<{word}>" if number >= FIRST_WORD else ""
        runs = {marked[i : i + n] for n in PART_SIZES for i in range(len(marked) - n + 1)}
        found.append(sorted({crc32(run.encode()) % BUCKETS for run in runs}))
    parts = torch.full((len(found), max(1, *map(len, found))), -1)
    for row, numbers in zip(parts, found, strict=True):
        row[: len(numbers)] = torch.tensor(numbers, dtype=torch.int64)
    return parts


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

    def __init__(
        self,
        vocabulary: int,
        embedding: int,
        sizes: tuple[int, ...],
        lengths: Tensor | None = None,
    ):
        self.units = sizes[0]
        super().__init__(vocabulary, embedding, sizes[1:], lengths)

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

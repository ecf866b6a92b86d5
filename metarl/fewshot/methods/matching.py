"""Matching Networks: a query takes the labels of the support examples that it attends to.

Vinyals et al. 2016, "Matching Networks for One Shot Learning": p(y | x, S) = sum_s a(x, x_s) y_s
(eq. 1), where the attention a is the softmax of the cosine of f(x) and g(x_s) (section 2.1.1).
With full context embeddings (section 2.1.2, appendix A), g reads the support set by a bidirectional
LSTM, and f reads it by an LSTM that attends to it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.classifiers import cosines, one_hot, squared_distances
from metarl.fewshot.methods.metric import Comparison, MetricConfig, MetricLearner, ways_of
from metarl.policies import Parameters
from metarl.validation import require_at_least, require_positive

SMALLEST = 1e-12
"""Probability below which a class is as good as excluded: keeps its logarithm finite."""


@dataclass(frozen=True)
class MatchingConfig(MetricConfig):
    """Settings of Matching Networks."""

    name: Literal["matching"] = "matching"
    """The method."""
    distance: Literal["cosine", "euclidean"] = "cosine"
    """Attention by the cosine (the paper's), or by minus the squared Euclidean distance."""
    scale: float = 1.0
    """Factor of the cosine before the softmax; the paper's is 1, larger ones learn faster."""
    full_context: bool = False
    """Full context embeddings: examples are embedded in view of the whole support set. Their
    result depends on the order of the support examples, as the LSTM over them does."""
    context_steps: int = 3
    """Full context: how often a query's LSTM attends to the support set (K)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "scale")
        require_at_least(1, self, "context_steps")


@register_method("matching", MatchingConfig)
class Matching(MetricLearner):
    """Attention over the support examples by the cosine of features."""

    config: MatchingConfig

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The encoder's, and with full context those of three LSTMs."""
        parameters = super().initial_parameters(generator)
        if self.config.full_context:
            size = self.problem.encoder.features
            parameters |= lstm_parameters(generator, "forward", size, size, size)
            parameters |= lstm_parameters(generator, "backward", size, size, size)
            parameters |= lstm_parameters(generator, "attention", size, 2 * size, size)
        return parameters

    def compare(self, episodes: Episodes, training: bool) -> Comparison:
        """Log-probabilities `[B, m, N]`."""
        support, queries, statistics = self.features(episodes, training)
        if self.config.full_context:
            support = support_in_context(self.parameters, support)
            queries = query_in_context(self.parameters, queries, support, self.config.context_steps)
        shares = attention(self._similarities(queries, support), episodes, ways_of(episodes))
        return Comparison(shares.clamp(min=SMALLEST).log(), {"encoder": statistics})

    def _similarities(self, queries: Tensor, support: Tensor) -> Tensor:
        if self.config.distance == "cosine":
            return self.config.scale * cosines(queries, support)
        return -squared_distances(queries, support)


def attention(similarities: Tensor, episodes: Episodes, ways: int) -> Tensor:
    """p(y | x, S) `[B, m, N]` of similarities `[B, m, n]`: eq. 1."""
    return similarities.softmax(dim=-1) @ one_hot(episodes.support_targets, ways)


# Full context embeddings ----------------------------------------------------------------------


def support_in_context(parameters: Mapping[str, Tensor], support: Tensor) -> Tensor:
    """g(x_i, S) = h_i (forward) + h_i (backward) + g'(x_i), `[B, n, F]`: appendix A.2."""
    ahead = _run(parameters, "forward", support)
    back = _run(parameters, "backward", support.flip(1)).flip(1)
    return ahead + back + support


def query_in_context(
    parameters: Mapping[str, Tensor], queries: Tensor, support: Tensor, steps: int
) -> Tensor:
    """f(x, S) `[B, m, F]`: h_k = LSTM(f'(x), [h_k-1, r_k-1], c_k-1) + f'(x), where
    r_k-1 = sum_i softmax_i(h_k-1 . g(x_i)) g(x_i): eqs. 3 to 6 and appendix A.1. With h_0 = 0 the
    first r is the mean of the support set."""
    hidden = cell = torch.zeros_like(queries)
    for _ in range(steps):
        read = (hidden @ support.transpose(1, 2)).softmax(dim=-1) @ support
        state = torch.cat([hidden, read], dim=-1)
        hidden, cell = lstm_cell(parameters, "attention", queries, state, cell)
        hidden = hidden + queries
    return hidden


def _run(parameters: Mapping[str, Tensor], name: str, sequence: Tensor) -> Tensor:
    """The hidden states `[B, n, F]` of an LSTM along a sequence `[B, n, F]`."""
    hidden = cell = torch.zeros_like(sequence[:, 0])
    states: list[Tensor] = []
    for position in sequence.unbind(1):
        hidden, cell = lstm_cell(parameters, name, position, hidden, cell)
        states.append(hidden)
    return torch.stack(states, dim=1)


def lstm_parameters(
    generator: np.random.Generator, name: str, inputs: int, state: int, hidden: int
) -> Parameters:
    """`NAME.lstm_input` `[inputs, 4 hidden]`, `NAME.lstm_state` `[state, 4 hidden]` and
    `NAME.lstm_bias`, uniform within 1 / sqrt(hidden), as torch.nn.LSTM starts."""
    limit = 1.0 / math.sqrt(hidden)
    shapes = {"input": (inputs, 4 * hidden), "state": (state, 4 * hidden), "bias": (4 * hidden,)}
    return {
        f"{name}.lstm_{part}": torch.from_numpy(generator.uniform(-limit, limit, shape)).float()
        for part, shape in shapes.items()
    }


def lstm_cell(
    parameters: Mapping[str, Tensor], name: str, inputs: Tensor, state: Tensor, cell: Tensor
) -> tuple[Tensor, Tensor]:
    """New hidden and cell states: Hochreiter & Schmidhuber 1997 with forget gates (Gers et al.
    2000); the gates in torch's order, input, forget, candidate, output."""
    gates = inputs @ parameters[f"{name}.lstm_input"] + state @ parameters[f"{name}.lstm_state"]
    enter, keep, candidate, leave = (gates + parameters[f"{name}.lstm_bias"]).chunk(4, dim=-1)
    cell = keep.sigmoid() * cell + enter.sigmoid() * candidate.tanh()
    return leave.sigmoid() * cell.tanh(), cell

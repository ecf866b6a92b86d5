"""TF-IDF baselines for texts: weighted word counts, and a classifier for each episode.

A text is the vector of its words' counts times their inverse document frequency
idf = ln((1 + n) / (1 + df)) + 1 over the n training texts (Salton & Buckley 1988, smoothed as in
scikit-learn), scaled to length 1. Words that no training text has get the highest idf; those
outside the vocabulary, which look all the same, and padding do not count.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.data.frequencies import inverse_document_frequencies
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.classifiers import class_means, cosines, logistic_regression
from metarl.fewshot.methods.metric import ways_of
from metarl.fewshot.methods.untrained import Untrained
from metarl.fewshot.models.text import FIRST_WORD
from metarl.validation import require_positive


@dataclass(frozen=True)
class TfidfSettings:
    """How texts become vectors."""

    name: str = ""
    """The method."""
    sublinear: bool = False
    """Count a word that occurs c times 1 + ln c times."""


@dataclass(frozen=True)
class TfidfCentroidConfig(TfidfSettings):
    """Settings of the nearest TF-IDF centroid."""

    name: Literal["tfidf_centroid"] = "tfidf_centroid"
    """The method."""
    scale: float = 10.0
    """Factor of cosines before the softmax: of no account for accuracy."""

    def __post_init__(self) -> None:
        require_positive(self, "scale")


@dataclass(frozen=True)
class TfidfRegressionConfig(TfidfSettings):
    """Settings of logistic regression on TF-IDF vectors."""

    name: Literal["tfidf_logistic_regression"] = "tfidf_logistic_regression"
    """The method."""
    strength: float = 1.0
    """C of the regularisation ||W||^2 / (2 C): smaller is stronger."""

    def __post_init__(self) -> None:
        require_positive(self, "strength")


class Tfidf(Untrained):
    """Texts as TF-IDF vectors, whose inverse document frequencies are the training texts'."""

    config: Any

    def set_up(self) -> None:
        """Nothing is known yet."""
        self.idf: Tensor | None = None
        """`[V]`, by token number; None before the first iteration."""

    def fit(self, source: TrainingSource) -> None:
        """Document frequencies of all training texts."""
        tokens, _ = source.all_examples()
        refuse_images(tokens)
        self.idf = inverse_document_frequencies(tokens)

    def vectors(self, tokens: Tensor) -> Tensor:
        """`[B, n, V]` of tokens `[B, n, L]`, of length 1 (or 0, where no word counts)."""
        refuse_images(tokens)
        if self.idf is None:
            raise UserError(f"{self.config.name} has seen no training text: train one iteration")
        return tfidf(tokens, self.idf, self.config.sublinear)

    def pair(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Vectors of support `[B, n, V]` and queries `[B, m, V]`."""
        count = episodes.support_inputs.shape[1]
        both = self.vectors(torch.cat([episodes.support_inputs, episodes.query_inputs], dim=1))
        return both[:, :count], both[:, count:]

    def state_dict(self) -> dict[str, Any]:
        """The inverse document frequencies."""
        return {} if self.idf is None else {"idf": self.idf.cpu().clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.idf = state["idf"].to(self.device) if "idf" in state else None


@register_method("tfidf_centroid", TfidfCentroidConfig)
class TfidfCentroid(Tfidf):
    """Texts by TF-IDF; a query belongs to the class mean with the highest cosine (Rocchio)."""

    config: TfidfCentroidConfig

    def log_probs(self, episodes: Episodes) -> Tensor:
        """Softmax of the scaled cosines, `[B, m, N]`."""
        support, queries = self.pair(episodes)
        means = class_means(support, episodes.support_targets, ways_of(episodes))
        return (self.config.scale * cosines(queries, means)).log_softmax(dim=-1)


@register_method("tfidf_logistic_regression", TfidfRegressionConfig)
class TfidfRegression(Tfidf):
    """Texts by TF-IDF; a logistic regression is fitted to each support set."""

    config: TfidfRegressionConfig

    def log_probs(self, episodes: Episodes) -> Tensor:
        """`[B, m, N]`."""
        support, queries = self.pair(episodes)
        targets, ways = episodes.support_targets, ways_of(episodes)
        return logistic_regression(support, targets, queries, ways, self.config.strength)


def tfidf(tokens: Tensor, idf: Tensor, sublinear: bool = False) -> Tensor:
    """Vectors `[B, n, V]` of tokens `[B, n, L]`."""
    size = max(len(idf), int(tokens.max()) + 1)
    idf = torch.cat([idf, idf.max().expand(size - len(idf))])
    counts = torch.zeros(*tokens.shape[:2], size, device=tokens.device)
    counts.scatter_add_(2, tokens, torch.ones_like(tokens, dtype=counts.dtype))
    counts[..., :FIRST_WORD] = 0.0
    if sublinear:
        counts = torch.where(counts > 0, 1.0 + counts.clamp(min=1.0).log(), 0.0)
    return F.normalize(counts * idf, dim=-1)


def refuse_images(inputs: Tensor) -> None:
    """UserError unless the inputs are tokens."""
    if inputs.dtype != torch.int64:
        raise UserError("algorithm.name: TF-IDF counts words; these examples are no texts")

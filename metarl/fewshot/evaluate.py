"""Evaluation of a few-shot method: accuracy or error on the same test episodes for all."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.config import EpisodesConfig
from metarl.fewshot.data import Curves, DataSet
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Prediction, log_density
from metarl.tasks import stream


class EpisodeDrawer(Protocol):
    """Draws episodes of one size."""

    def sample(self, generators: Sequence[np.random.Generator]) -> Episodes:
        """One episode from each generator."""
        ...

    def contents(self, generators: Sequence[np.random.Generator]) -> Iterator[bytes]:
        """What `sample` makes each episode of."""
        ...


class Evaluated(Protocol):
    """What evaluation asks of an experiment."""

    config: Any
    data: DataSet | Curves
    learner: FewShotLearner

    def test_drawer(self, split: str) -> EpisodeDrawer: ...


@dataclass(frozen=True, eq=False)
class EpisodeScores:
    """What a method reached in E episodes after 0, 1, ... adaptation steps (one column without)."""

    kind: str
    """`classification` or `regression`."""
    scores: np.ndarray
    """`[E, steps + 1]`: accuracy, or mean squared error."""
    log_likelihood: np.ndarray
    """`[E, steps + 1]`: mean log-probability of the queries' targets; NaN where none is given."""
    confidence: np.ndarray
    """Classification: `[E, m, 2]`, the last step's highest probability and whether its class was
    right (1 or 0), for calibration; regression: the last step's `[E, m, 2]` standardised error
    (y - mean) / std and std, NaN where no std is given."""


def evaluate(
    experiment: Evaluated,
    split: str,
    episodes: int,
    on_episodes: Callable[[int], None] | None = None,
) -> EpisodeScores:
    """Play test episodes; those of a seed are the same for every method and every run.

    Args:
        experiment: its learner is not changed.
        split: `validation` or `test`.
        episodes: E.
        on_episodes: told how many are done.
    """
    settings, drawer = experiment.config.evaluation, experiment.test_drawer(split)
    pieces: list[tuple[Tensor, Tensor, Tensor]] = []
    predictions: list[Prediction] = []
    for numbers in _batches(episodes, _at_once(experiment.config.episodes)):
        drawn = drawer.sample(_streams(settings.seed, split, numbers))
        predictions = list(experiment.learner.predict(drawn, settings.steps))
        pieces.append(_score(predictions, drawn))
        if on_episodes:
            on_episodes(numbers.stop)
    scores, likelihoods, confidence = (
        torch.cat(each).numpy() for each in zip(*pieces, strict=True)
    )
    kind = "classification" if predictions[0].log_probs is not None else "regression"
    return EpisodeScores(kind, scores, likelihoods, confidence)


def episodes_hash(experiment: Evaluated, split: str, episodes: int) -> str:
    """First 16 hex digits of a SHA-256 of the E episodes that `evaluate` plays.

    Of the classes of the split with their examples and of what is drawn of them for each episode;
    of curves, of their points to three decimals. The same for every method, whatever its training,
    its network and its way of numbering words: two runs with the same hash were tested alike.
    """
    seed, drawer = experiment.config.evaluation.seed, experiment.test_drawer(split)
    digest = hashlib.sha256()
    if isinstance(experiment.data, DataSet):
        digest.update(experiment.data.source_hash(split).encode())
    for numbers in _batches(episodes, 100):
        for content in drawer.contents(_streams(seed, split, numbers)):
            digest.update(content)
    return digest.hexdigest()[:16]


def refuse_not_finite(found: EpisodeScores) -> None:
    """UserError where predictions of some episodes are not finite numbers: training or adaptation
    has diverged, and a mean over episodes says nothing."""
    wrong = ~np.isfinite(found.scores)
    # All are NaN where a method for curves does not say how sure it is.
    if found.kind == "classification" or not np.isnan(found.log_likelihood).all():
        wrong |= ~np.isfinite(found.log_likelihood)
    if wrong.any():
        step = int(wrong.any(axis=0).argmax())
        raise UserError(
            f"predictions in {int(wrong.any(axis=1).sum())} of {len(wrong)} episodes are not "
            f"finite, first after {step} adaptation steps; train with a lower learning rate, or "
            "evaluate fewer steps"
        )


def _at_once(size: EpisodesConfig) -> int:
    """Test episodes that need no more memory than a meta-batch in training: episodes of 60 ways
    may be two, where threads want more of 5 ways."""
    each = (size.training_shots or size.shots) + (size.training_queries or size.queries)
    trained = size.per_batch * (size.training_ways or size.ways) * each
    return max(size.per_batch, trained // (size.ways * (size.shots + size.queries)))


def _batches(episodes: int, size: int) -> Iterator[range]:
    """Numbers of the episodes, `size` at a time."""
    for start in range(0, episodes, size):
        yield range(start, min(start + size, episodes))


def _streams(seed: int, split: str, numbers: range) -> list[np.random.Generator]:
    return [stream(seed, f"few-shot evaluation {split}", 0, number) for number in numbers]


@torch.no_grad()
def _score(predictions: Sequence[Prediction], episodes: Episodes) -> tuple[Tensor, Tensor, Tensor]:
    each = _classes if predictions[0].log_probs is not None else _values
    found = [each(prediction, episodes.query_targets) for prediction in predictions]
    scores, likelihoods, confidences = zip(*found, strict=True)
    return (
        torch.stack(scores, dim=1).double().cpu(),
        torch.stack(likelihoods, dim=1).double().cpu(),
        confidences[-1].double().cpu(),
    )


def _classes(prediction: Prediction, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    assert prediction.log_probs is not None
    best, chosen = prediction.log_probs.max(dim=-1)
    right = (chosen == targets).float()
    own = prediction.log_probs.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    return right.mean(dim=1), own.mean(dim=1), torch.stack([best.exp(), right], dim=-1)


def _values(prediction: Prediction, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    mean, std = prediction.mean, prediction.std
    assert mean is not None
    error = (targets - mean).squeeze(-1)
    if std is None:
        nothing = torch.full_like(error, torch.nan)
        return error.square().mean(dim=1), nothing.mean(dim=1), torch.stack([nothing] * 2, dim=-1)
    std = std.squeeze(-1)
    density = log_density(targets.squeeze(-1), mean.squeeze(-1), std)
    return error.square().mean(dim=1), density.mean(dim=1), torch.stack([error / std, std], dim=-1)

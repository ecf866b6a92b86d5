"""Where BatchNorm's statistics come from: `transductive`, `support`, `running` or `none`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metarl.algorithms.learner import copied
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.models.encoder import Encoder, Statistics


class RunningStatistics:
    """Averages of BatchNorm's statistics over training, for use at test.

    Ioffe & Szegedy 2015 (section 3.1) as exponential averages: each `observe` moves them by
    `momentum` towards the mean over the B episodes of what it is given. The first one sets them,
    so that nothing of an arbitrary start is left in them.

    Args:
        momentum: share of the newest statistics.
    """

    def __init__(self, momentum: float = 0.1):
        self.momentum = momentum
        self.values: Statistics | None = None
        """Mean and variance `[C]` of each layer; None before the first `observe`."""

    @torch.no_grad()
    def observe(self, statistics: Statistics) -> None:
        """Take in the statistics of a training call, `[B, C]` or `[C]` each."""
        new = [[each.reshape(-1, each.shape[-1]).mean(0) for each in pair] for pair in statistics]
        if self.values is None:
            self.values = tuple((mean, variance) for mean, variance in new)
            return
        self.values = tuple(
            (old_mean.lerp(mean, self.momentum), old_variance.lerp(variance, self.momentum))
            for (old_mean, old_variance), (mean, variance) in zip(self.values, new, strict=True)
        )

    def state_dict(self) -> dict[str, Any]:
        """The averages: copies."""
        return {"values": copied([list(pair) for pair in self.values or ()])}

    def load_state_dict(self, state: dict[str, Any], device: torch.device | str = "cpu") -> None:
        """Continue from `state_dict`."""
        values = tuple((mean.to(device), var.to(device)) for mean, var in state["values"])
        self.values = values or None


@torch.no_grad()
def joined(pieces: Sequence[Statistics]) -> Statistics:
    """Statistics `[B, C]` of all episodes, of those of chunks; without a graph."""
    layers = zip(*pieces, strict=True)
    return tuple(
        (torch.cat([mean for mean, _ in layer]), torch.cat([variance for _, variance in layer]))
        for layer in layers
    )


def embed(
    encoder: Encoder,
    parameters: Mapping[str, Tensor],
    episodes: Episodes,
    mode: str,
    running: RunningStatistics | None = None,
) -> tuple[Tensor, Tensor, Statistics]:
    """Features of support `[B, n, F]` and queries `[B, m, F]`, and what normalised them.

    Support and queries pass the encoder in one call, normalised alike, as distances between them
    need; in mode `support` the queries follow with the statistics of the support set.

    Args:
        mode: `Problem.normalization`.
        running: at test, the running averages; None in training. A network that was never trained
            has none, and takes the support set's statistics, so that queries do not see each other.
    """
    averages = running.values if running is not None and mode == "running" else None
    untrained = mode == "running" and running is not None and not averages
    if mode == "support" or untrained:
        support, statistics = encoder(parameters, episodes.support_inputs)
        queries, _ = encoder(parameters, episodes.query_inputs, statistics)
        return support, queries, statistics
    count = episodes.support_inputs.shape[1]
    together = torch.cat([episodes.support_inputs, episodes.query_inputs], dim=1)
    features, statistics = encoder(parameters, together, averages)
    return features[:, :count], features[:, count:], statistics

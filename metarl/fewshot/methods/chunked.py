"""What methods share that draw random numbers in training, and differentiate in chunks."""

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Prediction, TrainingSource, reported
from metarl.fewshot.methods.metric import episode_chunks
from metarl.fewshot.models.encoder import Statistics
from metarl.fewshot.normalization import RunningStatistics, joined
from metarl.policies import Parameters

Found = tuple[dict[str, Tensor], Statistics]
"""`total` of each episode `[B]` with other numbers to report, and BatchNorm's statistics."""
_PARTS = ("log_probs", "mean", "std")


class ChunkedLearner(FewShotLearner):
    """One step of Adam for a meta-batch, whose chunks are differentiated on threads.

    A subclass draws what is random in training (`draw`), and says what some episodes lose (`judge`)
    and what it predicts of some (`predictions`).
    """

    def set_up(self) -> None:
        """Adam, a counter of updates, running statistics."""
        super().set_up()
        self.updates = 0
        self.running = RunningStatistics()

    def draw(self, episodes: Episodes, source: TrainingSource) -> tuple[Tensor, ...]:
        """Random numbers for a meta-batch, `[B, ...]` each."""
        return ()

    @abstractmethod
    def judge(self, episodes: Episodes, drawn: tuple[Tensor, ...]) -> Found:
        """Losses of B episodes with the random numbers drawn for them."""

    @abstractmethod
    def predictions(self, episodes: Episodes, steps: int) -> Sequence[Prediction]:
        """What `predict` yields, of some of the episodes."""

    def chunks(self, episodes: Episodes) -> list[slice]:
        """Episodes that are differentiated at once: of curves all, their points are so small that
        a pass takes no longer for many."""
        if self.problem.kind == "regression":
            return [slice(None)]
        return episode_chunks(episodes, self.device)

    def update(self, source: TrainingSource) -> Metrics:
        """One iteration; the gradients of the chunks are added in their order."""
        episodes = source.episodes()
        drawn = self.draw(episodes, source)
        values, count = list(self.parameters.values()), len(episodes.query_targets)

        def differentiate(chunk: slice) -> tuple[Any, dict[str, Tensor], Statistics]:
            found, statistics = self.judge(episodes[chunk], tuple(each[chunk] for each in drawn))
            loss = found["total"].sum() / count
            gradients = torch.autograd.grad(loss, values, materialize_grads=True)
            return gradients, {n: v.detach() for n, v in found.items()}, statistics

        parts = self.workers.map(differentiate, self.chunks(episodes))
        gradients, found, statistics = zip(*parts, strict=True)
        self.step([torch.stack(each).sum(dim=0) for each in zip(*gradients, strict=True)])
        self.running.observe(joined(statistics))
        self.updates += 1
        return reported({name: torch.cat([each[name] for each in found]) for name in found[0]})

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """`predictions` of all chunks."""

        @torch.no_grad()
        def predict_chunk(chunk: slice) -> Sequence[Prediction]:
            return self.predictions(episodes[chunk], steps)

        pieces = self.workers.map(predict_chunk, self.chunks(episodes))
        for each in zip(*pieces, strict=True):
            yield Prediction(*(_whole([getattr(p, name) for p in each]) for name in _PARTS))

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimiser, updates made, running statistics."""
        own = {"updates": self.updates, "running": self.running.state_dict()}
        return {**super().state_dict(), **own}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.updates = state["updates"]
        self.running.load_state_dict(state["running"], self.device)


def named(prefix: str, parameters: Mapping[str, Tensor]) -> Parameters:
    """The same parameters, called `prefix.*`."""
    return {f"{prefix}.{name}": value for name, value in parameters.items()}


def part(parameters: Mapping[str, Tensor], prefix: str) -> Parameters:
    """The parameters called `prefix.*`, without the prefix."""
    start = prefix + "."
    return {n.removeprefix(start): v for n, v in parameters.items() if n.startswith(start)}


def mixture(log_probs: Tensor, dim: int) -> Tensor:
    """Log-probability of an equal mixture over the samples along `dim`."""
    return log_probs.logsumexp(dim) - math.log(log_probs.shape[dim])


def cross_entropy(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Mean over queries `[B]` of log-probabilities `[B, m, N]` at targets `[B, m]`, negative."""
    return -log_probs.gather(-1, targets.unsqueeze(-1)).mean(dim=(1, 2))


def accuracy(log_probs: Tensor, targets: Tensor) -> Tensor:
    """Share of queries `[B]` whose most probable class is right."""
    return (log_probs.detach().argmax(dim=-1) == targets).float().mean(dim=1)


def _whole(pieces: list[Tensor | None]) -> Tensor | None:
    known = [each for each in pieces if each is not None]
    return torch.cat(known) if known else None

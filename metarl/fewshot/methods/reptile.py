"""Reptile: initial parameters near what an optimiser makes of them on each problem.

Nichol, Achiam & Schulman 2018, "On First-Order Meta-Learning Algorithms", algorithm 2:
theta <- theta + epsilon * mean_i(theta_i - theta), with theta_i after some steps of an optimiser on
mini-batches of problem i. Settings: section 6.1 and appendix A.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics, copied
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import Prediction, TrainingSource, reported
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.maml import MAML, detached, errors, score
from metarl.fewshot.models.encoder import Statistics
from metarl.fewshot.normalization import joined
from metarl.policies import Parameters, stack
from metarl.tasks import stream
from metarl.validation import require_at_least, require_positive

SECOND_MOMENT_DECAY, EPSILON = 0.999, 1e-8
"""Adam's beta_2, and what it adds to a root."""


@dataclass(frozen=True)
class ReptileConfig:
    """Settings; the defaults are the paper's for Omniglot 5-way (appendix A), with
    `episodes.training_shots` 10 and `episodes.per_batch` 5."""

    name: Literal["reptile"] = "reptile"
    """The method."""
    inner_steps: int = 5
    """Steps of the inner optimiser, k; at test `evaluation.steps` (the paper's 50)."""
    inner_batch: int = 10
    """Examples of a mini-batch; of all classes together."""
    inner_optimizer: Literal["adam", "sgd"] = "adam"
    """Adam without its first moment (beta_1 = 0), or plain gradient descent."""
    inner_learning_rate: float = 1e-3
    """Step size of the inner optimiser."""
    learning_rate: float = 1.0
    """Outer step size, epsilon, at the start."""
    decay_iterations: int | None = 100_000
    """Iteration in which a linearly falling epsilon reaches 0; null: it is constant."""
    test_batch: int = 5
    """Examples of a mini-batch at test."""
    episodes_per_chunk: int | None = None
    """Episodes that learn side by side: bounds memory and changes no result but by rounding; null:
    on the CPU 1 to 8 by their size, but of curves and on a GPU all."""

    def __post_init__(self) -> None:
        keys = ("inner_steps", "inner_batch", "test_batch", "decay_iterations")
        require_at_least(1, self, *keys, "episodes_per_chunk")
        require_positive(self, "inner_learning_rate", "learning_rate")


@dataclass
class Learning:
    """Where the inner optimiser is, on B episodes side by side."""

    parameters: Parameters
    """`[B, ...]`."""
    moments: Parameters
    """Adam's running means of squared gradients, `[B, ...]`."""
    steps: int
    """That these means have seen."""


@register_method("reptile", ReptileConfig)
class Reptile(MAML):
    """Initial parameters near what an optimiser makes of them on each problem.

    Adam's second moments outlive an iteration, as in the paper's code: an episode starts with those
    that earlier ones left, and the mean of what the episodes of an iteration make of them stays.

    The paper's transductive results are those of BatchNorm's mode `transductive`; for the others
    its code normalises each query together with the support set, where mode `support` takes the
    support set's statistics alone.
    """

    def adapts(self, name: str) -> bool:
        """Everything does: what no inner step changes would never be learned."""
        return True

    def set_up(self) -> None:
        """The outer step, counters and second moments."""
        super().set_up()
        self.optimizer = torch.optim.SGD(self.parameters.values(), lr=self.config.learning_rate)
        self.moments = {n: torch.zeros_like(v.detach()) for n, v in self.parameters.items()}
        """Adam's, at the start of an episode."""
        self.moment_steps = 0
        """Steps that they have seen."""
        self.iteration = 0
        """Outer steps so far."""

    # The inner loop -----------------------------------------------------------------------------

    def begin(self, episodes: Episodes) -> Learning:
        """Before the first step: what all episodes share, `[B, ...]`."""
        count = len(episodes.support_targets)
        parameters = {name: value.detach() for name, value in self.parameters.items()}
        return Learning(stack(parameters, count), stack(self.moments, count), self.moment_steps)

    def descend(
        self, learning: Learning, inputs: Tensor, targets: Tensor, training: bool
    ) -> tuple[Learning, Tensor, Statistics]:
        """One step on a mini-batch `[B, b, ...]` of each episode.

        Returns where it leads, outputs before it, and what normalised them.
        """
        names = list(learning.parameters)
        with torch.enable_grad():
            leaves = {n: v.detach().requires_grad_() for n, v in learning.parameters.items()}
            averages = None if training else self._averages()
            outputs, used = self.network(leaves, inputs, averages)
            loss = errors(outputs, targets).sum()
            found = torch.autograd.grad(loss, list(leaves.values()))
        gradients = dict(zip(names, found, strict=True))
        return self._follow(learning, gradients), outputs.detach(), detached([used])[0]

    def _follow(self, learning: Learning, gradients: Parameters) -> Learning:
        rate, steps = self.config.inner_learning_rate, learning.steps + 1
        if self.config.inner_optimizer == "sgd":
            moved = {n: v - rate * gradients[n] for n, v in learning.parameters.items()}
            return Learning(moved, learning.moments, steps)
        # v <- beta_2 v + (1 - beta_2) g^2; theta <- theta - rate * g / sqrt(v / (1 - beta_2^t))
        weight = 1.0 - SECOND_MOMENT_DECAY
        squares = {n: g.square() for n, g in gradients.items()}
        moments = {n: v.lerp(squares[n], weight) for n, v in learning.moments.items()}
        unbiased = 1.0 - SECOND_MOMENT_DECAY**steps
        moved = {
            name: value - rate * gradients[name] / ((moments[name] / unbiased).sqrt() + EPSILON)
            for name, value in learning.parameters.items()
        }
        return Learning(moved, moments, steps)

    # The outer loop -----------------------------------------------------------------------------

    def losses(self, episodes: Episodes, source: TrainingSource) -> dict[str, Tensor]:
        """Reptile has no loss across episodes."""
        raise NotImplementedError("Reptile follows no gradient of a loss; it has an update")

    def update(self, source: TrainingSource) -> Metrics:
        """k inner steps on every episode from the same parameters, then a step towards the mean.

        `loss/total` is the loss of the last mini-batches before their step.
        """
        episodes, config = source.episodes(), self.config
        count, examples = episodes.support_targets.shape[:2]
        generators = source.generators("mini-batches", count)
        orders = [
            order(each, examples, config.inner_batch, config.inner_steps) for each in generators
        ]
        rows = torch.from_numpy(np.stack(orders)).to(self.device)
        pieces = self.workers.map(
            lambda chunk: self._learn(episodes[chunk], rows[chunk]), self.chunks(episodes)
        )
        learned, found, seen = zip(*pieces, strict=True)
        for statistics in zip(*seen, strict=True):
            self.running.observe(joined(statistics))
        metrics = reported({name: torch.cat([each[name] for each in found]) for name in found[0]})
        return metrics | self._outer_step(learned)

    def _learn(
        self, episodes: Episodes, rows: Tensor
    ) -> tuple[Learning, dict[str, Tensor], list[Statistics]]:
        learning, seen = self.begin(episodes), []
        results: list[tuple[Tensor, Tensor]] = []
        for step in range(self.config.inner_steps):
            inputs, targets = chosen(episodes, rows[:, step])
            learning, outputs, used = self.descend(learning, inputs, targets, training=True)
            results.append((outputs, targets))
            seen.append(used)
        with torch.no_grad():
            answers, _ = self.answer(learning.parameters, episodes, training=True)
        measured = "mse" if self.problem.kind == "regression" else "accuracy"
        found = {
            "total": errors(*results[-1]),
            f"support_{measured}_before": score(*results[0]),
            measured: score(answers, episodes.query_targets),
        }
        return learning, found, seen

    def _outer_step(self, learned: Sequence[Learning]) -> Metrics:
        """theta <- theta + epsilon * mean_i(theta_i - theta)."""
        epsilon = self.epsilon()
        for group in self.optimizer.param_groups:
            group["lr"] = epsilon
        ends = {n: _mean([each.parameters[n] for each in learned]) for n in self.parameters}
        self.step([value.detach() - ends[name] for name, value in self.parameters.items()])
        self.moments = {n: _mean([each.moments[n] for each in learned]) for n in self.moments}
        self.moment_steps += self.config.inner_steps
        self.iteration += 1
        return {"train/epsilon": epsilon}

    def epsilon(self) -> float:
        """Size of the next outer step."""
        end = self.config.decay_iterations
        if end is None:
            return self.config.learning_rate
        return self.config.learning_rate * max(0.0, 1.0 - self.iteration / end)

    # At test ------------------------------------------------------------------------------------

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """Predictions after 0, 1, ..., `steps` inner steps on mini-batches of the support set."""
        batches = [episodes[chunk] for chunk in self.chunks(episodes)]
        learning = [self.begin(batch) for batch in batches]
        examples = episodes.support_targets.shape[1]
        # Always the same order: a prediction depends on nothing but its episode.
        drawn = order(stream(0, "reptile at test"), examples, self.config.test_batch, steps)
        rows = torch.from_numpy(drawn).to(self.device)
        for step in range(steps + 1):
            if step > 0:
                learning = self._descend_all(learning, batches, rows[step - 1])
            yield self._predict([each.parameters for each in learning], batches)

    def _descend_all(
        self, learning: list[Learning], batches: list[Episodes], row: Tensor
    ) -> list[Learning]:
        def descend(pair: tuple[Learning, Episodes]) -> Learning:
            rows = row.expand(len(pair[1].support_targets), -1)
            inputs, targets = chosen(pair[1], rows)
            return self.descend(pair[0], inputs, targets, training=False)[0]

        return self.workers.map(descend, list(zip(learning, batches, strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """Parameters, second moments, counters, running statistics."""
        counters = {"moment_steps": self.moment_steps, "iteration": self.iteration}
        return {**super().state_dict(), "moments": copied(self.moments), **counters}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.moments = {name: value.to(self.device) for name, value in state["moments"].items()}
        self.moment_steps, self.iteration = state["moment_steps"], state["iteration"]


def order(generator: np.random.Generator, examples: int, batch: int, steps: int) -> np.ndarray:
    """Examples `[steps, batch]`: every one is drawn once before any is drawn again."""
    needed = batch * steps
    rounds = [generator.permutation(examples) for _ in range(-(-needed // examples))]
    return np.concatenate(rounds or [np.empty(0, np.int64)])[:needed].reshape(steps, batch)


def chosen(episodes: Episodes, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs `[B, b, ...]` and targets of rows `[B, b]` of each support set."""
    episode = torch.arange(len(rows), device=rows.device).unsqueeze(1)
    return episodes.support_inputs[episode, rows], episodes.support_targets[episode, rows]


def _mean(pieces: Sequence[Tensor]) -> Tensor:
    """Over the episodes of all chunks."""
    return torch.cat(list(pieces)).mean(dim=0)

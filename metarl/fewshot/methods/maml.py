"""MAML: initial parameters from which a few gradient steps learn a new problem.

Finn, Abbeel & Levine 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks",
algorithm 2: theta'_i = theta - alpha * grad L_i(theta) on the support set (line 6), and
theta <- theta - beta * grad sum_i L_i(theta'_i) on the queries (line 10). `first_order` takes the
inner gradient as constant (section 5.2).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from metarl.algorithms.learner import Metrics
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import (
    FewShotLearner,
    Prediction,
    TrainingSource,
    reported,
)
from metarl.fewshot.methods import register_method
from metarl.fewshot.models.encoder import Statistics
from metarl.fewshot.models.layers import linear, linear_parameters
from metarl.fewshot.normalization import RunningStatistics, joined
from metarl.policies import Parameters, stack
from metarl.validation import require_at_least, require_positive
from metarl.workers import chunks

HEAD = "head"
"""Name of the linear layer from features to classes or values, which is meta-learned too."""


EXAMPLES_PER_CHUNK = 320
"""Examples of the episodes that one CPU thread differentiates at once."""


@dataclass(frozen=True)
class MAMLConfig:
    """Settings; the defaults are the paper's for Omniglot 5-way (appendix A.1)."""

    name: Literal["maml"] = "maml"
    """The method."""
    inner_steps: int = 1
    """Gradient steps that the meta-objective looks through; at test `evaluation.steps`."""
    inner_learning_rate: float = 0.4
    """Step size of the inner steps, alpha."""
    first_order: bool = False
    """Take inner gradients as constant in the meta-gradient: FOMAML."""
    learning_rate: float = 1e-3
    """Adam's step size in the outer loop, beta."""
    episodes_per_chunk: int | None = None
    """Episodes differentiated at once: bounds memory and changes no result but by rounding; null:
    on the CPU 1 to 8 by their size, but of curves and on a GPU all."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "inner_steps", "episodes_per_chunk")
        require_positive(self, "inner_learning_rate", "learning_rate")


@register_method("maml", MAMLConfig)
class MAML(FewShotLearner):
    """Initial parameters from which a few gradient steps learn a new problem."""

    config: Any
    has_steps = True
    fixed_ways = True
    kinds = ("classification", "regression")

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The encoder's and the head's."""
        encoder = self.problem.encoder
        parameters = encoder.initial_parameters(generator)
        return parameters | linear_parameters(generator, HEAD, encoder.features, self.problem.ways)

    def set_up(self) -> None:
        """Adam, and running averages of BatchNorm's statistics where they are asked for."""
        super().set_up()
        self.running = RunningStatistics()

    # What a variant changes ---------------------------------------------------------------------

    def adapts(self, name: str) -> bool:
        """Whether the inner loop changes the parameter of this name."""
        return name not in self.problem.encoder.fixed

    def inner_step(self, parameters: Parameters, gradients: Parameters) -> Parameters:
        """theta - alpha * gradient, for those that have a gradient; the others stay."""
        rate = self.config.inner_learning_rate
        return {
            name: value - rate * gradients[name] if name in gradients else value
            for name, value in parameters.items()
        }

    def network(
        self, parameters: Mapping[str, Tensor], inputs: Tensor, statistics: Statistics | None = None
    ) -> tuple[Tensor, Statistics]:
        """Logits `[B, n, N]` or values `[B, n, 1]`, and what normalised them."""
        features, used = self.problem.encoder(parameters, inputs, statistics)
        return linear(parameters, HEAD, features), used

    def start(self, episodes: Episodes) -> Parameters:
        """What the episodes adapt, `[B, ...]`; parameters that stay are shared."""
        count = len(episodes.support_targets)
        own = stack({n: v for n, v in self.parameters.items() if self.adapts(n)}, count)
        return {**self.parameters, **own}

    # The inner loop -----------------------------------------------------------------------------

    def adapt(
        self, parameters: Parameters, episodes: Episodes, training: bool
    ) -> tuple[Parameters, Tensor, Statistics]:
        """One inner step on the support sets, differentiable in training.

        Losses of different episodes share none of the adapted parameters, so one gradient of their
        sum holds the gradients of all episodes.

        Returns the parameters, outputs before the step, and what normalised them.
        """
        with torch.enable_grad():
            if not training:
                parameters = {n: v.detach().requires_grad_() for n, v in parameters.items()}
            averages = None if training else self._averages()
            outputs, used = self.network(parameters, episodes.support_inputs, averages)
            loss = errors(outputs, episodes.support_targets).sum()
            names = [name for name in parameters if self.adapts(name)]
            second_order = training and not self.config.first_order
            values = [parameters[name] for name in names]
            gradients = torch.autograd.grad(loss, values, create_graph=second_order)
            adapted = self.inner_step(parameters, dict(zip(names, gradients, strict=True)))
        if not training:
            adapted = {name: value.detach() for name, value in adapted.items()}
        return adapted, outputs.detach(), used

    def answer(
        self, parameters: Parameters, episodes: Episodes, training: bool
    ) -> tuple[Tensor, Statistics]:
        """Outputs `[B, m, ...]` for the queries, and what normalised them."""
        statistics = None if training else self._averages()
        mode = self.problem.normalization
        # A network that was never trained has no averages.
        untrained = mode == "running" and not training and statistics is None
        if mode == "support" or untrained:
            _, statistics = self.network(parameters, episodes.support_inputs)
        return self.network(parameters, episodes.query_inputs, statistics)

    def _averages(self) -> Statistics | None:
        return self.running.values if self.problem.normalization == "running" else None

    # The outer loop -----------------------------------------------------------------------------

    def losses(self, episodes: Episodes, source: TrainingSource) -> dict[str, Tensor]:
        """`total`: the queries' loss after the inner steps; what is right or wrong of the support
        set before the first and of the queries after the last, `[B]` each."""
        return self._losses(episodes)[0]

    def _losses(self, episodes: Episodes) -> tuple[dict[str, Tensor], list[Statistics]]:
        parameters, seen = self.start(episodes), []
        before: Tensor | None = None
        for _ in range(self.config.inner_steps):
            parameters, outputs, used = self.adapt(parameters, episodes, training=True)
            before = outputs if before is None else before
            seen.append(used)
        assert before is not None
        outputs, used = self.answer(parameters, episodes, training=True)
        measured = "mse" if self.problem.kind == "regression" else "accuracy"
        found = {
            "total": errors(outputs, episodes.query_targets),
            f"support_{measured}_before": score(before, episodes.support_targets),
            measured: score(outputs.detach(), episodes.query_targets),
        }
        return found, [*seen, used]

    def update(self, source: TrainingSource) -> Metrics:
        """One step of Adam down the mean loss of a meta-batch, whose chunks are differentiated on
        the threads and added in their order."""
        episodes = source.episodes()
        values = list(self.parameters.values())
        count = len(episodes.query_targets)

        def differentiate(chunk: slice) -> tuple[Any, dict[str, Tensor], list[Statistics]]:
            found, seen = self._losses(episodes[chunk])
            loss = found["total"].sum() / count
            gradients = torch.autograd.grad(loss, values, materialize_grads=True)
            return gradients, {n: v.detach() for n, v in found.items()}, detached(seen)

        parts = self.workers.map(differentiate, self.chunks(episodes))
        gradients, found, seen = zip(*parts, strict=True)
        self.step([torch.stack(each).sum(dim=0) for each in zip(*gradients, strict=True)])
        for statistics in zip(*seen, strict=True):
            self.running.observe(joined(statistics))
        return reported({name: torch.cat([each[name] for each in found]) for name in found[0]})

    def chunks(self, episodes: Episodes) -> list[slice]:
        """Which episodes are differentiated at once; not a matter of threads. Of curves all: their
        points are so small that a pass takes no longer for many."""
        count, size = len(episodes.query_inputs), self.config.episodes_per_chunk
        curves = self.problem.kind == "regression"
        if size is None and self.device.type == "cpu" and not curves:
            examples = episodes.support_inputs.shape[1] + episodes.query_inputs.shape[1]
            size = min(8, max(1, EXAMPLES_PER_CHUNK // examples))
        return chunks(count, size or count)

    # At test ------------------------------------------------------------------------------------

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """Predictions after 0, 1, ..., `steps` inner steps."""
        slices = self.chunks(episodes)
        batches = [episodes[chunk] for chunk in slices]
        with torch.no_grad():
            adapted = [self.start(batch) for batch in batches]
        for step in range(steps + 1):
            if step > 0:
                pairs = list(zip(adapted, batches, strict=True))
                adapted = self.workers.map(lambda pair: self.adapt(*pair, training=False)[0], pairs)

            yield self._predict(adapted, batches)

    def _predict(self, adapted: list[Parameters], batches: list[Episodes]) -> Prediction:
        @torch.no_grad()
        def answer(pair: tuple[Parameters, Episodes]) -> Tensor:
            return self.answer(*pair, training=False)[0]

        pairs = list(zip(adapted, batches, strict=True))
        outputs = torch.cat(self.workers.map(answer, pairs))
        if self.problem.kind == "regression":
            return Prediction(mean=outputs)
        return Prediction(log_probs=outputs.log_softmax(dim=-1))

    def state_dict(self) -> dict[str, Any]:
        """Parameters, optimiser, running statistics."""
        return {**super().state_dict(), "running": self.running.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.running.load_state_dict(state["running"], self.device)


def errors(outputs: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy of logits `[B, n, N]`, or mean squared error of values `[B, n, 1]`, of
    each episode `[B]`."""
    if targets.dtype != torch.int64:
        return (outputs - targets).square().mean(dim=(1, 2))
    each = functional.cross_entropy(outputs.flatten(0, 1), targets.flatten(), reduction="none")
    return each.view(targets.shape).mean(dim=1)


def score(outputs: Tensor, targets: Tensor) -> Tensor:
    """Share of right classes, or mean squared error, of each episode `[B]`."""
    if targets.dtype != torch.int64:
        return errors(outputs, targets)
    return (outputs.argmax(dim=-1) == targets).float().mean(dim=1)


def detached(seen: list[Statistics]) -> list[Statistics]:
    """The same numbers without a graph."""
    return [tuple((mean.detach(), variance.detach()) for mean, variance in s) for s in seen]

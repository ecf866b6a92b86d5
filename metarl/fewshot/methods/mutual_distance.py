"""Cross-task transfer: a network for each training task, held together by their mutual distance.

min sum_i L_i(theta_i) + lambda sum_{j != i} ||theta_i - theta_j||^2, each pair of tasks counted
once. The tasks' distances are those of the encoders; every task has its own last layer. With T
tasks the sum over pairs is T sum_i ||theta_i - mean||^2. A special case of Evgeniou & Pontil 2004,
"Regularized multi-task learning", on networks.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.errors import UserError
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.fine_tuning import FineTuning, FineTuningSettings
from metarl.fewshot.methods.parts import part_of_class
from metarl.fewshot.methods.pretraining import HEAD
from metarl.policies import Parameters, stack
from metarl.validation import require_at_least


@dataclass(frozen=True)
class MutualDistanceConfig(FineTuningSettings):
    """Settings of transfer with a mutual-distance penalty."""

    name: Literal["mutual_distance"] = "mutual_distance"
    """The method."""
    tasks: int = 4
    """T: networks, to which the training classes are dealt, whole groups to one task."""
    distance_penalty: float = 1e-3
    """lambda, the weight of the squared distance of two tasks' parameters; 0: they learn apart."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(2, self, "tasks")
        require_at_least(0, self, "distance_penalty")


@register_method("mutual_distance", MutualDistanceConfig)
class MutualDistance(FineTuning):
    """A network for each training task, drawn towards the others; a new task joins them.

    The new task's network starts from their mean, with a new last layer, and pays for its distance
    from each of them, lambda sum_i ||theta - theta_i||^2, which stay fixed.
    """

    config: MutualDistanceConfig

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The same network T times, `[T, ...]`; what no episode changes is shared."""
        self.parts = part_of_class(self.problem, self.config.tasks).to(self.device)
        one = super().initial_parameters(generator)
        own = {n: v for n, v in one.items() if n not in self.problem.encoder.fixed}
        if own.keys() <= {*HEAD}:
            raise UserError(
                "mutual_distance has no encoders to draw together: all of this one, the words, is "
                "shared; give model.hidden_sizes a layer"
            )
        copies = {name: value.clone() for name, value in stack(own, self.config.tasks).items()}
        return {**one, **copies}

    def update(self, source: TrainingSource) -> Metrics:
        """One step of all tasks on their own examples of one batch."""
        inputs, classes = source.examples(self.config.batch_size)
        rows, own = rows_of_parts(self.parts[classes], self.config.tasks)
        features, statistics = self.problem.encoder(self.parameters, inputs[rows])
        logits = torch.baddbmm(
            self.parameters[HEAD[1]].unsqueeze(1), features, self.parameters[HEAD[0]]
        )
        tasks = torch.arange(self.config.tasks, device=self.device)
        strangers = self.parts.unsqueeze(0) != tasks.unsqueeze(1)
        logits = logits.masked_fill(strangers.unsqueeze(1), -torch.inf)
        wanted = torch.where(own, classes[rows], strangers.logical_not().long().argmax(1)[:, None])
        each = F.cross_entropy(logits.transpose(1, 2), wanted, reduction="none") * own
        losses = each.sum(dim=1) / own.sum(dim=1).clamp(min=1)
        pairs = mutual_distance(self._encoders())
        loss = losses.sum() + self.config.distance_penalty * pairs
        values = list(self.parameters.values())
        self.step(torch.autograd.grad(loss, values, materialize_grads=True))
        self.running.observe(statistics)
        right = ((logits.detach().argmax(dim=-1) == wanted) & own).sum() / own.sum()
        metrics = {"loss/total": loss, "loss/mutual_distance": pairs, "train/accuracy": right}
        return {name: float(value.detach()) for name, value in metrics.items()}

    def start(self, episodes: Episodes) -> Parameters:
        """The mean of the tasks' encoders for every episode, with a last layer of zeros."""
        means = {name: value.mean(dim=0) for name, value in self._encoders().items()}
        return self.with_new_head({**self.parameters, **means}, episodes)

    def pull(self, parameters: Parameters) -> Tensor | float:
        """lambda sum_i ||theta - theta_i||^2, summed over episodes.

        But for a constant, it is lambda T ||theta - mean||^2.
        """
        if self.config.distance_penalty == 0 or self.config.layers == "head":
            return 0.0
        squares = [
            (parameters[name] - value.detach().mean(dim=0)).square().sum()
            for name, value in self._encoders().items()
        ]
        return self.config.distance_penalty * self.config.tasks * torch.stack(squares).sum()

    def _encoders(self) -> Parameters:
        """What each task has its own of, but for the last layers: `[T, ...]`."""
        shared = {*HEAD, *self.problem.encoder.fixed}
        return {name: value for name, value in self.parameters.items() if name not in shared}


def mutual_distance(stacked: Parameters) -> Tensor:
    """sum over pairs i < j of ||theta_i - theta_j||^2 of parameters `[T, ...]`."""
    sums = [len(value) * (value - value.mean(dim=0)).square().sum() for value in stacked.values()]
    return torch.stack(sums).sum()


def rows_of_parts(parts: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Rows `[T, r]` of a batch that belong to each part, and which of them do, `[T, r]`.

    Parts with fewer examples than the largest one repeat theirs, which then count for nothing but
    BatchNorm's statistics; a part without any looks at the whole batch likewise.
    """
    found = [torch.nonzero(parts == part).flatten() for part in range(count)]
    longest = max(len(each) for each in found)
    places = torch.arange(longest, device=parts.device)
    fallback = torch.arange(len(parts), device=parts.device)
    rows = [(each if len(each) else fallback) for each in found]
    return (
        torch.stack([each[places % len(each)] for each in rows]),
        torch.stack([places < len(each) for each in found]),
    )

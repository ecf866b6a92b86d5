"""Methods that keep samples of earlier stages, and go through them while they learn."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.ppo import Samples
from metarl.continual.methods.method import Method, Setting
from metarl.policies import Parameters

PER_STAGE = 10_000
"""Most samples that a learner keeps of a stage; as many as in Continual World."""


class Rehearsal(Method):
    """Keeps samples that the policy drew at the end of each stage, as many of every stage.

    They lie in a random order, drawn anew when a stage is added. Every step of the optimiser takes
    the next of them, as many as a minibatch has, and begins again where they end.
    """

    remembered: ClassVar[tuple[str, ...]] = ()
    """What is kept of a sample: fields of `Samples`, `weights` among them."""

    def __init__(self, setting: Setting, parameters: Parameters, strengths: Tensor):
        super().__init__(setting, parameters, strengths)
        self.kept: dict[str, Tensor] = {}
        """By field, `[k, M, ...]`; empty in the first stage."""
        self.share = 0
        """Samples kept of each stage."""
        self.position = torch.zeros(len(strengths), dtype=torch.int64)
        """The sample of each learner that comes next, `[k]`."""

    def memory(self) -> dict[str, Any]:
        return {"kept": self.kept, "share": self.share, "position": self.position}

    def end_stage(
        self,
        stage: int,
        parameters: Parameters,
        samples: Samples,
        generators: Sequence[np.random.Generator],
    ) -> None:
        pairs = zip(samples.weights, generators, strict=True)
        chosen = torch.from_numpy(np.stack([_choose(weights, g) for weights, g in pairs]))
        self.share = chosen.shape[1]
        joined = {}
        for name in self.remembered:
            new = _take(getattr(samples, name), chosen)
            joined[name] = torch.cat([self.kept[name], new], dim=1) if self.kept else new
        total = joined["weights"].shape[1]
        order = torch.from_numpy(np.stack([g.permutation(total) for g in generators]))
        self.kept = {name: _take(value, order) for name, value in joined.items()}
        self.position = torch.zeros_like(self.position)

    def next_part(self, rows: slice) -> dict[str, Tensor]:
        """The samples `[k, b, ...]` of some learners whose turn it is, by field."""
        total = self.kept["weights"].shape[1]
        size = min(total, -(-self.share // self.setting.config.ppo.minibatches))
        position = self.position[rows]
        index = (position.unsqueeze(1) + torch.arange(size, device=position.device)) % total
        # In place, and in these rows alone: other threads have the others.
        self.position[rows] = (position + size) % total
        return {name: _take(value[rows], index) for name, value in self.kept.items()}


def _choose(weights: Tensor, generator: np.random.Generator) -> np.ndarray:
    """Indices of samples that took place, again from the first where they are too few."""
    present = np.flatnonzero(weights.cpu().numpy())
    # Without any, these are zeros: a sample that weighs nothing.
    return np.resize(generator.permutation(present), min(len(weights), PER_STAGE))


def _take(values: Tensor, index: Tensor) -> Tensor:
    """Values `[k, M, ...]` at each learner's `index` `[k, b]`."""
    index = index.to(values.device)
    return values[torch.arange(len(index), device=values.device).unsqueeze(1), index]

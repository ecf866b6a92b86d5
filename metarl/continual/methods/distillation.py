"""Functional distillation: the policy is held where it was observed, not its parameters."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.ppo import Samples
from metarl.continual.methods.rehearsal import Rehearsal
from metarl.policies import Parameters


class Distillation(Rehearsal):
    """lambda E_o[KL(pi_{i-1}(.|o) || pi(.|o))], over observations o of all earlier stages.

    pi_{i-1} is the policy at the end of the last stage, whose distributions at all observations
    are stored then: Learning without Forgetting (Li & Hoiem 2016), without its temperature, at
    observations of the earlier tasks themselves, as in the behavioural cloning of Wolczyk et al.
    2022 (ClonEx). That one keeps for every task the distributions of the policy that had just
    learned it, and halves the sum of both gradients.

    Holds the policy alone: the value network has no part in it, `algorithm.penalized` no effect.
    """

    has_strength: ClassVar[bool] = True
    remembered: ClassVar[tuple[str, ...]] = ("inputs", "weights")

    @torch.no_grad()
    def end_stage(
        self,
        stage: int,
        parameters: Parameters,
        samples: Samples,
        generators: Sequence[np.random.Generator],
    ) -> None:
        super().end_stage(stage, parameters, samples, generators)
        targets: list[dict[str, Tensor]] = []
        # One learner after the other: all observations at once would need much memory.
        for row in range(len(self.strengths)):
            own = {name: value[row : row + 1] for name, value in parameters.items()}
            targets.append(self._distributions(own, self.kept["inputs"][row : row + 1]))
        self.kept |= {name: torch.cat([each[name] for each in targets]) for name in targets[0]}

    def _distributions(self, parameters: Parameters, inputs: Tensor) -> dict[str, Tensor]:
        """The policy's distributions by their own parameters, `[k, M, ...]`."""
        fields = self._policy_at(parameters, inputs)._asdict()
        lead = inputs.shape[:2]
        return {name: value.expand(*lead, value.shape[-1]) for name, value in fields.items()}

    def _policy_at(self, parameters: Parameters, inputs: Tensor) -> Any:
        return self.setting.policy.distribution(parameters, inputs[..., :-1])  # without t / T

    def loss(self, parameters: Parameters, samples: Samples, rows: slice) -> Tensor | None:
        if not self.kept:
            return None
        part = self.next_part(rows)
        now = self._policy_at(parameters, part["inputs"])
        before = type(now)(*(part[name] for name in now._fields))
        weights = part["weights"]
        total = (now.kl_from(before) * weights).sum(dim=1)
        mean = total / weights.sum(dim=1).clamp(min=1.0)
        return (self.strengths[rows] * mean).sum()

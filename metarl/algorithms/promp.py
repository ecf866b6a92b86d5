"""ProMP: proximal meta-policy search (Rothfuss et al. 2019).

The inner step differentiates the likelihood ratio, whose second derivative is that of the
low-variance curvature estimator (eq. 11 to 13); the outer loss is clipped and holds the initial
policy near the one that drew the pre-update samples (eq. 14).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.algorithms.maml_ppo import MAMLPPO, MAMLPPOConfig
from metarl.policies import Parameters
from metarl.policies.distributions import Distribution
from metarl.sampling import Batch
from metarl.validation import require_at_least, require_positive


@dataclass(frozen=True)
class ProMPConfig(MAMLPPOConfig):
    """Settings of ProMP; the defaults are those of the authors' MuJoCo script."""

    name: Literal["promp"] = "promp"  # pyright: ignore[reportIncompatibleVariableOverride]
    """The learner."""
    clip: float = 0.3
    """Likelihood ratios of the post-update policies count within 1 - clip and 1 + clip."""
    kl_penalty: float = 5e-4
    """Weight eta of KL(old || new) of the policies before each inner step."""
    kl_target: float | None = None
    """Wanted KL before the inner steps, in nats: the weight doubles after an iteration with more
    than 1.5 times as much and halves after one with less than 1 / 1.5; null: it is fixed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, self, "kl_penalty")
        require_positive(self, "kl_target")


class ProMP(MAMLPPO):
    """MAML-PPO with a KL penalty on the policies that draw the pre-update samples."""

    config: ProMPConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def set_up(self) -> None:
        """Also the weight of the penalty, which may adapt."""
        super().set_up()
        self.kl_penalty: float = self.config.kl_penalty
        self._old: dict[int, list[Distribution]] = {}  # by the first task of a chunk

    def outer_step(self, pre: Sequence[Batch], post: Batch) -> Metrics:
        """Adam steps on the clipped and penalised meta-objective."""
        chunks = self.chunks(len(post))
        old = self.workers.map(lambda c: self._pre_update(self.parameters, pre, c), chunks)
        self._old = {chunk.start: each for chunk, each in zip(chunks, old, strict=True)}
        metrics = super().outer_step(pre, post)
        kls = self.workers.map(lambda c: self._kl(self.parameters, pre, c), chunks)
        metrics |= {
            "loss/kl_pre": float(sum(kls)) / (len(post) * len(pre)),
            "loss/kl_penalty": self.kl_penalty,
        }
        self._old = {}
        self._adapt_penalty(metrics["loss/kl_pre"])
        return metrics

    def penalty(self, stages: list[Parameters], pre: Sequence[Batch], chunk: slice) -> Tensor:
        """eta * sum over tasks of KL(old || new), before each inner step (eq. 14)."""
        return self.kl_penalty * self._kl_of(stages, pre, chunk)

    @torch.no_grad()
    def _kl(self, parameters: Parameters, pre: Sequence[Batch], chunk: slice) -> Tensor:
        stages = self.policies(parameters, pre, chunk, create_graph=False)
        return self._kl_of(stages, pre, chunk)

    def _kl_of(self, stages: list[Parameters], pre: Sequence[Batch], chunk: slice) -> Tensor:
        total = torch.zeros((), device=self.device)
        for batch, old, new in zip(pre, self._old[chunk.start], stages, strict=False):
            samples = batch[chunk]
            distribution = self.policy.distribution(new, samples.observations)
            total = total + (distribution.kl_from(old) * samples.weights).sum()
        return total

    @torch.no_grad()
    def _pre_update(
        self, parameters: Parameters, pre: Sequence[Batch], chunk: slice
    ) -> list[Distribution]:
        """Action distributions at the samples of each inner step, of the policies before it."""
        stages = self.policies(parameters, pre, chunk, create_graph=False)
        return [
            self.policy.distribution(policies, batch.observations[chunk]).detach()
            for policies, batch in zip(stages, pre, strict=False)
        ]

    def _adapt_penalty(self, kl: float) -> None:
        target = self.config.kl_target
        if target is None:
            return
        if kl > 1.5 * target:
            self.kl_penalty *= 2.0
        elif kl < target / 1.5:
            self.kl_penalty /= 2.0

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        return {**super().state_dict(), "kl_penalty": self.kl_penalty}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.kl_penalty = state["kl_penalty"]

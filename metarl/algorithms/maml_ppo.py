"""MAML with PPO's clipped objective as its outer loss (Schulman et al. 2017, eq. 7).

The outer step of ProMP's code, garage and RLlib: some Adam steps on one iteration's samples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics, copied, load_optimized
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.optimization import to_vector
from metarl.policies import Parameters
from metarl.sampling import Batch
from metarl.validation import require_at_least, require_positive


@dataclass(frozen=True)
class MAMLPPOConfig(MAMLConfig):
    """Settings of MAML-PPO; the defaults are those of garage's `maml_ppo` and RLlib."""

    name: Literal["maml_ppo"] = "maml_ppo"
    """The learner."""
    outer_learning_rate: float = 1e-3
    """Step size of Adam on the meta-objective."""
    outer_steps: int = 5
    """Adam steps on the samples of one iteration."""
    clip: float = 0.5
    """Likelihood ratios of the post-update policies count within 1 - clip and 1 + clip."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "outer_steps")
        require_positive(self, "outer_learning_rate", "clip")


class MAMLPPO(MAML):
    """MAML whose outer step is a few steps of Adam on a clipped surrogate; see `MAML`."""

    config: MAMLPPOConfig

    def set_up(self) -> None:
        """An optimiser, which holds the parameters as leaves."""
        self.parameters = self.leaves(self.parameters)
        self.optimizer = torch.optim.Adam(
            self.parameters.values(), lr=self.config.outer_learning_rate
        )

    def outer_step(self, pre: Sequence[Batch], post: Batch) -> Metrics:
        """Adam steps on the clipped meta-objective."""
        metrics: Metrics = {}
        for step in range(self.config.outer_steps):
            loss, gradients = self.meta_gradient(pre, post)
            for value, gradient in zip(self.parameters.values(), gradients, strict=True):
                value.grad = gradient
            self.optimizer.step()
            if step == 0:
                norm = float(to_vector(gradients).norm())
                metrics |= {"loss/meta_before": loss, "loss/gradient_norm": norm}
        metrics["loss/meta_after"] = self.evaluate(pre, post)
        return {**metrics, **self.policy_metrics()}

    def meta_gradient(self, pre: Sequence[Batch], post: Batch) -> tuple[float, list[Tensor]]:
        """Mean meta-loss over tasks and its gradient in each parameter, through the inner steps."""
        tasks = len(post)

        def differentiate(chunk: slice) -> tuple[Tensor, tuple[Tensor, ...]]:
            leaves = self.leaves(self.parameters)
            loss = self.meta_loss(leaves, pre, post, chunk, create_graph=True) / tasks
            gradients = torch.autograd.grad(loss, tuple(leaves.values()), materialize_grads=True)
            return loss.detach(), gradients

        results = self.workers.map(differentiate, self.chunks(tasks))
        losses, gradients = zip(*results, strict=True)
        return float(sum(losses)), [torch.stack(g).sum(dim=0) for g in zip(*gradients, strict=True)]

    def evaluate(self, pre: Sequence[Batch], post: Batch) -> float:
        """Mean meta-loss over tasks at the current parameters."""

        @torch.no_grad()
        def evaluate_chunk(chunk: slice) -> Tensor:
            return self.meta_loss(self.parameters, pre, post, chunk, create_graph=False)

        losses = self.workers.map(evaluate_chunk, self.chunks(len(post)))
        return float(sum(losses)) / len(post)

    def meta_loss(
        self,
        parameters: Parameters,
        pre: Sequence[Batch],
        post: Batch,
        chunk: slice,
        create_graph: bool,
    ) -> Tensor:
        """Sum over tasks of the meta-loss of a chunk."""
        stages = self.policies(parameters, pre, chunk, create_graph)
        loss = self.clipped_loss(stages[-1], post[chunk]) + self.penalty(stages, pre, chunk)
        correction = self.config.sampling_correction
        if correction:
            loss = loss + correction * self.sampling_loss(parameters, pre, post, chunk)
        return loss

    def penalty(self, stages: list[Parameters], pre: Sequence[Batch], chunk: slice) -> Tensor:
        """What is added to the loss for the policies before and after each inner step."""
        return torch.zeros((), device=self.device)

    def clipped_loss(self, policies: Parameters, samples: Batch) -> Tensor:
        """Sum over tasks of -E[min(ratio * A, clip(ratio) * A)] for stacked policies."""
        distribution = self.policy.distribution(policies, samples.observations)
        ratio = samples.ratios(distribution.log_prob(samples.actions))
        clipped = ratio.clamp(1.0 - self.config.clip, 1.0 + self.config.clip)
        gain = torch.minimum(ratio * samples.advantages, clipped * samples.advantages)
        return -(gain * samples.weights).sum()

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        return {**super().state_dict(), "optimizer": copied(self.optimizer.state_dict())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        load_optimized(self.parameters, self.optimizer, state)

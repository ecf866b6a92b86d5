"""MAML with TRPO as its outer optimiser (Finn et al. 2017; Schulman et al. 2015)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.algorithms.maml import MAML, MAMLConfig
from metarl.optimization import (
    LinearMap,
    backtracking_line_search,
    conjugate_gradient,
    from_vector,
    to_vector,
)
from metarl.policies import Parameters
from metarl.policies.distributions import Distribution
from metarl.sampling import Batch
from metarl.validation import require, require_at_least, require_positive
from metarl.workers import Workers


@dataclass(frozen=True)
class MAMLTRPOConfig(MAMLConfig):
    """Settings of MAML-TRPO; the defaults are the MAML paper's where it states them."""

    name: Literal["maml_trpo"] = "maml_trpo"
    """The learner."""
    max_kl: float = 0.01
    """Trust region: largest mean KL divergence of the post-update policies, in nats."""
    cg_iterations: int = 10
    """Conjugate-gradient iterations, one Fisher product each."""
    cg_damping: float = 1e-5
    """Added to the diagonal of the Fisher matrix."""
    line_search_steps: int = 15
    """Tries of the backtracking line search."""
    line_search_decay: float = 0.8
    """Factor between its tries."""
    fisher_task_fraction: float = 1.0
    """Fraction of the tasks used for Fisher products, with all their pre-update samples."""
    fisher_sample_fraction: float = 1.0
    """Fraction of the post-update samples of these tasks used for Fisher products: every n-th time
    step, with n the nearest integer to 1 / fraction."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "cg_iterations", "line_search_steps")
        require_positive(self, "max_kl")
        decay = self.line_search_decay
        require(0 < decay < 1, "line_search_decay", f"must lie between 0 and 1, got {decay}")
        for key in ("fisher_task_fraction", "fisher_sample_fraction"):
            value = getattr(self, key)
            require(0 < value <= 1, key, f"must lie in (0, 1], got {value}")
        require(self.cg_damping >= 0, "cg_damping", f"must not be negative, got {self.cg_damping}")


class MAMLTRPO(MAML):
    """MAML whose outer step is one natural-gradient step in a trust region; see `MAML`."""

    config: MAMLTRPOConfig

    def outer_step(self, pre: Sequence[Batch], post: Batch) -> Metrics:
        """One TRPO step on the meta-objective; parameters stay when no step is accepted.

        Args:
            pre: the samples of each inner step.
            post: samples of the post-update policies.
        """
        config = self.config
        old_loss, gradient, old = self.meta_gradient(pre, post)
        fisher = self.fisher_product(pre, post)
        direction, fisher_direction = conjugate_gradient(fisher, gradient, config.cg_iterations)
        # The largest step with a quadratic KL of max_kl: beta = sqrt(2 max_kl / s^T F s).
        curvature = direction.dot(fisher_direction)
        step = torch.sqrt(2.0 * config.max_kl / curvature) * direction

        def evaluate(vector: Tensor) -> tuple[float, float]:
            return self.meta_loss_and_kl(from_vector(vector, self.parameters), pre, post, old)

        found = backtracking_line_search(
            evaluate,
            to_vector(self.parameters),
            step,
            old_loss,
            config.max_kl,
            config.line_search_decay,
            config.line_search_steps,
        )
        if found.accepted:
            self.parameters = from_vector(found.point, self.parameters)
        return {
            "loss/meta_before": old_loss,
            "loss/meta_after": found.loss,
            "loss/kl": found.constraint,
            "loss/line_search_steps": float(found.evaluations),
            "loss/accepted": float(found.accepted),
            "loss/gradient_norm": float(gradient.norm()),
            **self.policy_metrics(),
        }

    def meta_gradient(
        self, pre: Sequence[Batch], post: Batch
    ) -> tuple[float, Tensor, list[Distribution]]:
        """Meta-loss, its gradient `[P]` through the inner steps, and the post-update policies.

        The meta-loss is the mean over tasks of -E[pi_theta'(a|s) / pi_old'(a|s) * A'].
        """
        tasks = len(post)

        def differentiate(chunk: slice) -> tuple[Tensor, Tensor, Any]:
            leaves = self.leaves(self.parameters)
            new = self.post_update(leaves, pre, post, chunk, create_graph=True)
            loss = self._surrogate(leaves, new, pre, post, chunk) / tasks
            pieces = torch.autograd.grad(loss, tuple(leaves.values()), materialize_grads=True)
            return loss.detach(), to_vector(pieces), new.detach()

        results = self.workers.map(differentiate, self.chunks(tasks))
        losses, gradients, old = zip(*results, strict=True)
        return float(sum(losses)), torch.stack(gradients).sum(dim=0), list(old)

    def meta_loss_and_kl(
        self, parameters: Parameters, pre: Sequence[Batch], post: Batch, old: list[Distribution]
    ) -> tuple[float, float]:
        """Meta-loss and mean KL(old post-update policy || new) of other initial parameters."""
        tasks = len(post)

        def evaluate(part: tuple[slice, Any]) -> tuple[Tensor, Tensor]:
            chunk, old_distribution = part
            new = self.post_update(parameters, pre, post, chunk, create_graph=False)
            kl = (new.kl_from(old_distribution) * post.weights[chunk]).sum()
            return self._surrogate(parameters, new, pre, post, chunk), kl

        parts = list(zip(self.chunks(tasks), old, strict=True))
        losses, kls = zip(*self.workers.map(evaluate, parts), strict=True)
        return float(sum(losses)) / tasks, float(sum(kls)) / tasks

    def fisher_product(self, pre: Sequence[Batch], post: Batch) -> "FisherProduct":
        """v -> F v, the Hessian of the post-update policies' mean KL in the initial parameters.

        At the old parameters it is J^T F_pi J, with F_pi the Fisher information of the action
        distributions and J their Jacobian through the inner steps.
        """
        config = self.config
        tasks = max(1, round(config.fisher_task_fraction * len(post)))
        thinned = post.every(max(1, round(1.0 / config.fisher_sample_fraction)))

        def linearize(chunk: slice) -> FisherPiece:
            leaves = self.leaves(self.parameters)
            distribution = self.post_update(leaves, pre, thinned, chunk, create_graph=True)
            jacobian = LinearMap(distribution, tuple(leaves.values()))
            return jacobian, distribution.detach(), thinned.weights[chunk] / tasks

        pieces = self.workers.map(linearize, self.chunks(tasks))
        return FisherProduct(pieces, self.parameters, config.cg_damping, self.workers)

    def _surrogate(
        self,
        parameters: Parameters,
        new: Distribution,
        pre: Sequence[Batch],
        post: Batch,
        chunk: slice,
    ) -> Tensor:
        """Sum over tasks of -E[pi_new / pi_old * A], and E-MAML's term where it is wanted."""
        samples = post[chunk]
        ratio = samples.ratios(new.log_prob(samples.actions))
        loss = -(ratio * samples.advantages * samples.weights).sum()
        correction = self.config.sampling_correction
        if correction:
            loss = loss + correction * self.sampling_loss(parameters, pre, post, chunk)
        return loss


FisherPiece = tuple[LinearMap, Any, Tensor]
"""Of one chunk: Jacobian of its action distributions, these distributions, sample weights."""


class FisherProduct:
    """v -> F v + damping v, linearised once; see `MAMLTRPO.fisher_product`."""

    def __init__(
        self, pieces: Sequence[FisherPiece], like: Parameters, damping: float, workers: Workers
    ):
        self._pieces, self._like, self._damping = pieces, like, damping
        self._workers = workers

    def __call__(self, vector: Tensor) -> Tensor:
        tangents = tuple(from_vector(vector, self._like).values())

        def product(piece: FisherPiece) -> Tensor:
            jacobian, distribution, weights = piece
            outputs = type(distribution)(*jacobian.forward(tangents))
            return to_vector(jacobian.transpose(distribution.fisher_product(outputs, weights)))

        total = torch.stack(self._workers.map(product, self._pieces)).sum(dim=0)
        return total + self._damping * vector

"""MAML with TRPO as its outer optimiser (Finn et al. 2017; Schulman et al. 2015)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.optimization import (
    LinearMap,
    backtracking_line_search,
    conjugate_gradient,
    from_vector,
    to_vector,
)
from metarl.policies import Parameters, Policy, stack
from metarl.policies.distributions import Distribution
from metarl.sampling import Batch, Sampler, Trajectories
from metarl.validation import require
from metarl.workers import Workers


@dataclass(frozen=True)
class MAMLTRPOConfig:
    """Settings of MAML-TRPO; the defaults are the MAML paper's where it states them."""

    name: Literal["maml_trpo"] = "maml_trpo"
    """The learner."""
    inner_steps: int = 1
    """Adaptation steps that the meta-objective looks through."""
    inner_learning_rate: float = 0.1
    """Step size of the inner policy gradient."""
    inner_loss: Literal["likelihood_ratio", "log_likelihood"] = "likelihood_ratio"
    """Surrogate of the inner step. Both have the same gradient; the ratio form also has the right
    second derivative (the original code differentiates the log-likelihood)."""
    first_order: bool = False
    """Take the inner gradient as constant in the meta-gradient (FOMAML)."""
    discount: float = 0.99
    """Discount factor, gamma."""
    gae_lambda: float = 1.0
    """Lambda of generalised advantage estimation; 1 is returns minus baseline."""
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
    tasks_per_chunk: int = 4
    """Tasks differentiated at once: bounds memory and changes no result but by rounding."""

    def __post_init__(self) -> None:
        for key in ("inner_steps", "cg_iterations", "line_search_steps", "tasks_per_chunk"):
            require(getattr(self, key) >= 1, key, f"must be at least 1, got {getattr(self, key)}")
        for key in ("inner_learning_rate", "max_kl"):
            require(getattr(self, key) > 0, key, f"must be positive, got {getattr(self, key)}")
        for key in ("discount", "gae_lambda"):
            value = getattr(self, key)
            require(0 <= value <= 1, key, f"must lie in [0, 1], got {value}")
        decay = self.line_search_decay
        require(0 < decay < 1, "line_search_decay", f"must lie between 0 and 1, got {decay}")
        for key in ("fisher_task_fraction", "fisher_sample_fraction"):
            value = getattr(self, key)
            require(0 < value <= 1, key, f"must lie in (0, 1], got {value}")
        require(self.cg_damping >= 0, "cg_damping", f"must not be negative, got {self.cg_damping}")


class MAMLTRPO:
    """Learns initial parameters from which one policy-gradient step adapts to a task.

    Args:
        policy: the policy of every task.
        config: settings.
        generator: random stream of the initial parameters.
        device: where the learner differentiates; rollouts stay on the CPU.
        workers: threads for chunks of tasks on the CPU.
    """

    def __init__(
        self,
        policy: Policy,
        config: MAMLTRPOConfig,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.policy = policy
        self.config = config
        self.device = torch.device(device)
        self.workers = workers or Workers()
        initial = policy.initial_parameters(generator)
        self.parameters: Parameters = {n: v.to(self.device) for n, v in initial.items()}

    # The inner loop -----------------------------------------------------------------------------

    def inner_loss(self, parameters: Parameters, batch: Batch) -> Tensor:
        """Sum over tasks of -E[ratio * A] or -E[log pi * A], for stacked parameters `[K, ...]`."""
        distribution = self.policy.distribution(parameters, batch.observations)
        log_prob = distribution.log_prob(batch.actions)
        ratio_form = self.config.inner_loss == "likelihood_ratio"
        score = batch.ratios(log_prob) if ratio_form else log_prob
        return -(score * batch.advantages * batch.weights).sum()

    def adapt(
        self, parameters: Parameters, batch: Batch, rate: float, create_graph: bool = False
    ) -> Parameters:
        """theta_k - rate * grad L_k(theta_k) for stacked parameters `[K, ...]`.

        Losses of different tasks share no parameters, so one gradient of their sum holds all K.
        """
        with torch.enable_grad():
            if not create_graph:
                parameters = {n: v.detach().requires_grad_() for n, v in parameters.items()}
            loss = self.inner_loss(parameters, batch)
            second_order = create_graph and not self.config.first_order
            values = tuple(parameters.values())
            gradients = torch.autograd.grad(loss, values, create_graph=second_order)
            adapted = {
                name: value - rate * gradient
                for (name, value), gradient in zip(parameters.items(), gradients, strict=True)
            }
        return adapted if create_graph else {n: v.detach() for n, v in adapted.items()}

    def adapt_in_chunks(self, parameters: Parameters, batch: Batch, rate: float) -> Parameters:
        """`adapt` without a graph, a few tasks at a time."""

        def adapt_chunk(chunk: slice) -> Parameters:
            some = {name: value[chunk] for name, value in parameters.items()}
            return self.adapt(some, batch[chunk], rate)

        pieces = self.workers.map(adapt_chunk, self._chunks(len(batch)))
        return {name: torch.cat([piece[name] for piece in pieces]) for name in parameters}

    def prepare(self, trajectories: Trajectories, policies: Parameters) -> Batch:
        """Samples that `policies` drew, with advantages, on the learner's device."""
        config = self.config

        @torch.no_grad()
        def prepare_chunk(chunk: slice) -> Batch:
            some = trajectories[chunk].to(self.device)
            batch = Batch.from_trajectories(some, config.discount, config.gae_lambda)
            parameters = {name: value[chunk] for name, value in policies.items()}
            distribution = self.policy.distribution(parameters, batch.observations)
            return batch.with_log_probs(distribution.log_prob(batch.actions))

        chunks = self._chunks(len(trajectories.mask))
        return Batch.concatenate(self.workers.map(prepare_chunk, chunks))

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """Trajectories of the policies after 0, 1, ..., `steps` adaptation steps, `[K, N, T, ...]`.

        `rates` are the learning rates of the first steps, the last one repeated; None: the inner
        learning rate. Each step uses the trajectories yielded just before it.
        """
        rates = rates or [self.config.inner_learning_rate]
        policies = stack(self.parameters, sampler.task_count)
        for step in range(steps):
            trajectories = sampler.collect(policies)
            yield trajectories
            rate = rates[min(step, len(rates) - 1)]
            batch = self.prepare(trajectories, policies)
            policies = self.adapt_in_chunks(policies, batch, rate)
        yield sampler.collect(policies)

    # The outer loop -----------------------------------------------------------------------------

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One meta-iteration on the sampler's tasks: rollouts, inner steps, one TRPO step."""
        policies = stack(self.parameters, sampler.task_count)
        stages: list[Trajectories] = []
        batches: list[Batch] = []
        for step in range(self.config.inner_steps + 1):
            if step > 0:
                rate = self.config.inner_learning_rate
                policies = self.adapt_in_chunks(policies, batches[-1], rate)
            stages.append(sampler.collect(policies))
            batches.append(self.prepare(stages[-1], policies))
        before, after = float(stages[0].returns.mean()), float(stages[-1].returns.mean())
        return {
            "train/return_pre": before,
            "train/return_post": after,
            "train/adaptation_gain": after - before,
            "train/failed_episodes": float(sum(int(stage.failed.sum()) for stage in stages)),
            **self.outer_step(batches[:-1], batches[-1]),
        }

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
            **self._policy_metrics(),
        }

    def meta_gradient(
        self, pre: Sequence[Batch], post: Batch
    ) -> tuple[float, Tensor, list[Distribution]]:
        """Meta-loss, its gradient `[P]` through the inner steps, and the post-update policies.

        The meta-loss is the mean over tasks of -E[pi_theta'(a|s) / pi_old'(a|s) * A'].
        """
        tasks = len(post)

        def differentiate(chunk: slice) -> tuple[Tensor, Tensor, Any]:
            leaves = self._leaves(self.parameters)
            new = self._post_update(leaves, pre, post, chunk, create_graph=True)
            loss = self._surrogate(new, post[chunk]) / tasks
            pieces = torch.autograd.grad(loss, tuple(leaves.values()), materialize_grads=True)
            return loss.detach(), to_vector(pieces), new.detach()

        results = self.workers.map(differentiate, self._chunks(tasks))
        losses, gradients, old = zip(*results, strict=True)
        return float(sum(losses)), torch.stack(gradients).sum(dim=0), list(old)

    def meta_loss_and_kl(
        self, parameters: Parameters, pre: Sequence[Batch], post: Batch, old: list[Distribution]
    ) -> tuple[float, float]:
        """Meta-loss and mean KL(old post-update policy || new) of other initial parameters."""
        tasks = len(post)

        def evaluate(part: tuple[slice, Any]) -> tuple[Tensor, Tensor]:
            chunk, old_distribution = part
            samples = post[chunk]
            new = self._post_update(parameters, pre, post, chunk, create_graph=False)
            kl = (new.kl_from(old_distribution) * samples.weights).sum()
            return self._surrogate(new, samples), kl

        parts = list(zip(self._chunks(tasks), old, strict=True))
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
            leaves = self._leaves(self.parameters)
            distribution = self._post_update(leaves, pre, thinned, chunk, create_graph=True)
            jacobian = LinearMap(distribution, tuple(leaves.values()))
            return jacobian, distribution.detach(), thinned.weights[chunk] / tasks

        pieces = self.workers.map(linearize, self._chunks(tasks))
        return FisherProduct(pieces, self.parameters, config.cg_damping, self.workers)

    def _post_update(
        self,
        parameters: Parameters,
        pre: Sequence[Batch],
        post: Batch,
        chunk: slice,
        create_graph: bool,
    ) -> Any:
        """Action distributions of the adapted policies at the post-update observations."""
        observations = post.observations[chunk]
        policies = stack(parameters, len(observations))
        for batch in pre:
            rate = self.config.inner_learning_rate
            policies = self.adapt(policies, batch[chunk], rate, create_graph)
        with torch.set_grad_enabled(create_graph):
            return self.policy.distribution(policies, observations)

    @staticmethod
    def _surrogate(new: Distribution, samples: Batch) -> Tensor:
        """Sum over tasks of -E[pi_new / pi_old * A]."""
        ratio = samples.ratios(new.log_prob(samples.actions))
        return -(ratio * samples.advantages * samples.weights).sum()

    def _chunks(self, tasks: int) -> list[slice]:
        size = self.config.tasks_per_chunk
        return [slice(start, min(start + size, tasks)) for start in range(0, tasks, size)]

    @staticmethod
    def _leaves(parameters: Parameters) -> Parameters:
        return {name: value.detach().requires_grad_() for name, value in parameters.items()}

    def _policy_metrics(self) -> Metrics:
        if "log_std" not in self.parameters:
            return {}
        return {"train/policy_std": float(self.parameters["log_std"].exp().mean())}

    # State --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads."""
        return {"parameters": {name: value.cpu() for name, value in self.parameters.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        loaded = state["parameters"]
        self.parameters = {name: loaded[name].to(self.device) for name in self.parameters}


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

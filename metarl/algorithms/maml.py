"""What the MAML family shares: the inner policy-gradient step and the meta-gradient through it.

Finn et al. 2017, "Model-Agnostic Meta-Learning for Fast Adaptation of Deep Networks", algorithm 3.
A learner of the family adds its outer step.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics, ParameterLearner, policy_std
from metarl.policies import Parameters, stack
from metarl.sampling import Batch, Sampler, Trajectories
from metarl.validation import require, require_at_least, require_positive
from metarl.workers import chunks


@dataclass(frozen=True)
class MAMLConfig:
    """Settings of the inner loop; the defaults are the MAML paper's where it states them."""

    name: str = ""
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
    sampling_correction: float = 0.0
    """Weight of E-MAML's term, which credits pre-update samples with the return that adapting to
    them brings, a mean over time steps: the horizon T gives the paper's sum; 0: MAML."""
    tasks_per_chunk: int = 4
    """Tasks differentiated at once: bounds memory and changes no result but by rounding."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "inner_steps", "tasks_per_chunk")
        require_positive(self, "inner_learning_rate")
        for key in ("discount", "gae_lambda"):
            value = getattr(self, key)
            require(0 <= value <= 1, key, f"must lie in [0, 1], got {value}")
        require_at_least(0, self, "sampling_correction")


class MAML(ParameterLearner):
    """Learns initial parameters from which one policy-gradient step adapts to a task."""

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """What is meta-learned, at the start."""
        return self.policy.initial_parameters(generator)

    def start(self, parameters: Parameters, tasks: int) -> Parameters:
        """What the tasks adapt, before their first step, `[K, ...]`; here the parameters."""
        return stack(parameters, tasks)

    def step(self, parameters: Parameters, gradients: Parameters, rate: float) -> Parameters:
        """theta - rate * gradient; `gradients` holds those that adapt, the others stay."""
        return {
            name: value - rate * gradients[name] if name in gradients else value
            for name, value in parameters.items()
        }

    def adapts(self, name: str) -> bool:
        """Whether the inner step changes the parameter of this name."""
        return True

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
            names = [name for name in parameters if self.adapts(name)]
            values = tuple(parameters[name] for name in names)
            gradients = torch.autograd.grad(loss, values, create_graph=second_order)
            adapted = self.step(parameters, dict(zip(names, gradients, strict=True)), rate)
        return adapted if create_graph else {n: v.detach() for n, v in adapted.items()}

    def adapt_in_chunks(self, parameters: Parameters, batch: Batch, rate: float) -> Parameters:
        """`adapt` without a graph, a few tasks at a time."""

        def adapt_chunk(chunk: slice) -> Parameters:
            some = {name: value[chunk] for name, value in parameters.items()}
            return self.adapt(some, batch[chunk], rate)

        pieces = self.workers.map(adapt_chunk, self.chunks(len(batch)))
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

        chunks = self.chunks(len(trajectories.mask))
        return Batch.concatenate(self.workers.map(prepare_chunk, chunks))

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """Trajectories of the policies after 0, 1, ..., `steps` adaptation steps, `[K, N, T, ...]`.

        `rates` are the learning rates of the first steps, the last one repeated; None: the inner
        learning rate. Each step uses the trajectories yielded just before it.
        """
        rates = rates or [self.config.inner_learning_rate]
        policies = self.start(self.parameters, sampler.task_count)
        for step in range(steps):
            trajectories = sampler.collect(policies)
            yield trajectories
            rate = rates[min(step, len(rates) - 1)]
            batch = self.prepare(trajectories, policies)
            policies = self.adapt_in_chunks(policies, batch, rate)
        yield sampler.collect(policies)

    # The outer loop -----------------------------------------------------------------------------

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One meta-iteration on the sampler's tasks: rollouts, inner steps, the outer step."""
        policies = self.start(self.parameters, sampler.task_count)
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

    @abstractmethod
    def outer_step(self, pre: Sequence[Batch], post: Batch) -> Metrics:
        """Change the meta-learned parameters.

        Args:
            pre: the samples of each inner step.
            post: samples of the post-update policies.
        """

    def policies(
        self, parameters: Parameters, pre: Sequence[Batch], chunk: slice, create_graph: bool
    ) -> list[Parameters]:
        """Stacked policies of a chunk of tasks before the first and after each inner step."""
        stages = [self.start(parameters, len(range(len(pre[0]))[chunk]))]
        for batch in pre:
            rate = self.config.inner_learning_rate
            stages.append(self.adapt(stages[-1], batch[chunk], rate, create_graph))
        return stages

    def post_update(
        self,
        parameters: Parameters,
        pre: Sequence[Batch],
        post: Batch,
        chunk: slice,
        create_graph: bool,
    ) -> Any:
        """Action distributions of the adapted policies at the post-update observations."""
        policies = self.policies(parameters, pre, chunk, create_graph)[-1]
        with torch.set_grad_enabled(create_graph):
            return self.policy.distribution(policies, post.observations[chunk])

    def sampling_loss(
        self, parameters: Parameters, pre: Sequence[Batch], post: Batch, chunk: slice
    ) -> Tensor:
        """E-MAML's term, summed over tasks: -E_pre[pi_theta / pi_old] * (R' - mean) / std.

        R' is a task's return after adaptation. MAML's gradient takes the pre-update samples as
        given; this is the gradient of how likely they were (Stadie et al. 2018, eq. 6), which
        rewards initial policies whose samples make adaptation good.
        """
        spread = post.returns.std(correction=0)  # 0, not NaN, for a single task
        normalized = (post.returns - post.returns.mean()) / (spread + 1e-8)
        initial = self.start(parameters, len(normalized[chunk]))
        batch = pre[0][chunk]
        distribution = self.policy.distribution(initial, batch.observations)
        ratio = batch.ratios(distribution.log_prob(batch.actions))
        return -((ratio * batch.weights).sum(dim=1) * normalized[chunk]).sum()

    def chunks(self, tasks: int) -> list[slice]:
        """The tasks in the parts that are differentiated at once."""
        return chunks(tasks, self.config.tasks_per_chunk)

    @staticmethod
    def leaves(parameters: Parameters) -> Parameters:
        """The same values at the start of a graph."""
        return {name: value.detach().requires_grad_() for name, value in parameters.items()}

    def policy_metrics(self) -> Metrics:
        """What the initial policy tells about itself."""
        return policy_std(self.parameters)

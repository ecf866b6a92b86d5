"""K independent PPO learners in one pass (Schulman et al. 2017), by stacked parameters.

The tasks share no parameter, so the gradient of the sum of their losses holds every task's own
gradient, and an element-wise optimiser on the stacked tensors is K optimisers.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics, copied
from metarl.policies import Parameters, Policy
from metarl.policies.value import PREFIX, ValueFunction
from metarl.sampling import LinearFeatureBaseline, Trajectories, discounted_returns, gae, normalize
from metarl.sampling.task_axis import TaskAxis
from metarl.validation import require, require_at_least, require_positive
from metarl.workers import Workers, chunks


@dataclass(frozen=True)
class PPOConfig:
    """Settings of one PPO update; each task has its own samples, minibatches and optimiser."""

    learning_rate: float = 3e-4
    """Step size of the optimiser."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam, or plain gradient descent."""
    epochs: int = 5
    """Passes over the samples of an update."""
    minibatches: int = 4
    """Parts of each pass, one optimiser step each."""
    clip: float = 0.2
    """Likelihood ratios count within 1 - clip and 1 + clip."""
    entropy_bonus: float = 0.0
    """Weight of the policy's entropy, which is added to the objective."""
    max_gradient_norm: float | None = 0.5
    """Longer gradients of a task are shortened to this norm, the policy's and the value network's
    each by itself: they share nothing; null: none are."""
    discount: float = 0.99
    """Discount factor, gamma."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    baseline: Literal["network", "linear"] = "network"
    """Values from a network of the policy's shape that learns along, or from the linear feature
    baseline, fitted anew to each task's samples."""
    value_scale: float = 1.0
    """The value network's outputs are multiplied by this: about the size of a return."""
    value_weight: float = 0.5
    """Weight of the value network's squared error, in units of value_scale squared."""
    tasks_per_chunk: int = 10
    """Tasks trained at once by one thread: changes no result but by rounding."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "epochs", "minibatches", "tasks_per_chunk")
        require_positive(self, "learning_rate", "clip", "max_gradient_norm", "value_scale")
        require_at_least(0, self, "entropy_bonus", "value_weight")
        for key in ("discount", "gae_lambda"):
            value = getattr(self, key)
            require(0 <= value <= 1, key, f"must lie in [0, 1], got {value}")


class ActorCritic:
    """A policy and a value function whose parameters stand in one dict; pure in them."""

    def __init__(self, policy: Policy, config: PPOConfig):
        sizes = policy.network.sizes
        self.policy = policy
        self.config = config
        self.value = ValueFunction(policy.input_size, sizes[1:-1], policy.network.activation)

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Shared initial parameters of both, `value.*` the value network's."""
        parameters = self.policy.initial_parameters(generator)
        if self.config.baseline == "network":
            parameters |= self.value.initial_parameters(generator)
        return parameters

    @torch.no_grad()
    def prepare(self, parameters: Parameters, trajectories: Trajectories) -> "Samples":
        """The samples that these stacked policies drew, with advantages and value targets."""
        config, mask = self.config, trajectories.mask
        rewards = trajectories.rewards.double()
        inputs = self.value.inputs(trajectories.observations)
        dtype = inputs.dtype
        if config.baseline == "network":
            values = config.value_scale * self.value(parameters, inputs.flatten(1, 2)).double()
            values = values.view(mask.shape)
        else:
            returns = discounted_returns(rewards, mask, config.discount)
            values = LinearFeatureBaseline().fit_predict(trajectories.observations, returns, mask)
        advantages = gae(rewards, values, mask, config.discount, config.gae_lambda)
        observations = trajectories.observations.flatten(1, 2)
        actions = trajectories.actions.flatten(1, 2)
        distribution = self.policy.distribution(parameters, observations)
        return Samples(
            inputs.flatten(1, 2),
            actions,
            normalize(advantages, mask).flatten(1).to(dtype),
            ((advantages + values) / config.value_scale).flatten(1).to(dtype),
            mask.flatten(1).to(dtype),
            distribution.log_prob(actions),
        )

    def losses(self, parameters: Parameters, samples: "Samples") -> dict[str, Tensor]:
        """`total` loss of each task and its parts, `[K]`; means over what took place.

        total = -E[min(ratio * A, clip(ratio) * A)] - bonus * entropy + weight * E[(V - target)^2]
        """
        config, weights = self.config, samples.weights
        weights = weights / weights.sum(dim=1, keepdim=True).clamp(min=1.0)
        distribution = self.policy.distribution(parameters, samples.inputs[..., :-1])
        log_ratio = distribution.log_prob(samples.actions) - samples.log_probs
        # 0 where a sample did not take place: its ratio could overflow, and 0 * inf is NaN.
        log_ratio = torch.where(weights > 0, log_ratio, 0.0)
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
        gain = torch.minimum(ratio * samples.advantages, clipped * samples.advantages)
        parts = {
            "policy": -(gain * weights).sum(dim=1),
            "entropy": (distribution.entropy() * weights).sum(dim=1),
            # E[ratio - 1 - log ratio], an unbiased estimate of KL(old || new)
            "kl": ((ratio - 1.0 - log_ratio) * weights).sum(dim=1),
        }
        total = parts["policy"] - config.entropy_bonus * parts["entropy"]
        if config.baseline == "network":
            error = self.value(parameters, samples.inputs) - samples.targets
            parts["value"] = (error.square() * weights).sum(dim=1)
            total = total + config.value_weight * parts["value"]
        return {"total": total, **parts}


@dataclass(frozen=True)
class Samples(TaskAxis):
    """Samples of K tasks, B = N * T each; those that did not take place weigh 0."""

    inputs: Tensor
    """`[K, B, O + 1]`, observations with t / T."""
    actions: Tensor
    """`[K, B, A]`."""
    advantages: Tensor
    """`[K, B]`, mean 0 and standard deviation 1 within each task."""
    targets: Tensor
    """`[K, B]`, what the value network is to predict, in units of `value_scale`."""
    weights: Tensor
    """`[K, B]`, 1 or 0."""
    log_probs: Tensor
    """`[K, B]`, log-probability of each action under the policy that took it."""

    def take(self, index: Tensor) -> "Samples":
        """The samples of each task at `index` `[K, b]`."""
        rows = torch.arange(len(index), device=index.device).unsqueeze(1)
        return Samples(
            self.inputs[rows, index],
            self.actions[rows, index],
            self.advantages[rows, index],
            self.targets[rows, index],
            self.weights[rows, index],
            self.log_probs[rows, index],
        )


class UpdateRule:
    """What a learner adds to the PPO updates of some of K learners; nothing unless overridden.

    Every method is called for one chunk of the K learners, by the thread that has it: `rows` says
    which they are, and the stacked parameters, samples and gradients are theirs alone.
    """

    def loss(self, parameters: Parameters, samples: Samples, rows: slice) -> Tensor | None:
        """What is added to the sum of their losses; None: nothing."""
        return None

    def gradients(self, gradients: Parameters, parameters: Parameters, rows: slice) -> Parameters:
        """The gradients that are to be followed instead of these, before they are clipped."""
        return gradients

    @torch.no_grad()
    def after_step(
        self, parameters: Parameters, optimizer: torch.optim.Optimizer, rows: slice
    ) -> None:
        """Change what a step of the optimiser made of the parameters, in place."""


Penalty = Callable[[Parameters, slice], Tensor]
"""(stacked parameters of some learners, which ones) -> what is added to the sum of their losses."""


class Penalized(UpdateRule):
    """Adds a penalty to the losses."""

    def __init__(self, penalty: Penalty):
        self.penalty = penalty

    def loss(self, parameters: Parameters, samples: Samples, rows: slice) -> Tensor:
        return self.penalty(parameters, rows)


def minibatches(
    generators: Sequence[np.random.Generator], samples: int, config: PPOConfig
) -> Iterator[Tensor]:
    """Indices `[K, b]` of every minibatch of an update, drawn from each task's own stream."""
    for _ in range(config.epochs):
        order = torch.from_numpy(np.stack([g.permutation(samples) for g in generators]))
        yield from order.tensor_split(min(config.minibatches, samples), dim=1)


def clip_gradients(gradients: Parameters, longest: float | None) -> Parameters:
    """Stacked gradients `[K, ...]`, each task's shortened to norm `longest` where it is longer.

    The policy and the value network by themselves: in one norm, values of a large scale would
    shorten the policy's steps.
    """
    if longest is None:
        return gradients
    clipped = dict(gradients)
    values = [name for name in gradients if name.startswith(PREFIX)]
    for names in (values, [name for name in gradients if name not in values]):
        if not names:
            continue
        squares = [gradients[name].flatten(1).square().sum(dim=1) for name in names]
        norm = torch.stack(squares).sum(dim=0).sqrt()
        factor = (longest / norm.clamp(min=1e-12)).clamp(max=1.0)
        for name in names:
            clipped[name] = gradients[name] * factor.view(-1, *[1] * (gradients[name].dim() - 1))
    return clipped


def make_optimizer(parameters: Parameters, config: PPOConfig) -> torch.optim.Optimizer:
    """The optimiser that the settings name."""
    kind = torch.optim.Adam if config.optimizer == "adam" else torch.optim.SGD
    return kind(parameters.values(), lr=config.learning_rate)


class StackedPPO:
    """K PPO learners, each with parameters, samples and optimiser of its own.

    Args:
        actor_critic: what the parameters mean.
        parameters: where the K learners start, stacked `[K, ...]`.
        device: where they learn; rollouts stay on the CPU.
        workers: threads for chunks of tasks on the CPU.
        parts: the chunks; None: `tasks_per_chunk` learners each.
    """

    def __init__(
        self,
        actor_critic: ActorCritic,
        parameters: Parameters,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
        parts: Sequence[slice] | None = None,
    ):
        self.actor_critic = actor_critic
        self.config = actor_critic.config
        self.device = torch.device(device)
        self.workers = workers or Workers()
        self.tasks = len(next(iter(parameters.values())))
        self._chunks = list(parts or chunks(self.tasks, self.config.tasks_per_chunk))
        # Leaves of their own for every chunk, so that each has an optimiser that a thread owns.
        self._leaves = [
            {
                n: v[c].detach().clone().to(self.device).requires_grad_()
                for n, v in parameters.items()
            }
            for c in self._chunks
        ]
        self._optimizers = [make_optimizer(leaves, self.config) for leaves in self._leaves]

    @property
    def parameters(self) -> Parameters:
        """Of all K learners, stacked `[K, ...]`, cut from any graph."""
        names = self._leaves[0]
        return {n: torch.cat([leaves[n].detach() for leaves in self._leaves]) for n in names}

    def set_learning_rate(self, rate: float) -> None:
        """Use another step size from now on."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate

    def replace(self, parameters: Parameters, rows: slice) -> None:
        """Give some learners, whole chunks of them, other parameters `[k, ...]`."""
        with torch.no_grad():
            for chunk, leaves in zip(self._chunks, self._leaves, strict=True):
                if rows.start <= chunk.start < rows.stop:
                    inside = slice(chunk.start - rows.start, chunk.stop - rows.start)
                    for name, value in leaves.items():
                        value.copy_(parameters[name][inside])

    def reset_optimizers(self, rows: slice) -> None:
        """Let the optimisers of some learners, whole chunks of them, forget their moments."""
        for number, chunk in enumerate(self._chunks):
            if rows.start <= chunk.start < rows.stop:
                self._optimizers[number] = make_optimizer(self._leaves[number], self.config)

    def update(
        self,
        trajectories: Trajectories,
        generators: Sequence[np.random.Generator],
        rule: UpdateRule | None = None,
    ) -> Metrics:
        """One PPO update of every learner on the trajectories of its policy.

        Args:
            trajectories: `[K, N, T, ...]`, drawn by the present parameters.
            generators: a random stream of each task, for minibatches.
            rule: what is added to the update.

        Returns means over tasks: `loss/policy`, `loss/value`, `loss/entropy`, `loss/kl` (between
        the policies before and near the end of the update).
        """

        def update_chunk(number: int) -> dict[str, Tensor]:
            chunk = self._chunks[number]
            some = trajectories[chunk].to(self.device)
            return self._update_chunk(number, some, generators[chunk], rule or UpdateRule())

        results = self.workers.map(update_chunk, range(len(self._chunks)))
        return {
            f"loss/{name}": float(torch.cat([result[name] for result in results]).mean())
            for name in results[0]
            if name != "total"
        }

    def _update_chunk(
        self,
        number: int,
        trajectories: Trajectories,
        generators: Sequence[np.random.Generator],
        rule: UpdateRule,
    ) -> dict[str, Tensor]:
        leaves, optimizer = self._leaves[number], self._optimizers[number]
        rows = self._chunks[number]
        samples = self.actor_critic.prepare(leaves, trajectories)
        values = list(leaves.values())
        losses: dict[str, Tensor] = {}
        for index in minibatches(generators, samples.weights.shape[1], self.config):
            some = samples.take(index.to(self.device))
            losses = self.actor_critic.losses(leaves, some)
            total, added = losses["total"].sum(), rule.loss(leaves, some, rows)
            if added is not None:
                total = total + added
            gradients = torch.autograd.grad(total, values, materialize_grads=True)
            named = rule.gradients(dict(zip(leaves, gradients, strict=True)), leaves, rows)
            clipped = clip_gradients(named, self.config.max_gradient_norm)
            for name, value in leaves.items():
                value.grad = clipped[name]
            optimizer.step()
            rule.after_step(leaves, optimizer, rows)
        return {name: loss.detach() for name, loss in losses.items()}

    def state_dict(self) -> dict[str, Any]:
        """Parameters and optimisers of all learners."""
        return {
            "parameters": {name: value.cpu() for name, value in self.parameters.items()},
            "optimizers": [copied(each.state_dict()) for each in self._optimizers],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`, of as many learners in chunks of the same size."""
        with torch.no_grad():
            for chunk, leaves in zip(self._chunks, self._leaves, strict=True):
                for name, value in leaves.items():
                    value.copy_(state["parameters"][name][chunk])
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(copied(saved))

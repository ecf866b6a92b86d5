"""RL^2 with PPO (Duan et al. 2016; Wang et al. 2016, "Learning to reinforcement learn").

A recurrent policy acts in trials: several episodes of one task, with the hidden state carried from
one to the next. PPO (Schulman et al. 2017) maximises the return of the whole trial, so what the
policy learns is to learn: adaptation is its hidden state alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Learner, Metrics, copied, load_optimized, policy_std
from metarl.errors import UserError
from metarl.policies import Parameters, Policy, stack
from metarl.policies.recurrent import RecurrentPolicy
from metarl.policies.value import PREFIX as VALUE
from metarl.policies.value import ValueFunction
from metarl.sampling import Sampler, Trajectories, gae
from metarl.sampling.task_axis import TaskAxis
from metarl.simulation.engine import SimulatedFamily
from metarl.validation import require, require_at_least, require_positive
from metarl.workers import Workers, chunks

SMALLEST_STD = 1e-6
"""Returns that vary less are all the same: values are not scaled by it."""


@dataclass(frozen=True)
class RL2PPOConfig:
    """Settings of RL^2-PPO.

    Two episodes a trial, 64 units, learning rate and epochs are those of ProMP's RL^2 script;
    clipping and lambda those of garage and Meta-World v2, gradient norm of metaworld-algorithms.
    """

    name: Literal["rl2_ppo"] = "rl2_ppo"
    """The learner."""
    hidden_size: int = 64
    """Units of the GRU; policy.hidden_sizes lie between it and the actions, and the values."""
    episodes_per_trial: int = 2
    """Episodes of one task with the hidden state carried over (E)."""
    learn_std: bool = True
    """Learn the standard deviation of the actions; false: it stays policy.initial_std."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    epochs: int = 5
    """Passes over the trials of one iteration."""
    minibatches: int = 1
    """Parts of each pass, of whole trials; one Adam step each."""
    clip: float = 0.2
    """Likelihood ratios count within 1 - clip and 1 + clip."""
    discount: float = 0.99
    """Discount factor, gamma, over the whole trial."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation, over the whole trial."""
    value_weight: float = 0.5
    """Weight of the squared error of the values, in units of the returns' variance."""
    entropy_bonus: float = 0.0
    """Weight of the policy's entropy, which is added to the objective."""
    max_gradient_norm: float | None = 1.0
    """Longer gradients are shortened to this norm; null: none are."""
    bptt_steps: int | None = None
    """Gradients pass back through at most this many time steps; null: through the whole trial."""
    trials_per_chunk: int = 50
    """Trials differentiated at once by one thread: changes no result but by rounding."""

    def __post_init__(self) -> None:
        counts = ("hidden_size", "episodes_per_trial", "epochs", "minibatches", "trials_per_chunk")
        require_at_least(1, self, *counts, "bptt_steps")
        require_positive(self, "learning_rate", "clip", "max_gradient_norm")
        require_at_least(0, self, "value_weight", "entropy_bonus")
        for key in ("discount", "gae_lambda"):
            value = getattr(self, key)
            require(0 <= value <= 1, key, f"must lie in [0, 1], got {value}")


@dataclass(frozen=True)
class Trials(TaskAxis):
    """B = K * N trials of up to L time steps; those that took place stand first, in their order.

    Closed up like this, a trial is one sequence for the GRU, whatever its episodes' lengths: while
    an environment waits for others its memory does not change.
    """

    inputs: Tensor
    """`[B, L, I]`, what the GRU read."""
    actions: Tensor
    """`[B, L, A]`."""
    rewards: Tensor
    """`[B, L]`."""
    mask: Tensor
    """`[B, L]` bool, the time steps that took place."""
    times: Tensor
    """`[B, L]`, time step in the trial over its longest length, E * T: the values know it."""
    log_probs: Tensor
    """`[B, L]`, log-probabilities of the actions under the policy that took them."""
    advantages: Tensor
    """`[B, L]`, mean 0 and standard deviation 1 over what took place in all trials."""
    targets: Tensor
    """`[B, L]`, what the values should be: discounted returns, estimated by GAE."""

    @classmethod
    def of(cls, policy: RecurrentPolicy, episodes: Sequence[Trajectories]) -> "Trials":
        """Trials from their successive episodes; the last three fields are zero for now."""
        mask = torch.cat([episode.mask.flatten(0, 1) for episode in episodes], dim=1)
        longest = max(1, int(mask.sum(dim=1).max()))
        order = (~mask).long().argsort(dim=1, stable=True)[:, :longest]

        def close_up(values: Tensor) -> Tensor:
            index = order.view(*order.shape, *[1] * (values.dim() - 2))
            return values.gather(1, index.expand(-1, -1, *values.shape[2:]))

        def joined(name: str) -> Tensor:
            return torch.cat([getattr(e, name).flatten(0, 1) for e in episodes], dim=1)

        boundaries = torch.zeros_like(joined("rewards"))
        steps = mask.shape[1] // len(episodes)
        boundaries[:, steps::steps] = 1.0
        actions, rewards = close_up(joined("actions")), close_up(joined("rewards"))
        observations = close_up(joined("observations"))
        inputs = policy.inputs(observations, actions, rewards, close_up(boundaries))
        times = order.to(rewards.dtype) / mask.shape[1]
        nothing = torch.zeros_like(rewards)
        return cls(inputs, actions, rewards, close_up(mask), times, nothing, nothing, nothing)

    def __len__(self) -> int:
        """B, the number of trials."""
        return len(self.mask)


class RL2PPO(Learner):
    """Learns a recurrent policy that adapts to a task within a trial.

    Args:
        policy: the recurrent policy, as `policy_for` makes it.
        config: settings.
        generator: random stream of the initial parameters.
        device: where the learner differentiates; rollouts stay on the CPU.
        workers: threads for chunks of trials on the CPU.
    """

    trials_are_independent: ClassVar[bool] = True

    @classmethod
    def policy_for(
        cls, policy: Policy, family: SimulatedFamily, config: RL2PPOConfig
    ) -> RecurrentPolicy:
        """The policy's network behind a GRU."""
        return RecurrentPolicy(policy, config.hidden_size)

    def __init__(
        self,
        policy: RecurrentPolicy,
        config: RL2PPOConfig,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.policy: RecurrentPolicy = policy  # pyright: ignore[reportIncompatibleVariableOverride]
        self.config = config
        self.device = torch.device(device)
        self.workers = workers or Workers()
        inputs, *hidden_sizes, _ = policy.network.sizes
        self.value = ValueFunction(inputs, tuple(hidden_sizes), policy.network.activation)
        initial = policy.initial_parameters(generator) | self.value.initial_parameters(generator)
        self.parameters: Parameters = {
            name: value.to(self.device).requires_grad_(config.learn_std or name != "log_std")
            for name, value in initial.items()
        }
        """Of the policy and, named `value.*`, of the value function."""
        self.optimizer = torch.optim.Adam(self._learned(), lr=config.learning_rate)
        self.return_mean, self.return_std = 0.0, 1.0
        """The value network's outputs are in these units, those of the last iteration's returns."""

    def _learned(self) -> list[Tensor]:
        return [value for value in self.parameters.values() if value.requires_grad]

    # Trials -------------------------------------------------------------------------------------

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """The successive episodes 0 to `steps` of a trial in each environment, `[K, N, T, ...]`.

        Raises UserError for `rates`: the parameters do not change.
        """
        if rates is not None:
            raise UserError(
                "rl2_ppo adapts by its hidden state and takes no learning rate; "
                "leave evaluation.inner_learning_rates at null"
            )
        yield from self._trial(sampler, steps + 1)

    def _trial(self, sampler: Sampler, episodes: int) -> Iterator[Trajectories]:
        shared = stack(self.parameters, sampler.task_count)
        memory = torch.zeros(sampler.task_count, sampler.episodes, self.policy.memory_size)
        for episode in range(episodes):
            if episode > 0:
                self.policy.next_episode(memory)
            yield sampler.collect(shared, memory)

    # The update ---------------------------------------------------------------------------------

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One trial in every environment, then some epochs of PPO on them."""
        episodes = list(self._trial(sampler, self.config.episodes_per_trial))
        returns = [float(episode.returns.mean()) for episode in episodes]
        trials = self.prepare(Trials.of(self.policy, episodes).to(self.device))
        random = sampler.generators("minibatches")[0]
        return {
            "train/return_pre": returns[0],
            "train/return_post": returns[-1],
            "train/adaptation_gain": returns[-1] - returns[0],
            "train/return_trial": sum(returns),
            "train/failed_episodes": float(sum(int(e.failed.sum()) for e in episodes)),
            **self.update(trials, random),
            **policy_std(self.parameters),
        }

    @torch.no_grad()
    def prepare(self, trials: Trials) -> Trials:
        """The same trials with log-probabilities, advantages and value targets.

        Raises FloatingPointError when no time step took place.
        """
        config, mask = self.config, trials.mask
        if not mask.any():
            raise FloatingPointError("every episode failed in its first time step")

        @torch.no_grad()  # for each thread anew
        def look(chunk: slice) -> tuple[Tensor, Tensor]:
            some = trials[chunk]
            distribution, values = self.forward(self.parameters, some)
            return distribution.log_prob(some.actions), values

        looked = self.workers.map(look, self._chunks(len(trials)))
        log_probs, outputs = (torch.cat(parts) for parts in zip(*looked, strict=True))
        values = (self.return_mean + self.return_std * outputs.double()) * mask
        rewards = trials.rewards.double()
        advantages = gae(rewards, values, mask, config.discount, config.gae_lambda)
        targets = (advantages + values)[mask]
        self._rescale_values(float(targets.mean()), float(targets.std(correction=0)))
        centered = (advantages - advantages[mask].mean()) * mask
        scale = centered[mask].square().mean().sqrt() + 1e-8
        dtype = trials.inputs.dtype
        return replace(
            trials,
            log_probs=log_probs,
            advantages=(centered / scale).to(dtype),
            targets=(advantages + values).to(dtype),
        )

    def forward(self, parameters: Parameters, trials: Trials) -> tuple[Any, Tensor]:
        """Action distributions in all time steps, and the value network's outputs, `[B, L]`.

        The GRU reads the trials from their start, as in the rollouts.
        """
        hidden = trials.inputs.new_zeros(len(trials), self.policy.gru.hidden_size)
        parts = []
        for part in trials.inputs.split(self.config.bptt_steps or trials.inputs.shape[1], dim=1):
            states, hidden = self.policy.gru.run(parameters, part, hidden.detach())
            parts.append(states)
        features = torch.cat(parts, dim=1)
        timed = torch.cat([features, trials.times.unsqueeze(-1)], dim=-1)
        return self.policy.distribution(parameters, features), self.value(parameters, timed)

    def update(self, trials: Trials, random: np.random.Generator) -> Metrics:
        """Epochs of Adam steps on minibatches of trials; metrics are means of the last epoch.

        Raises UserError when there are fewer trials than minibatches.
        """
        if len(trials) < self.config.minibatches:
            raise UserError(
                f"algorithm.minibatches is {self.config.minibatches}, but an iteration has "
                f"{len(trials)} trials, tasks_per_iteration * episodes_per_task; use fewer"
            )
        seen: list[Metrics] = []
        for _ in range(self.config.epochs):
            parts = np.array_split(random.permutation(len(trials)), self.config.minibatches)
            seen = [self._adam_step(trials[torch.from_numpy(part)]) for part in parts]
        return {f"loss/{name}": sum(one[name] for one in seen) / len(seen) for name in seen[0]}

    def _adam_step(self, trials: Trials) -> Metrics:
        metrics, gradients = self.gradient(trials)
        learned = self._learned()
        for value, gradient in zip(learned, gradients, strict=True):
            value.grad = gradient
        limit = self.config.max_gradient_norm
        norm = torch.nn.utils.clip_grad_norm_(learned, float("inf") if limit is None else limit)
        self.optimizer.step()
        return {**metrics, "gradient_norm": float(norm)}

    def gradient(self, trials: Trials) -> tuple[Metrics, list[Tensor]]:
        """Means over the time steps of a minibatch: its loss and the parts of it, its gradient."""
        count = trials.mask.sum().clamp(min=1)

        def differentiate(chunk: slice) -> tuple[Metrics, tuple[Tensor, ...]]:
            sums = self.losses(self.parameters, trials[chunk])
            loss = sums["total"] / count
            gradients = torch.autograd.grad(loss, self._learned(), materialize_grads=True)
            return {name: float(value.detach() / count) for name, value in sums.items()}, gradients

        results = self.workers.map(differentiate, self._chunks(len(trials)))
        metrics, gradients = zip(*results, strict=True)
        return (
            {name: sum(one[name] for one in metrics) for name in metrics[0]},
            [torch.stack(parts).sum(dim=0) for parts in zip(*gradients, strict=True)],
        )

    def losses(self, parameters: Parameters, trials: Trials) -> dict[str, Tensor]:
        """Sums over the time steps of the trials: the `total` loss and what it is made of.

        total = -min(ratio * A, clip(ratio) * A) + weight * (V - target)^2 / 2 - bonus * entropy
        """
        config, mask = self.config, trials.mask
        distribution, outputs = self.forward(parameters, trials)
        log_ratio = distribution.log_prob(trials.actions) - trials.log_probs
        # 1 where nothing took place: a ratio there could overflow, and 0 * inf is NaN.
        log_ratio = torch.where(mask, log_ratio, 0.0)
        ratio = log_ratio.exp()
        clipped = ratio.clamp(1.0 - config.clip, 1.0 + config.clip)
        gain = torch.minimum(ratio * trials.advantages, clipped * trials.advantages)
        wanted = (trials.targets - self.return_mean) / self.return_std
        policy_loss = -(gain * mask).sum()
        value_loss = 0.5 * ((outputs - wanted).square() * mask).sum()
        entropy = (distribution.entropy() * mask).sum()
        total = policy_loss + config.value_weight * value_loss - config.entropy_bonus * entropy
        return {
            "total": total,
            "policy": policy_loss,
            "value": value_loss,
            "entropy": entropy,
            # KL(old || new) as the mean of ratio - 1 - log ratio, which is never negative.
            "kl": (ratio - 1.0 - log_ratio).sum(),
            "clip_fraction": (ratio != clipped).sum(),
        }

    @torch.no_grad()
    def _rescale_values(self, mean: float, std: float) -> None:
        """Change the units of the values to these, with every value staying as it is.

        Returns of any size then weigh alike in the loss (van Hasselt et al. 2016, PopArt, eq. 6).
        """
        if std < SMALLEST_STD:
            std = self.return_std
        last = len(self.value.network.sizes) - 2
        weight, bias = (self.parameters[f"{VALUE}{kind}{last}"] for kind in ("weight", "bias"))
        weight.mul_(self.return_std / std)
        bias.mul_(self.return_std / std).add_((self.return_mean - mean) / std)
        self.return_mean, self.return_std = mean, std

    def _chunks(self, trials: int) -> list[slice]:
        return chunks(trials, self.config.trials_per_chunk)

    # State --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads: copies, which no later iteration changes."""
        return {
            "parameters": copied(self.parameters),
            "optimizer": copied(self.optimizer.state_dict()),
            "return_mean": self.return_mean,
            "return_std": self.return_std,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        load_optimized(self.parameters, self.optimizer, state)
        self.return_mean, self.return_std = state["return_mean"], state["return_std"]

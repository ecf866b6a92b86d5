"""PEARL: soft actor-critic told a latent variable, which an encoder infers from experience.

Rakelly et al. 2019, "Efficient Off-Policy Meta-Reinforcement Learning via Probabilistic Context
Variables": algorithm 1 is `meta_update`, algorithm 2 is `adaptation`.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Learner, Metrics, copied
from metarl.algorithms.pearl_networks import ContextEncoder, Posterior, TwinQ
from metarl.errors import UserError
from metarl.policies import GaussianPolicy, Parameters, Policy, stack
from metarl.policies.latent import LatentPolicy
from metarl.sampling import Sampler, Trajectories
from metarl.sampling.replay import Replay, Transitions, transitions
from metarl.simulation.engine import SimulatedFamily
from metarl.validation import require, require_at_least, require_positive
from metarl.workers import Workers, chunks


@dataclass(frozen=True)
class PEARLConfig:
    """Settings of PEARL; the defaults are those of the authors' code, but for its compute.

    The code takes 2,000 gradient steps of 16 tasks x 256 transitions with 3 x 300 units between
    collections, and keeps a million transitions of each task. Its value function V is replaced by
    the target networks of Q, its two penalties of 1e-3 on the policy's output are left out, and
    tasks join the replay when a meta-batch first holds them, not all before the first update.
    """

    fixed_tasks: ClassVar[bool] = True
    """The replay remembers each task, so `tasks.training_tasks` must be set."""

    name: Literal["pearl"] = "pearl"
    """The learner."""
    latent_size: int = 5
    """Dimensions of the latent variable z (L)."""
    encoder_hidden_sizes: tuple[int, ...] = (200, 200, 200)
    """Units of each hidden layer of the encoder; policy and Q take `policy.hidden_sizes`."""
    posterior_stages: int = 1
    """Stages of `tasks.episodes_per_task` episodes with z from the posterior that follow the one
    with z from the prior; they feed the actor and the critic, not the encoder."""
    gradient_steps: int = 500
    """Updates after each collection."""
    meta_batch: int = 8
    """Tasks in one update, drawn from all that were met."""
    batch_size: int = 128
    """Transitions of each task in one update."""
    context_size: int = 64
    """Transitions of each task that the encoder gets in one update, from the task's latest episodes
    with z from the prior."""
    learning_rate: float = 3e-4
    """Of Adam, for all networks."""
    discount: float = 0.99
    """Discount factor, gamma."""
    reward_scale: float = 5.0
    """Rewards are multiplied by this in the critic's target."""
    temperature: float = 1.0
    """Weight alpha of the entropy; the start of a learned one."""
    learn_temperature: bool = False
    """Adapt alpha so that the policy's entropy is -A nats (Haarnoja et al. 2018b), instead of
    keeping it."""
    target_rate: float = 0.005
    """Share of Q that its target networks take over in each update, tau."""
    kl_weight: float = 0.1
    """Weight beta of KL(q(z|c) || N(0, 1)), summed over the tasks of an update as in the authors'
    code, beside the critic's mean loss."""
    replay_capacity: int = 5000
    """Transitions kept of each task. Checkpoints hold them: with 100 half-cheetah tasks 5,000 each
    are 84 MB."""
    deterministic_evaluation: bool = True
    """Evaluate with tanh(mean), as the authors do, not with sampled actions; z is sampled."""
    tasks_per_chunk: int = 4
    """Tasks differentiated at once: bounds memory and changes no result but by rounding."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "latent_size", "encoder_hidden_sizes", "gradient_steps")
        require_at_least(1, self, "meta_batch", "batch_size", "context_size", "tasks_per_chunk")
        require_at_least(0, self, "posterior_stages", "kl_weight")
        require_at_least(1, self, "replay_capacity")
        require_positive(self, "learning_rate", "reward_scale", "temperature")
        require(0 <= self.discount <= 1, "discount", f"must lie in [0, 1], got {self.discount}")
        message = f"must lie in (0, 1], got {self.target_rate}"
        require(0 < self.target_rate <= 1, "target_rate", message)


# The losses of soft actor-critic (Haarnoja et al. 2018b, section 4 to 6), for k tasks ----------


def q_target(
    batch: Transitions,
    next_q: Tensor,
    next_log_prob: Tensor,
    temperature: Tensor,
    discount: float,
    reward_scale: float,
) -> Tensor:
    """r + gamma (min_i Q_i(o', a', z) - alpha log pi(a' | o', z)), `[k, B]`; r where it ended.

    `next_q` is `[2, k, B]`, `next_log_prob` `[k, B]`.
    """
    soft_value = torch.minimum(*next_q) - temperature * next_log_prob
    return reward_scale * batch.rewards + discount * batch.continues * soft_value


def q_loss(q: Tensor, target: Tensor) -> Tensor:
    """Sum over tasks and the two functions of the mean squared error; q `[2, k, B]`."""
    return (q - target).square().mean(dim=-1).sum()


def policy_loss(q: Tensor, log_prob: Tensor, temperature: Tensor) -> Tensor:
    """Sum over tasks of E[alpha log pi(a | o, z) - min_i Q_i(o, a, z)]; q `[2, k, B]`."""
    return (temperature * log_prob - torch.minimum(*q)).mean(dim=-1).sum()


def temperature_loss(log_temperature: Tensor, log_prob: Tensor, target_entropy: float) -> Tensor:
    """Sum over tasks of -log alpha (E[log pi] + target entropy)."""
    return -(log_temperature * (log_prob.detach() + target_entropy).mean(dim=-1)).sum()


class Minibatch(NamedTuple):
    """What one update reads of k tasks; fields have the leading axis k."""

    transitions: Tensor
    """`[k, B, 2 O + A + 2]`, from the replay."""
    context: Tensor
    """`[k, C, 2 O + A + 2]`, from the latest episodes with z from the prior."""
    latent_noise: Tensor
    """`[k, L]`"""
    action_noise: Tensor
    """`[k, 2, B, A]`, for the actions at o and at o'."""


class PEARL(Learner):
    """Learns a policy pi(a | o, z), its critic, and the posterior q(z | c), off policy.

    `state_dict` holds the replay too: `replay_capacity` transitions of each training task at most.

    Args:
        policy: acts with the latent variable as its memory; see `policy_for`.
        config: settings.
        generator: random stream of the initial parameters.
        device: where the learner differentiates; rollouts and the replay stay on the CPU.
        workers: threads for chunks of tasks on the CPU.
    """

    trials_are_independent = True

    def __init__(
        self,
        policy: LatentPolicy,
        config: PEARLConfig,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.policy: LatentPolicy = policy  # pyright: ignore[reportIncompatibleVariableOverride]
        self.config = config
        self.device = torch.device(device)
        self.workers = workers or Workers()
        observation, action = policy.observation_size, policy.action_size
        evidence, hidden = observation + action + 1, policy.network.sizes[1:-1]
        self.encoder = ContextEncoder(evidence, config.latent_size, config.encoder_hidden_sizes)
        inputs = observation + action + config.latent_size
        self.q = TwinQ(inputs, hidden, policy.network.activation)
        log_temperature = torch.tensor(math.log(config.temperature))
        initial = {
            "policy": policy.initial_parameters(generator),
            "q": self.q.initial_parameters(generator),
            "encoder": self.encoder.initial_parameters(generator),
            "temperature": {"log": log_temperature},
        }
        self.parameters = {part: self._on_device(values) for part, values in initial.items()}
        """Parameters of `policy`, `q` (`[2, ...]`), `encoder` and `temperature`."""
        self.target_q = {name: value.clone() for name, value in self.parameters["q"].items()}
        self.optimizer = torch.optim.Adam(self._learned(), lr=config.learning_rate, fused=True)
        row_size = 2 * observation + action + 2
        self.replay = Replay(config.replay_capacity, row_size)
        self.context = Replay(config.replay_capacity, row_size)
        """The latest episodes of each task with z from the prior."""

    @classmethod
    def policy_for(cls, policy: Policy, family: SimulatedFamily, config: Any) -> LatentPolicy:
        """A tanh-Gaussian that also gets z; UserError where actions are not continuous."""
        if not isinstance(policy, GaussianPolicy):
            raise UserError(
                f"pearl needs continuous actions, but {family.name} has {family.action_space}; "
                "choose another algorithm or family"
            )
        if family.horizon < 2:
            raise UserError(
                f"pearl needs episodes of at least 2 time steps, {family.name} has 1; the last one "
                "before the horizon has no next observation to learn from"
            )
        inputs, *hidden, actions = policy.network.sizes
        activation = policy.network.activation
        return LatentPolicy(inputs, actions, config.latent_size, tuple(hidden), activation)

    # Collecting (algorithm 1, lines 4 to 9; algorithm 2) ----------------------------------------

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """Trajectories with z from the prior, then from the posterior of 1, ..., `steps` episodes.

        Each of the N environments of a task infers z from its own episodes alone and draws it anew
        for every episode. UserError for `rates`: there is no learning rate.
        """
        if rates is not None:
            raise UserError(
                "pearl adapts by inference, without learning rates; "
                "set evaluation.inner_learning_rates to null"
            )
        yield from self._trials(sampler, steps, self.config.deterministic_evaluation)

    def _trials(self, sampler: Sampler, steps: int, deterministic: bool) -> Iterator[Trajectories]:
        tasks, episodes = sampler.task_count, sampler.episodes
        parameters = stack(self.parameters["policy"], tasks)
        if deterministic:
            parameters["noise_scale"] = torch.zeros(tasks)
        posterior = Posterior.empty(tasks, episodes, self.config.latent_size)
        for step in range(steps + 1):
            shape = (episodes, self.config.latent_size)
            noise = torch.stack(
                [_normal(generator, shape) for generator in sampler.generators("latent")]
            )
            trajectories = sampler.collect(parameters, posterior.sample(noise))
            yield trajectories
            if step < steps:
                posterior = posterior.times(self.infer(trajectories))

    @torch.no_grad()
    def infer(self, trajectories: Trajectories) -> Posterior:
        """q(z | c) of each episode by itself, `[K, N, L]` on the CPU."""
        parameters = self.parameters["encoder"]

        def infer_chunk(chunk: slice) -> Posterior:
            with torch.no_grad():  # which is a thread's own
                some = trajectories[chunk].to(self.device)
                rewards = some.rewards.unsqueeze(-1)
                context = torch.cat([some.observations, some.actions, rewards], dim=-1)
                posterior = self.encoder.posterior(parameters, context, some.mask)
                return Posterior(posterior.precision.cpu(), posterior.weighted_mean.cpu())

        pieces = self.workers.map(infer_chunk, self.chunks(len(trajectories.mask)))
        return Posterior(*(torch.cat(parts) for parts in zip(*pieces, strict=True)))

    def meta_update(self, sampler: Sampler) -> Metrics:
        """Collect episodes of the sampler's tasks, then update on tasks drawn from the replay."""
        _check_actions(sampler)
        returns, failed = [], 0
        trials = self._trials(sampler, self.config.posterior_stages, deterministic=False)
        for stage, trajectories in enumerate(trials):
            self._remember(sampler.task_indices, trajectories, is_prior=stage == 0)
            returns.append(float(trajectories.returns.mean()))
            failed += int(trajectories.failed.sum())
        metrics = {
            "train/return_pre": returns[0],
            "train/return_post": returns[-1],
            "train/adaptation_gain": returns[-1] - returns[0],
            "train/failed_episodes": float(failed),
            "train/tasks_met": float(len(self.replay.tasks)),
        }
        return {**metrics, **self._update_often(sampler.generators("minibatches")[0])}

    def _remember(self, tasks: Sequence[int], trajectories: Trajectories, is_prior: bool) -> None:
        for task, rows in zip(tasks, transitions(trajectories), strict=True):
            self.replay.add(task, rows)
            # A task keeps its older context where new episodes failed at once.
            if is_prior and len(rows):
                self.context.clear(task)
                self.context.add(task, rows)

    # Learning (algorithm 1, lines 10 to 21) -----------------------------------------------------

    def _update_often(self, generator: np.random.Generator) -> Metrics:
        """The gradient steps of one iteration; means of their losses."""
        met = self.context.tasks  # of a task whose prior episodes all failed at once there is none
        if not met:
            raise UserError("every episode failed in its first step; check the family")
        totals: Tensor | float = 0.0
        for _ in range(self.config.gradient_steps):
            totals = totals + self.update(self.draw(met, generator))
        assert isinstance(totals, Tensor)
        q, policy, kl, log_prob = (totals / self.config.gradient_steps).tolist()
        if not math.isfinite(q + policy):
            raise FloatingPointError("the losses are not finite; lower algorithm.learning_rate")
        return {
            "loss/q": q,
            "loss/policy": policy,
            "loss/kl_to_prior": kl,
            "train/policy_entropy": -log_prob,
            "train/temperature": float(self.parameters["temperature"]["log"].detach().exp()),
        }

    def draw(self, met: Sequence[int], generator: np.random.Generator) -> Minibatch:
        """A random minibatch of at most `meta_batch` of the tasks `met`, on the CPU."""
        config = self.config
        count = min(config.meta_batch, len(met))
        tasks = [met[index] for index in generator.permutation(len(met))[:count]]
        rows = self.replay.sample(tasks, generator.random((count, config.batch_size)))
        context = self.context.sample(tasks, generator.random((count, config.context_size)))
        actions = (count, 2, config.batch_size, self.policy.action_size)
        latent_noise = _normal(generator, (count, config.latent_size))
        return Minibatch(rows, context, latent_noise, _normal(generator, actions))

    def update(self, minibatch: Minibatch) -> Tensor:
        """One step of Adam on all networks; mean over tasks of the losses as `losses` lists them.

        All gradients are taken at the same parameters.
        """
        tasks = len(minibatch.context)

        def differentiate(chunk: slice) -> tuple[tuple[Tensor, ...], Tensor]:
            some = Minibatch(*(field[chunk].to(self.device) for field in minibatch))
            return self.gradients(some, tasks)

        results = self.workers.map(differentiate, self.chunks(tasks))
        gradients, losses = zip(*results, strict=True)
        for parameter, parts in zip(self._learned(), zip(*gradients, strict=True), strict=True):
            parameter.grad = parts[0] if len(parts) == 1 else torch.stack(parts).sum(dim=0)
        self.optimizer.step()
        with torch.no_grad():
            for name, target in self.target_q.items():
                target.lerp_(self.parameters["q"][name], self.config.target_rate)
        return torch.stack(losses).sum(dim=0)

    def gradients(self, batch: Minibatch, tasks: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gradients in the learned parameters of the losses of k of `tasks` tasks; the losses.

        The critic's loss is a mean over tasks, the KL a sum. The encoder learns from these two
        only: policy and temperature see z as given. The losses `[4]` are Q, policy, KL and
        log pi, their sums over the k tasks divided by `tasks`.
        """
        with torch.enable_grad():
            rows = Transitions(
                batch.transitions, self.policy.observation_size, self.policy.action_size
            )
            context = Transitions(batch.context, rows.observation_size, rows.action_size)
            posterior = self.encoder.posterior(self.parameters["encoder"], context.evidence)
            latents = posterior.sample(batch.latent_noise)
            kl = posterior.kl_to_prior().sum()
            critic = q_loss(self._values(rows, latents), self._target(rows, latents, batch)) / tasks
            loss = critic + self.config.kl_weight * kl
            parts = torch.autograd.grad(loss, self._leaves("q", "encoder"))
            actor, log_prob = self._actor_loss(rows, latents.detach(), batch)
            parts = (*torch.autograd.grad(actor / tasks, self._leaves("policy")), *parts)
            if self.config.learn_temperature:
                log_temperature = self.parameters["temperature"]["log"]
                entropy = -float(self.policy.action_size)
                alpha = temperature_loss(log_temperature, log_prob, entropy) / tasks
                parts = (*parts, *torch.autograd.grad(alpha, [log_temperature]))
        mean_log_prob = log_prob.mean(dim=-1).sum()
        losses = [critic * tasks, actor, kl, mean_log_prob]
        return parts, torch.stack([value.detach() for value in losses]) / tasks

    def _values(self, rows: Transitions, latents: Tensor) -> Tensor:
        """Q_i(o, a, z) of remembered transitions, `[2, k, B]`."""
        return self._q(self.parameters["q"], rows.observations, rows.actions, latents)

    @torch.no_grad()
    def _target(self, rows: Transitions, latents: Tensor, batch: Minibatch) -> Tensor:
        observations = rows.next_observations
        inputs = _with_latents(observations, latents)
        policy = self.policy.distribution(self.parameters["policy"], inputs)
        actions, log_prob = policy.sample_with_log_prob(batch.action_noise[:, 1])
        values = self._q(self.target_q, observations, actions, latents)
        discount, scale = self.config.discount, self.config.reward_scale
        return q_target(rows, values, log_prob, self._temperature, discount, scale)

    def _actor_loss(
        self, rows: Transitions, latents: Tensor, batch: Minibatch
    ) -> tuple[Tensor, Tensor]:
        """The policy's loss, and log pi(a | o, z) `[k, B]` of its own actions."""
        inputs = _with_latents(rows.observations, latents)
        policy = self.policy.distribution(self.parameters["policy"], inputs)
        actions, log_prob = policy.sample_with_log_prob(batch.action_noise[:, 0])
        fixed = {name: value.detach() for name, value in self.parameters["q"].items()}
        values = self._q(fixed, rows.observations, actions, latents)
        return policy_loss(values, log_prob, self._temperature), log_prob

    def _q(
        self, parameters: Parameters, observations: Tensor, actions: Tensor, latents: Tensor
    ) -> Tensor:
        inputs = _with_latents(torch.cat([observations, actions], dim=-1), latents)
        return self.q(parameters, inputs.flatten(0, 1)).unflatten(1, inputs.shape[:2])

    @property
    def _temperature(self) -> Tensor:
        return self.parameters["temperature"]["log"].detach().exp()

    def _leaves(self, *parts: str) -> list[Tensor]:
        return [value for part in parts for value in self.parameters[part].values()]

    def _learned(self) -> list[Tensor]:
        """The parameters that Adam changes, in the order of `gradients`."""
        parts = ["policy", "q", "encoder"]
        return self._leaves(*parts, *(["temperature"] if self.config.learn_temperature else []))

    def chunks(self, tasks: int) -> list[slice]:
        """The tasks in the parts that are differentiated at once."""
        return chunks(tasks, self.config.tasks_per_chunk)

    def _on_device(self, values: Parameters) -> Parameters:
        return {name: value.to(self.device).requires_grad_() for name, value in values.items()}

    # State --------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads, copied."""
        parameters = {**self.parameters, "target_q": self.target_q}
        return {
            "parameters": {
                part: {name: value.detach().cpu().clone() for name, value in values.items()}
                for part, values in parameters.items()
            },
            "optimizer": copied(self.optimizer.state_dict()),
            "replay": self.replay.state_dict(),
            "context": self.context.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        with torch.no_grad():
            for part, values in {**self.parameters, "target_q": self.target_q}.items():
                for name, value in values.items():
                    value.copy_(state["parameters"][part][name])
        self.optimizer.load_state_dict(copied(state["optimizer"]))
        self.replay.load_state_dict(state["replay"])
        self.context.load_state_dict(state["context"])


def _normal(generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(generator.standard_normal(shape, dtype=np.float32))


def _with_latents(inputs: Tensor, latents: Tensor) -> Tensor:
    """`[k, B, I + L]` of inputs `[k, B, I]` and one z `[k, L]` for each task."""
    spread = latents.unsqueeze(1).expand(-1, inputs.shape[1], -1)
    return torch.cat([inputs, spread], dim=-1)


def _check_actions(sampler: Sampler) -> None:
    """UserError unless actions in [-1, 1] cover the environment's box."""
    boundary = sampler.boundary
    edge = torch.ones(1, len(boundary.low))
    # Before the clipping, which would make larger steps than the box allows look right.
    low, high = (torch.addcmul(boundary.middle, sign * edge, boundary.half) for sign in (-1, 1))
    covers = torch.allclose(low, boundary.low) and torch.allclose(high, boundary.high)
    if not covers:
        raise UserError(
            "pearl's actions lie in [-1, 1], which this policy.action_scaling does not map to the "
            "environment's action box; set it to unit"
        )

"""PPO of one policy on many tasks at once: its parameters are shared, the samples are per task."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.fine_tuning import FineTuningConfig
from metarl.algorithms.learner import copied, load_optimized
from metarl.algorithms.ppo import (
    ActorCritic,
    PPOConfig,
    Samples,
    clip_gradients,
    make_optimizer,
    minibatches,
)
from metarl.policies import Parameters, stack
from metarl.sampling import Trajectories
from metarl.validation import require
from metarl.workers import Workers, chunks

Losses = dict[str, Tensor]
"""`total` loss of each task and its parts, `[K]`."""


@dataclass(frozen=True)
class PretrainingConfig(FineTuningConfig):
    """Settings of learners that train on many tasks by PPO before they fine-tune on one."""

    training: PPOConfig = field(default_factory=PPOConfig)
    """The PPO update of a training iteration; `adaptation` is that of an adaptation step."""

    def __post_init__(self) -> None:
        for key in ("baseline", "value_scale"):
            wanted, got = getattr(self.training, key), getattr(self.adaptation, key)
            message = f"must be that of training, {wanted!r}: they share a value network"
            require(got == wanted, f"adaptation.{key}", f"{message}; got {got!r}")


class SharedOptimizer:
    """Gradient descent on a sum of task losses in parameters that all tasks share.

    Args:
        parameters: where it starts, `[...]`.
        config: optimiser, its step size and the longest gradient.
        device: where the parameters live.
        workers: threads for chunks of tasks on the CPU.
    """

    def __init__(
        self,
        parameters: Parameters,
        config: PPOConfig,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.config = config
        self.workers = workers or Workers()
        self.parameters: Parameters = {
            name: value.detach().clone().to(device).requires_grad_()
            for name, value in parameters.items()
        }
        self._optimizer = make_optimizer(self.parameters, config)

    def chunks(self, tasks: int) -> list[slice]:
        """Tasks 0 to K - 1 in chunks, each for one thread."""
        return chunks(tasks, self.config.tasks_per_chunk)

    def step(self, tasks: int, losses: Callable[[slice], Losses]) -> Losses:
        """One step down the gradient of the mean over tasks of their `total` losses.

        Args:
            tasks: K.
            losses: of a chunk of the tasks, in the present `parameters`.

        Returns the losses of all tasks, cut from the graph.
        """

        def differentiate(chunk: slice) -> tuple[Losses, tuple[Tensor, ...]]:
            found = losses(chunk)
            loss = found["total"].sum() / tasks
            gradients = torch.autograd.grad(
                loss, list(self.parameters.values()), materialize_grads=True
            )
            return {name: value.detach() for name, value in found.items()}, gradients

        found, gradients = zip(*self.workers.map(differentiate, self.chunks(tasks)), strict=True)
        # Summed in the order of the chunks, so that threads change no bit; as if of one task.
        summed = {
            name: torch.stack(pieces).sum(dim=0, keepdim=True)
            for name, *pieces in zip(self.parameters, *gradients, strict=True)
        }
        clipped = clip_gradients(summed, self.config.max_gradient_norm)
        for name, value in self.parameters.items():
            value.grad = clipped[name].squeeze(0)
        self._optimizer.step()
        return {name: torch.cat([piece[name] for piece in found]) for name in found[0]}

    def state_dict(self) -> dict[str, Any]:
        """Parameters and optimiser."""
        # Copies: an optimiser changes parameters in place.
        return copied({"parameters": self.parameters, "optimizer": self._optimizer.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        load_optimized(self.parameters, self._optimizer, state)


class SharedPPO:
    """One PPO learner that minimises the weighted mean of its losses on K tasks.

    Args:
        actor_critic: what the parameters mean, and the settings.
        parameters: where it starts, `[...]`, shared by all tasks.
        device: where it learns; rollouts stay on the CPU.
        workers: threads for chunks of tasks on the CPU.
    """

    def __init__(
        self,
        actor_critic: ActorCritic,
        parameters: Parameters,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.actor_critic = actor_critic
        self.device = torch.device(device)
        self.optimizer = SharedOptimizer(parameters, actor_critic.config, device, workers)

    @property
    def parameters(self) -> Parameters:
        """Shared parameters `[...]`, cut from any graph."""
        return {name: value.detach() for name, value in self.optimizer.parameters.items()}

    def update(
        self,
        trajectories: Trajectories,
        generators: Sequence[np.random.Generator],
        weights: Tensor | None = None,
    ) -> Losses:
        """One PPO update: every minibatch holds samples of every task.

        Args:
            trajectories: `[K, N, T, ...]`, drawn by the present parameters.
            generators: a random stream of each task, for minibatches.
            weights: lambda_i `[K]` in (1/K) sum_i lambda_i L_i; None: all are 1.

        Returns the losses of each task, means over the last pass; only `total` is weighted.
        """
        tasks, workers = len(generators), self.optimizer.workers
        samples = prepare_in_chunks(
            self.actor_critic,
            stack(self.parameters, tasks),
            trajectories,
            self.optimizer.chunks(tasks),
            workers,
        )
        weights = torch.ones(tasks) if weights is None else weights
        weights = weights.to(self.device)
        history = [
            self._step(samples, index.to(self.device), weights)
            for index in minibatches(generators, samples.weights.shape[1], self.actor_critic.config)
        ]
        last = history[-self.actor_critic.config.minibatches :]
        return {name: torch.stack([loss[name] for loss in last]).mean(0) for name in last[0]}

    def _step(self, samples: Samples, index: Tensor, weights: Tensor) -> Losses:
        def losses(chunk: slice) -> Losses:
            # Shared parameters need no copy for each task: their layers take [k, b, O] at once.
            some = samples[chunk].take(index[chunk])
            found = self.actor_critic.losses(self.optimizer.parameters, some)
            return {**found, "total": weights[chunk] * found["total"]}

        return self.optimizer.step(len(weights), losses)


def prepare_in_chunks(
    actor_critic: ActorCritic,
    parameters: Parameters,
    trajectories: Trajectories,
    chunks: Sequence[slice],
    workers: Workers,
) -> Samples:
    """Samples of K tasks on the device of the stacked parameters; see `ActorCritic.prepare`."""
    device = next(iter(parameters.values())).device

    def prepare(chunk: slice) -> Samples:
        own = {name: value[chunk] for name, value in parameters.items()}
        return actor_critic.prepare(own, trajectories[chunk].to(device))

    return Samples.concatenate(workers.map(prepare, chunks))


def means(losses: Losses) -> dict[str, float]:
    """Means over tasks of the parts of their losses, as metrics."""
    return {f"loss/{name}": float(v.mean()) for name, v in losses.items() if name != "total"}

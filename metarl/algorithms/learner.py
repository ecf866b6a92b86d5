"""The protocol that all learners share: adapt, meta-update, state."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.policies import Parameters, Policy
from metarl.sampling import Sampler, Trajectories
from metarl.simulation.engine import SimulatedFamily
from metarl.workers import Workers

Metrics = dict[str, float]
"""Named numbers of one iteration, `train/...`, `loss/...`, `time/...`."""


class Learner(Protocol):
    """Learns from a sampler's tasks, and adapts to them.

    Made by `make_learner` as `Class(policy, config, generator, device, workers)`.
    """

    policy: Policy
    """What acts in a rollout."""
    trials_are_independent: ClassVar[bool] = False
    """Whether each of the N episodes of a step adapts by itself, in a trial of its own, so that a
    step costs a task one episode; otherwise all N adapt the task's policy together."""

    @classmethod
    def policy_for(cls, policy: Policy, family: SimulatedFamily, config: Any) -> Policy:
        """The policy that this learner wants instead of a plain one with the configured network."""
        return policy

    def meta_update(self, sampler: Sampler) -> Metrics:
        """One meta-iteration on the sampler's tasks."""
        ...

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """Trajectories after 0, 1, ..., `steps` adaptation steps, `[K, N, T, ...]` each.

        Leaves the learner as it is. `rates` replace the learning rates of the first steps, the
        last one repeated; UserError where the learner adapts without one.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads: nested dicts of tensors and numbers."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        ...


class ParameterLearner(Learner):
    """A learner of one set of parameters, which all tasks share.

    A subclass says where they start (`initial_parameters`), and what else it needs (`set_up`).

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
        config: Any,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.policy = policy
        self.config = config
        self.device = torch.device(device)
        self.workers = workers or Workers()
        initial = self.initial_parameters(generator)
        self.parameters: Parameters = {n: v.to(self.device) for n, v in initial.items()}
        """What is learned across tasks, without a task axis."""
        self.set_up()

    @abstractmethod
    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The parameters at the start."""

    def set_up(self) -> None:
        """Make what is needed beside the parameters, which are there: an optimiser, a counter."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next iteration reads: copies, which no later iteration changes."""
        return {"parameters": copied(self.parameters)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        loaded = state["parameters"]
        self.parameters = {name: loaded[name].to(self.device) for name in self.parameters}


def policy_std(parameters: Parameters) -> Metrics:
    """`train/policy_std` of a Gaussian policy whose standard deviation is a parameter."""
    if "log_std" not in parameters:
        return {}
    return {"train/policy_std": float(parameters["log_std"].detach().exp().mean())}


def load_optimized(
    parameters: Parameters, optimizer: torch.optim.Optimizer, state: dict[str, Any]
) -> None:
    """Continue from a state's `parameters` and `optimizer`; in place: the optimiser holds them."""
    with torch.no_grad():
        for name, value in parameters.items():
            value.copy_(state["parameters"][name])
    optimizer.load_state_dict(copied(state["optimizer"]))


def copied(state: Any) -> Any:
    """Nested dicts and lists with every tensor copied to the CPU, without a graph."""
    if isinstance(state, Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [copied(value) for value in state]
    return state


def refuse_rates(name: str, rates: Sequence[float] | None) -> None:
    """UserError where learning rates are given to a learner that adapts without any."""
    if rates is not None:
        raise UserError(
            f"{name} adapts without learning rates; set evaluation.inner_learning_rates to null"
        )


def returns_of_one_policy(trajectories: Trajectories) -> Metrics:
    """The metrics that every learner reports, for an iteration in which no task adapts."""
    mean = float(trajectories.returns.mean())
    return {
        "train/return_pre": mean,
        "train/return_post": mean,
        "train/adaptation_gain": 0.0,
        "train/failed_episodes": float(trajectories.failed.sum()),
    }

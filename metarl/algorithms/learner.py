"""The protocol that all learners share: adapt, meta-update, state."""

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Protocol

from metarl.errors import UserError
from metarl.policies import Policy
from metarl.sampling import Sampler, Trajectories
from metarl.simulation.engine import SimulatedFamily

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

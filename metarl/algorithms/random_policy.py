"""Baseline: uniformly random actions, which show what a task gives for nothing."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import gymnasium
import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Learner, Metrics, refuse_rates, returns_of_one_policy
from metarl.errors import UserError
from metarl.policies import Parameters, Policy
from metarl.sampling import Sampler, Trajectories
from metarl.simulation.engine import SimulatedFamily
from metarl.workers import Workers


@dataclass(frozen=True)
class RandomConfig:
    """The random baseline has no settings."""

    name: Literal["random"] = "random"
    """The learner."""


class RandomPolicy(Policy):
    """Every action of the action space with the same probability, whatever is observed.

    For a box, the parameters `low` and `high` `[A]` are the interval of the policy's actions that
    covers it.

    Args:
        plain: the policy that this one replaces.
        action_space: a bounded Box, or Discrete.

    Raises UserError for a box without bounds.
    """

    def __init__(self, plain: Policy, action_space: gymnasium.Space):
        self.network = plain.network
        self.action_size = plain.action_size
        self.choices: int | None = None
        """Number of actions, where they are discrete."""
        if isinstance(action_space, gymnasium.spaces.Discrete):
            self.choices = int(action_space.n)
        elif not (isinstance(action_space, gymnasium.spaces.Box) and action_space.is_bounded()):
            raise UserError(
                f"no random policy for the action space {action_space}: uniformly random actions "
                "need bounds"
            )

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        if self.choices:
            return {}
        edge = torch.ones(self.action_size)
        return {"low": -edge, "high": edge}

    def distribution(self, parameters: Mapping[str, Tensor], observations: Tensor) -> Any:
        raise TypeError("the random policy learns nothing: it has no distribution to improve")

    def draw_noise(self, generator: np.random.Generator, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(generator.random(shape, dtype=np.float32))

    def actor(self, parameters: Mapping[str, Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        if self.choices:
            count = self.choices
            return lambda observations, noise: (noise * count).long()
        low, high = (parameters[name].unsqueeze(-2) for name in ("low", "high"))
        return lambda observations, noise: torch.lerp(low, high, noise)


class RandomActions(Learner):
    """Learns nothing, neither across tasks nor on one."""

    def __init__(
        self,
        policy: RandomPolicy,
        config: RandomConfig,
        generator: np.random.Generator,
        device: torch.device | str = "cpu",
        workers: Workers | None = None,
    ):
        self.policy = policy
        self.config = config
        self._choices = policy.choices

    @classmethod
    def policy_for(cls, policy: Policy, family: SimulatedFamily, config: Any) -> RandomPolicy:
        return RandomPolicy(policy, family.action_space)

    def collect(self, sampler: Sampler) -> Trajectories:
        """Episodes of random actions in the sampler's tasks."""
        if self._choices:
            return sampler.collect({})
        tasks = sampler.task_count
        low, high = sampler.boundary.policy_range()
        return sampler.collect({"low": low.expand(tasks, -1), "high": high.expand(tasks, -1)})

    def meta_update(self, sampler: Sampler) -> Metrics:
        """Measures random actions, once; one iteration is enough."""
        return returns_of_one_policy(self.collect(sampler))

    def adaptation(
        self, sampler: Sampler, steps: int, rates: Sequence[float] | None = None
    ) -> Iterator[Trajectories]:
        """`steps` + 1 times fresh episodes of random actions, `[K, N, T, ...]`."""
        refuse_rates(self.config.name, rates)
        for _ in range(steps + 1):
            yield self.collect(sampler)

    def state_dict(self) -> dict[str, Any]:
        """Nothing."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to continue from."""

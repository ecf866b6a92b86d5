"""What a continual-learning method is: a rule for PPO's updates that remembers earlier tasks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import copied
from metarl.algorithms.ppo import ActorCritic, Samples, UpdateRule
from metarl.continual.config import ContinualPPOConfig
from metarl.policies import MLP, Parameters, Policy
from metarl.policies.value import PREFIX


@dataclass(frozen=True)
class Setting:
    """What the methods of a run have in common."""

    actor_critic: ActorCritic
    config: ContinualPPOConfig
    stages: tuple[int, ...]
    """Which of the distinct tasks, 0 to J - 1, is trained on in each stage."""
    iterations: int
    """Iterations of a stage."""

    @property
    def policy(self) -> Policy:
        """The policy of every learner."""
        return self.actor_critic.policy

    def is_penalized(self, name: str) -> bool:
        """Whether regularisers hold the parameter of this name."""
        return part_of(name, self.policy.network) in self.config.penalized


def part_of(name: str, network: MLP) -> str:
    """`trunk`, `head` or `value`: where a parameter of policy and value network belongs.

    The head is the policy's output layer, and the standard deviation of its actions.
    """
    if name.startswith(PREFIX):
        return "value"
    last = len(network.sizes) - 2
    return "head" if name in (f"weight{last}", f"bias{last}", "log_std") else "trunk"


class Method(UpdateRule):
    """How k of the stacked learners go through the sequence; fine-tuning unless overridden.

    The methods of `UpdateRule` get `rows` within these k learners. A stage is: `begin_stage`, then
    `iterations` times `before_iteration` and a PPO update, then `end_stage`.

    Args:
        setting: what the methods of the run have in common.
        parameters: where the k learners start, stacked `[k, ...]`.
        strengths: lambda of each, `[k]`; zeros where the method has none.
    """

    has_strength: ClassVar[bool] = False
    """Whether there is a lambda."""
    trains_on_all_tasks: ClassVar[bool] = False
    """Whether its episodes are spread over all tasks, in every stage."""
    forgets_optimizer: ClassVar[bool] = False
    """Whether its optimiser is reset when the task changes, whatever the configuration says."""
    knows_task: ClassVar[bool] = False
    """Whether it needs to be told the task when a policy acts, whatever the configuration says."""

    def __init__(self, setting: Setting, parameters: Parameters, strengths: Tensor):
        self.setting = setting
        self.strengths = strengths

    def begin_stage(self, stage: int, parameters: Parameters) -> Parameters | None:
        """Before the first iteration of a stage (0, 1, ...); new parameters, or None to go on."""
        return None

    def before_iteration(
        self, stage: int, iteration: int, parameters: Parameters
    ) -> Parameters | None:
        """Before iteration 0, 1, ... of a stage; new parameters, or None to go on."""
        return None

    def end_stage(
        self,
        stage: int,
        parameters: Parameters,
        samples: Samples,
        generators: Sequence[np.random.Generator],
    ) -> None:
        """After the last iteration of a stage: remember its task.

        Args:
            stage: 0, 1, ...
            parameters: `[k, ...]`, detached.
            samples: `[k, B, ...]`, drawn by these parameters on the stage's task.
            generators: a random stream of each learner.
        """

    def view(self, parameters: Parameters, task: int) -> Parameters:
        """The parameters `[k, ...]` that act in a task; all of them unless overridden."""
        return parameters

    def state_dict(self) -> dict[str, Any]:
        """What it remembers: nested dicts of tensors and numbers, copies."""
        return copied(self.memory())

    def memory(self) -> dict[str, Any]:
        """What `state_dict` copies, by the name of the attribute; overridden where there is any."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        for name, value in copied(state).items():
            setattr(self, name, _moved(value, self.strengths.device))


def _moved(state: Any, device: torch.device) -> Any:
    if isinstance(state, dict):
        return {key: _moved(value, device) for key, value in state.items()}
    return state.to(device) if isinstance(state, Tensor) else state

"""What the checks share: environments, equal random numbers, random actions, played episodes."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.vector.utils import batch_space
from torch import Tensor

from metarl.simulation import MujocoState, TaskVectorEnv
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import TaskDistribution, Tasks, TaskStreams, stream
from metarl.tasks.distribution import SPLIT_SIZES

SEED = 0
PURPOSE = "conformance"
STEPS = 20
"""Time steps of episodes that are compared number by number."""

FUNCTIONS = (
    "reset",
    "transition",
    "observation",
    "reward",
    "terminated",
    "control",
    "physics",
)
"""What a tensor or MuJoCo family is written as."""


class CheckFailed(Exception):
    """A family fails a check; the message says what is wrong and what to do."""


class Episodes(NamedTuple):
    """What n environments gave in T time steps."""

    observations: Tensor
    """`[T + 1, n, *observation]`"""
    rewards: Tensor
    """`[T, n]`"""
    ends: Tensor
    """`[T, n]` bool"""


def make_env(
    family: TaskDistribution, tasks: Tasks, episodes: int = 1, threads: int = 1
) -> TaskVectorEnv:
    """An environment of the given tasks, before its first reset."""
    if not isinstance(family, SimulatedFamily):
        raise CheckFailed(
            f"no engine can step {type(family).__name__}; "
            "derive it from TensorFamily, MujocoFamily or GymnasiumFamily"
        )
    env = TaskVectorEnv(family, len(tasks), episodes, threads)
    env.set_tasks(tasks)
    return env


def equal_streams(tasks: int, episodes: int, iteration: int = 0) -> TaskStreams:
    """Streams that give every task the same numbers, so that only tasks make a difference."""
    generators = [stream(SEED, PURPOSE, iteration, 0) for _ in range(tasks)]
    return TaskStreams(generators, episodes)


def random_actions(
    family: TaskDistribution, steps: int, environments: int, seed: int = SEED
) -> Tensor:
    """Actions `[T, n, *action]` from the action space."""
    space = batch_space(family.action_space, environments)
    space.seed(seed)
    return torch.from_numpy(np.stack([space.sample() for _ in range(steps)]))


def play(env: TaskVectorEnv, streams: TaskStreams, actions: Tensor) -> Episodes:
    """A reset of all environments, then the actions `[T, n, *action]`."""
    first = env.reset_episodes(streams)
    steps = [env.step_episodes(action) for action in actions]
    return Episodes(
        torch.stack([first, *(step.observation for step in steps)]),
        torch.stack([step.reward for step in steps]),
        torch.stack([step.terminated for step in steps]),
    )


def environments_of(episodes: Episodes, chosen: slice) -> Episodes:
    """The episodes of some of the environments."""
    return Episodes(*(part[:, chosen] for part in episodes))


def difference(one: Episodes, other: Episodes) -> str:
    """Where two runs differ first, in words; empty where they are bit-identical."""
    for name, a, b in zip(one._fields, one, other, strict=True):
        steps = (a != b).flatten(1).any(dim=1).nonzero()[:, 0]
        if len(steps):
            return f"{name} differ, first at time step {int(steps[0])}"
    return ""


def fixed_lists(family: TaskDistribution) -> dict[str, Tasks]:
    """The family's validation, test and, where it has one, ood tasks."""
    names = [name for name in SPLIT_SIZES if name != "ood" or family.ood_parameters]
    return {name: family.split(name) for name in names}


def joined(batches: Sequence[Tasks]) -> Tasks:
    """One batch of all tasks of several."""
    return Tasks({n: torch.cat([batch[n] for batch in batches]) for n in batches[0].names})


def replaced(tasks: Tasks, name: str, values: Tensor) -> Tasks:
    """The tasks with other values `[K, ...]` of one parameter."""
    return Tasks({n: values if n == name else tasks[n] for n in tasks.names})


def watched(
    family: TaskDistribution, around: Callable[[str, Sequence[Any], Callable[[], Any]], Any]
) -> Any:
    """A copy of the family that calls `around(function, arguments, call)` for each function.

    `call()` computes what the function gives, which `around` must return.
    """
    family = copy.copy(family)

    def wrap(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*positional: Any, **named: Any) -> Any:
            arguments = [*positional, *named.values()]
            return around(name, arguments, lambda: function(*positional, **named))

        return wrapper

    for name in FUNCTIONS:
        function = getattr(family, name, None)
        if callable(function):
            object.__setattr__(family, name, wrap(name, function))  # a dataclass may be frozen
    return family


def tensors_of(argument: Any) -> list[Tensor]:
    """The tensors in one argument of a family's function."""
    if isinstance(argument, Tensor):
        return [argument]
    if isinstance(argument, Tasks):
        return [argument[name] for name in argument.names]
    if isinstance(argument, MujocoState):
        return list(argument._fields.values())
    return []


def in_words(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))

"""One Gymnasium environment under changing tasks, for the sub-environments of a vector one."""

import os
import signal
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import error, spaces
from gymnasium.wrappers import FlattenObservation

from metarl.errors import UserError


class EnvTask(NamedTuple):
    """What one task means to its environment."""

    values: Mapping[str, Any]
    """The task parameters."""
    arguments: Mapping[str, Any]
    """Constructor arguments."""
    settings: Mapping[str, Any]
    """Values of attributes, by their dotted names."""

    def __str__(self) -> str:
        return ", ".join(f"{name}={value}" for name, value in self.values.items())


@dataclass(frozen=True)
class Recipe:
    """How to make a family's environment: all that a worker process needs of the family."""

    env_id: str
    options: Mapping[str, Any]
    rendering: bool

    def make(self, task: EnvTask) -> gymnasium.Env:
        """The environment of a task, without a time limit; UserError when it cannot be made.

        Observations that are neither an array nor an index are flattened.
        """
        options = {**self.options, **task.arguments}
        if self.rendering:
            options["render_mode"] = "rgb_array"
        try:
            env = self._make(options)
        except (error.UnregisteredEnv, error.DependencyNotInstalled) as reason:
            raise UserError(f"{self.env_id}: {_one_line(reason)}") from reason
        except Exception as reason:  # whatever its constructor raises
            given = ", ".join(f"{name}={value!r}" for name, value in options.items())
            # Gymnasium wraps a TypeError of the constructor in one that is twice as long.
            reason = reason.__cause__ if isinstance(reason.__cause__, TypeError) else reason
            raise UserError(
                f"{self.env_id} cannot be made with {given or 'no arguments'}: "
                f"{type(reason).__name__}: {_one_line(reason)}"
            ) from reason
        if isinstance(env.observation_space, spaces.Box | spaces.Discrete):
            return env
        if not env.observation_space.is_np_flattenable:
            raise UserError(f"{self.env_id}: no flat observations from {env.observation_space}")
        return FlattenObservation(env)

    def _make(self, options: Mapping[str, Any]) -> gymnasium.Env:
        with warnings.catch_warnings():
            # Box2D's module warns when it is imported, and crashes where warnings are errors.
            warnings.filterwarnings("ignore", "builtin type", DeprecationWarning)
            return gymnasium.make(
                self.env_id, max_episode_steps=-1, disable_env_checker=True, **options
            )


class TaskEnv(gymnasium.Env):
    """Steps one environment, and applies a change of `task` at the next reset.

    The environment is made by the first reset, in the process that steps it, and made anew when a
    task changes its constructor arguments. One whose episode ended, or that is told not to run,
    repeats its last observation with reward 0.

    Ends and errors travel in the info, as `ended` and `error`: Gymnasium's vector environments
    refuse to step past an end, and a worker process would not outlive an error. Other info is
    dropped.
    """

    def __init__(
        self,
        recipe: Recipe,
        index: int,
        observation_space: spaces.Space,
        action_space: spaces.Space,
        parent: int,
    ):
        if os.getpid() != parent:
            # Ctrl-C is for the parent, whose handlers this process may have inherited.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.recipe = recipe
        self.index = index
        self.observation_space = observation_space
        self.action_space = action_space
        self.task = EnvTask({}, {}, {})
        self.running = False
        self._env: gymnasium.Env | None = None
        self._made_with: Mapping[str, Any] = {}
        # Stands for the observation where the first reset fails.
        self._last: Any = np.zeros(observation_space.shape or (), observation_space.dtype)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        try:
            self._last = self._begin(seed)
        except UserError as reason:
            return self._last, {"error": str(reason)}
        except Exception as reason:
            return self._last, {"error": self._report("reset", reason)}
        self.running = True
        return self._last, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        if not self.running or self._env is None:
            return self._last, 0.0, False, False, {}
        try:
            self._last, reward, terminated, truncated, _ = self._env.step(action)
        except Exception as reason:
            return self._last, 0.0, False, False, {"error": self._report("step", reason)}
        if not (terminated or truncated):
            return self._last, float(reward), False, False, {}
        self.running = False
        return self._last, float(reward), False, False, {"ended": True}

    def frame(self, index: int) -> Any:
        """The picture of environment `index` if it is this one; its error as text."""
        if index != self.index or self._env is None:
            return None
        try:
            return self._env.render()
        except Exception as reason:
            return self._report("render", reason)

    def close(self) -> None:
        if self._env is not None:
            self._env.close()
            self._env = None

    def _begin(self, seed: int | None) -> Any:
        """Start an episode of the present task; its first observation."""
        if self._env is None or not _equal(self._made_with, self.task.arguments):
            self.close()
            self._env = self._made_with_the_spaces_of_the_family()
            self._made_with = self.task.arguments
        for name, value in self.task.settings.items():
            set_attribute(self._env, name, value)
        set_to = {name: np.copy(attribute(self._env, name)) for name in self.task.settings}
        observation, _ = self._env.reset(seed=seed)
        for name, value in set_to.items():
            if not np.array_equal(value, attribute(self._env, name)):
                raise UserError(
                    f"{self.recipe.env_id} sets {name} anew at each reset, so no task can set it"
                )
        return observation

    def _made_with_the_spaces_of_the_family(self) -> gymnasium.Env:
        env = self.recipe.make(self.task)
        same_size = _size(env.observation_space) == _size(self.observation_space)
        if not same_size or env.action_space != self.action_space:
            raise UserError(
                f"{self.recipe.env_id} with {self.task} has the spaces {env.observation_space} and "
                f"{env.action_space}, with other tasks of the family {self.observation_space} and "
                f"{self.action_space}; a family needs one size of observations and one action space"
            )
        return env

    def _report(self, what: str, reason: Exception) -> str:
        return (
            f"{self.recipe.env_id} failed in {what} with {self.task}: "
            f"{type(reason).__name__}: {_one_line(reason)}"
        )


def attribute(env: gymnasium.Env, name: str) -> Any:
    """The attribute of the innermost environment with this dotted name."""
    holder: Any = env.unwrapped
    for part in name.split("."):
        holder = getattr(holder, part)
    return holder


def set_attribute(env: gymnasium.Env, name: str, value: Any) -> None:
    """Set an attribute that is there; UserError for one that is not, or cannot be set."""
    path, _, last = name.rpartition(".")
    try:
        holder = attribute(env, path) if path else env.unwrapped
        getattr(holder, last)
        setattr(holder, last, value)
    except AttributeError as reason:
        raise UserError(
            f"{type(env.unwrapped).__name__} has no attribute {name!r} that can be set: "
            f"{_one_line(reason)}"
        ) from reason


def _size(space: spaces.Space) -> tuple[int, ...]:
    return (int(space.n),) if isinstance(space, spaces.Discrete) else tuple(space.shape or ())


def _equal(some: Mapping[str, Any], others: Mapping[str, Any]) -> bool:
    return some.keys() == others.keys() and all(np.array_equal(some[k], others[k]) for k in some)


def _one_line(reason: BaseException) -> str:
    return " ".join(str(reason).split())

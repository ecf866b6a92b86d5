"""Any Gymnasium environment as a family, stepped by Gymnasium's own vector environments."""

import os
import warnings
import weakref
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from torch import Tensor

from metarl.errors import UserError
from metarl.simulation.engine import Engine, SimulatedFamily, StepResult
from metarl.simulation.task_env import EnvTask, Recipe, TaskEnv, set_attribute
from metarl.tasks import Tasks, TaskStreams


class GymnasiumFamily(SimulatedFamily):
    """A family on an environment that `gymnasium.make` knows.

    A subclass names the environment and its parameters; a parameter is an argument of the
    environment's constructor, or an attribute where `attributes` says so:

        @register("WindyLander-v0")
        class WindyLander(GymnasiumFamily):
            env_id = "LunarLander-v3"
            env_options = {"enable_wind": True}
            parameters = {"wind_power": Uniform(0.0, 20.0)}

    Observations are flat: an index is given as a vector of one 1 among 0s, a nested space as
    Gymnasium's `FlattenObservation` does. The time limit of the environment's registration is
    removed, so that `horizon` is the only one; an end by itself, be it a termination or a
    truncation, is the end of the episode. Each episode has its own seed, so its numbers are
    reproducible as far as the environment draws from its `np_random` alone, as all of
    Gymnasium's do.
    """

    env_id: ClassVar[str]
    """As in `gymnasium.make`; `module:Name-v0` imports the module first."""
    env_options: ClassVar[Mapping[str, Any]] = {}
    """Constructor arguments that are the same for all tasks."""
    attributes: ClassVar[Mapping[str, str]] = {}
    """Parameters that are attributes of the environment, by their dotted names there."""
    vectorization: ClassVar[Literal["sync", "async"]] = "sync"
    """`sync`: one after the other in this process. `async`: each in a process of its own, which
    pays where a time step takes much longer than the 0.1 ms of talking to a process."""

    def arguments(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        """Constructor arguments of a task: the parameters that are not in `attributes`.

        `task` holds numbers, and arrays for parameters with a shape. Override this to turn an index
        into a map, say.
        """
        return {name: value for name, value in task.items() if name not in self.attributes}

    def settings(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        """Attributes of a task by their dotted names, set before each reset; as `attributes` says.

        Override this where the environment derives others from one when it is made, as
        CartPole-v1 does with `total_mass`.
        """
        return {name: task[parameter] for parameter, name in self.attributes.items()}

    @cached_property
    def observation_space(self) -> spaces.Box:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The flat observations, float32."""
        space = self.env_spaces[0]
        if isinstance(space, spaces.Discrete):
            return spaces.Box(0.0, 1.0, (int(space.n),), np.float32)
        assert isinstance(space, spaces.Box)
        low, high = (bound.ravel().astype(np.float32) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=np.float32)

    @cached_property
    def action_space(self) -> spaces.Space:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The environment's; indices start at 0."""
        space = self.env_spaces[1]
        return spaces.Discrete(int(space.n)) if isinstance(space, spaces.Discrete) else space

    @cached_property
    def env_spaces(self) -> tuple[spaces.Space, spaces.Space]:
        """Observation and action space of the environment itself, under one task.

        Raises UserError when the environment cannot be made, or does not have the attributes.
        """
        unknown = [name for name in self.attributes if name not in self.parameters]
        if unknown:
            raise UserError(f"{self.name}: `attributes` names {unknown[0]}, not a task parameter")
        task = self.env_tasks(self.sample(0, 0, 1))[0]
        try:
            env = self.recipe.make(task)
            for name, value in task.settings.items():
                set_attribute(env, name, value)
        except UserError as error:
            raise UserError(f"{self.name}: {error}") from error
        found = env.observation_space, env.action_space
        env.close()
        if not isinstance(found[1], spaces.Box | spaces.Discrete):
            raise UserError(f"{self.name}: actions must be a Box or Discrete, not {found[1]}")
        return found

    @property
    def recipe(self) -> Recipe:
        """How to make one environment."""
        return Recipe(self.env_id, self.env_options, self.rendering)

    def env_tasks(self, tasks: Tasks) -> list[EnvTask]:
        """What each of n tasks means to its environment."""
        columns = [list(_values(tasks[name])) for name in tasks.names]
        rows = [dict(zip(tasks.names, row, strict=True)) for row in zip(*columns, strict=True)]
        return [EnvTask(row, self.arguments(row), self.settings(row)) for row in rows]

    def make_engine(self, environments: int, threads: int) -> Engine:
        return GymnasiumEngine(self, environments, threads)


class GymnasiumEngine:
    """Steps n environments of a `GymnasiumFamily`; async ones, `threads` at a time."""

    def __init__(self, family: GymnasiumFamily, environments: int, threads: int):
        self.family = family
        self._env_observation, self._env_action = family.env_spaces
        makers = [
            partial(TaskEnv, family.recipe, index, *family.env_spaces, parent=os.getpid())
            for index in range(environments)
        ]
        self.vector_env: AsyncVectorEnv | SyncVectorEnv = (
            AsyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED, max_concurrency=threads)
            if family.vectorization == "async"
            else SyncVectorEnv(makers, autoreset_mode=AutoresetMode.DISABLED)
        )
        # Worker processes end with the engine, or with the program.
        self._close_once = weakref.finalize(self, _close, self.vector_env)
        self._seeds = np.zeros(environments, dtype=np.int64)
        self._running = np.zeros(environments, dtype=bool)
        self._observation: Tensor | None = None

    def set_tasks(self, tasks: Tasks) -> None:
        self.vector_env.set_attr("task", self.family.env_tasks(tasks))

    def reset(self, streams: TaskStreams, ids: Tensor | None) -> Tensor:
        seeds = streams.integers(2**31).numpy()
        chosen = np.ones(len(seeds), dtype=bool)
        if ids is not None and self._observation is not None:
            chosen[:] = False
            chosen[ids.numpy()] = True
        self._seeds = np.where(chosen, seeds, self._seeds)
        return self._reset(chosen)

    def step(self, actions: Tensor, ids: Tensor | None) -> StepResult:
        self._run_only(ids)
        observation, reward, _, _, info = self.vector_env.step(self._env_actions(actions))
        self._raise_errors(info)
        ended = info.get("ended", np.zeros(len(reward), dtype=bool))
        self._running &= ~ended
        self._observation = self._flat(observation)
        rewards = torch.from_numpy(reward)
        failed = ~torch.isfinite(rewards)
        return StepResult(self._observation.clone(), rewards, torch.from_numpy(ended), failed)

    def copy_state(self, source: int) -> Tensor:
        """Start all environments with the last seed of one.

        A Gymnasium environment's state cannot be copied. Where the reset itself depends on the
        task, so do these states.
        """
        self._seeds[:] = self._seeds[source]
        return self._reset(np.ones(len(self._seeds), dtype=bool))

    def frame(self, index: int, width: int, height: int) -> np.ndarray:
        """A picture of one environment in its own size, uint8 `[height, width, 3]`.

        Raises UserError for a family without `rendering`, or an environment without pictures.
        """
        env_id = self.family.env_id
        if not self.family.rendering:
            raise UserError(f"{env_id} is drawn only with the family's `rendering` set to True")
        picture = self.vector_env.call("frame", index)[index]
        if isinstance(picture, str):
            raise UserError(picture)
        if not isinstance(picture, np.ndarray):
            raise UserError(f"{env_id} gives no pictures (render mode rgb_array)")
        return picture

    def close(self) -> None:
        """Close the environments, and end their processes."""
        self._close_once()

    def _reset(self, chosen: np.ndarray) -> Tensor:
        if not chosen.any():
            assert self._observation is not None
            return self._observation.clone()
        observation, info = self.vector_env.reset(
            seed=self._seeds.tolist(),  # pyright: ignore[reportArgumentType]
            options={"reset_mask": chosen},
        )
        self._raise_errors(info)
        self._running |= chosen
        self._observation = self._flat(observation)
        return self._observation.clone()

    def _run_only(self, ids: Tensor | None) -> None:
        """Tell the environments which of them to step, where they do not know it already."""
        wanted = np.ones_like(self._running) if ids is None else np.zeros_like(self._running)
        if ids is not None:
            wanted[ids.numpy()] = True
        if not np.array_equal(wanted, self._running):
            self.vector_env.set_attr("running", wanted.tolist())
            self._running = wanted

    def _flat(self, observation: Any) -> Tensor:
        """The vector environment's observations as float tensors `[n, size]`."""
        observations = torch.from_numpy(observation)
        if isinstance(self._env_observation, spaces.Discrete):
            indices = observations - int(self._env_observation.start)
            return torch.nn.functional.one_hot(indices, int(self._env_observation.n)).float()
        return observations.flatten(1).float()

    def _env_actions(self, actions: Tensor) -> np.ndarray:
        values = actions.numpy().astype(self._env_action.dtype, copy=False)
        if isinstance(self._env_action, spaces.Discrete):
            return values + self._env_action.start
        return values

    def _raise_errors(self, info: Mapping[str, Any]) -> None:
        if "error" in info:
            first = next(text for text in info["error"] if text)
            raise UserError(f"{self.family.name}: {first}")


def _values(column: Tensor) -> Any:
    """One value of a parameter for each task: numbers, or arrays where it has a shape."""
    return column.tolist() if column.dim() == 1 else column.numpy()


def _close(vector_env: gymnasium.vector.VectorEnv) -> None:
    with warnings.catch_warnings():
        # Interrupted in the middle of a step, it would warn of that.
        warnings.simplefilter("ignore")
        vector_env.close(terminate=True)

"""`SingleTaskEnv`: one environment of one task behind Gymnasium's interface, for anyone's agent."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded

from metarl.errors import UserError
from metarl.simulation.engine import SimulatedFamily
from metarl.simulation.vector_env import TaskVectorEnv
from metarl.tasks import Tasks, make

FRAMES_PER_SECOND = 20
"""Speed of a video of a world without a time scale of its own."""


class SingleTaskEnv(gymnasium.Env):
    """One task of a family: `gymnasium.make("metarl/HalfCheetahVel-v0", task={"velocity": 1.5})`.

    Every reset starts a new episode, of the given task, or of a fresh training task where none is
    given; `reset(options={"task": {...}})` gives another from then on, and None goes back to fresh
    ones. `info["task"]` holds the task's parameters, in `reset` and `step`: the task is hidden from
    the observation only. `info["failed"]` marks an episode that ended by diverged physics.

    A seed determines the tasks and the episodes from that reset on. Without one, the first reset
    draws a seed from the system's entropy.

    Args:
        family: a family, or its name.
        task: the value of every task parameter; None: a fresh training task at every reset.
        render_mode: None, or "rgb_array" for frames `[height, width, 3]` uint8.
        options: of the family's constructor, such as `arms=10`.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": FRAMES_PER_SECOND}

    def __init__(
        self,
        family: str | SimulatedFamily,
        task: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
        **options: Any,
    ):
        self.family = simulated_family(family, options)
        if render_mode is not None:
            self.family.rendering = True
        self._env = TaskVectorEnv(self.family, tasks=1, threads=1)
        self._task = None if task is None else as_tasks(self.family, [task])
        self._seed: int | None = None
        self._episode = 0
        self.observation_space = self.family.observation_space
        self.action_space = self.family.action_space
        self.render_mode = render_mode
        self.metadata = render_metadata(self.family)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Gymnasium's reset; `options` may hold `task`."""
        super().reset(seed=seed)
        self._take_options(options or {})
        restart = seed is not None or self._seed is None
        if restart:
            self._seed, self._episode = self.np_random_seed, 0
        assert self._seed is not None
        tasks = self._task or self.family.sample(self._seed, self._episode, 1)
        self._episode += 1
        if tasks != self._env.tasks:
            self._env.set_tasks(tasks)
        observation, _ = self._env.reset(seed=self._seed if restart else None)
        return observation[0], {"task": self.task}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Gymnasium's step; `ResetNeeded` after the end of an episode."""
        if not self._env.everyone_active:
            raise ResetNeeded("the episode has ended, or not begun: reset comes before step")
        action = np.asarray(action, dtype=self.action_space.dtype)
        if action.shape != self.action_space.shape:
            raise UserError(
                f"an action of {self.family.name} has shape {self.action_space.shape}, "
                f"got {action.shape}"
            )
        observation, reward, terminated, truncated, info = self._env.step(action[None])
        return (
            observation[0],
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {"task": self.task, "failed": bool(info["failed"][0])},
        )

    @property
    def task(self) -> dict[str, Any]:
        """The parameters of the current task: numbers, or fresh arrays of the parameter's shape."""
        tasks = self._env.tasks
        if tasks is None:
            raise ResetNeeded("there is a task from the first reset on")
        return {name: _number(tasks[name][0].numpy().copy()) for name in tasks.names}

    def render(self) -> np.ndarray | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The current state as a picture `[height, width, 3]`, uint8."""
        if self.render_mode is None:
            return None
        from metarl.simulation.render import frame

        return frame(self._env)

    def close(self) -> None:
        """Free what pictures needed."""
        self._env.close()

    def _take_options(self, options: Mapping[str, Any]) -> None:
        unknown = options.keys() - {"task"}
        if unknown:
            raise UserError(
                f"reset of {self.family.name} takes the option task; got {', '.join(unknown)}"
            )
        if "task" in options:
            task = options["task"]
            self._task = None if task is None else as_tasks(self.family, [task])


def simulated_family(family: str | SimulatedFamily, options: Mapping[str, Any]) -> SimulatedFamily:
    """The family of this name with these options, or the given one."""
    made = make(family, **options) if isinstance(family, str) else family
    if not isinstance(made, SimulatedFamily):
        raise UserError(f"{made.name} has no environment: no engine can step it")
    if options and not isinstance(family, str):
        raise UserError(f"{made.name} is made already and takes no {', '.join(options)}")
    return made


def as_tasks(family: SimulatedFamily, tasks: Tasks | Sequence[Mapping[str, Any]]) -> Tasks:
    """A batch of tasks from one mapping of parameter values for each, checked by the family."""
    if not isinstance(tasks, Tasks):
        try:
            tasks = Tasks.stack([dict(task) for task in tasks])
        except (TypeError, ValueError, KeyError) as error:
            parameters = ", ".join(family.parameters)
            raise UserError(
                f"a task of {family.name} maps {parameters} to numbers; got {tasks!r:.100}"
            ) from error
    family.validate(tasks)
    return tasks


def render_metadata(family: SimulatedFamily) -> dict[str, Any]:
    """Gymnasium's metadata about pictures; a robot's video runs at its own speed."""
    dt = getattr(family, "dt", None)
    speed = FRAMES_PER_SECOND if dt is None else round(1.0 / dt)
    return {"render_modes": ["rgb_array"], "render_fps": speed}


def _number(value: np.ndarray) -> Any:
    return value.item() if value.ndim == 0 else value

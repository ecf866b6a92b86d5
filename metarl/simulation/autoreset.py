"""`AutoresetVectorEnv`: many tasks behind Gymnasium's vector interface, for anyone's agent."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode

from metarl.errors import UserError
from metarl.simulation.engine import SimulatedFamily
from metarl.simulation.single_env import as_tasks, render_metadata, simulated_family
from metarl.simulation.vector_env import TaskVectorEnv
from metarl.tasks import Tasks


class AutoresetVectorEnv(TaskVectorEnv):
    """A `TaskVectorEnv` that starts ended episodes anew by itself, as Gymnasium's own do.

    Autoreset modes, as in `gymnasium.vector.SyncVectorEnv`:
      next_step: the step after an end starts the next episode; its action is ignored, its reward 0.
      same_step: the step of the end returns the first observation of the next episode, and its last
        one in `info["final_obs"]`, its info in `info["final_info"]`.
      disabled: `reset(options={"reset_mask": mask})` is the caller's to call.

    An episode starts with the same task again. Given tasks stay until `set_tasks` or
    `reset(options={"tasks": ...})`; where none were given, `reset(seed=...)` draws fresh training
    tasks, which stay until the next reset with a seed. `info["task"]` holds the parameters, `[n]`
    or `[n, ...]` arrays; the mask `_key` beside every key says whose value is meant.

    Args:
        family: the task distribution.
        tasks: K tasks, or their number.
        episodes: N, environments per task.
        threads: threads of the physics engine; None: the CPUs this process may use.
        autoreset_mode: one of the modes above.
        render_mode: None, or "rgb_array".
    """

    def __init__(
        self,
        family: SimulatedFamily,
        tasks: Tasks | int,
        episodes: int = 1,
        threads: int | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ):
        if render_mode is not None:
            family.rendering = True
        count = tasks if isinstance(tasks, int) else len(tasks)
        super().__init__(family, count, episodes, threads)
        self.autoreset_mode = _mode(autoreset_mode)
        self.render_mode = render_mode
        self.metadata = render_metadata(family) | {"autoreset_mode": self.autoreset_mode}
        self._given = False
        self._seeded = False
        if isinstance(tasks, Tasks):
            self.set_tasks(tasks)

    def set_tasks(self, tasks: Tasks | Sequence[Mapping[str, Any]]) -> None:
        """Give the K tasks, until others are given; all episodes end, and `reset` comes next."""
        super().set_tasks(as_tasks(self.family, tasks))
        self._given = True
        self._observation = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Gymnasium's reset; `options` may hold `tasks` and `reset_mask` (bool `[n]`)."""
        gymnasium.vector.VectorEnv.reset(self, seed=seed)  # seeds np_random
        options = dict(options or {})
        tasks, mask = options.pop("tasks", None), options.get("reset_mask")
        if seed is None and not self._seeded:
            seed = self.np_random_seed  # of the system's entropy
        if tasks is not None:
            self.set_tasks(tasks)
        elif not self._given and seed is not None and mask is None:
            super().set_tasks(self.family.sample(int(seed), 0, self.task_count))
        self._seeded = True
        observation, _ = super().reset(seed=None if seed is None else int(seed), options=options)
        started = np.ones(self.num_envs, dtype=bool) if mask is None else np.array(mask, dtype=bool)
        return observation, self._info(started)

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Gymnasium's step, with resets of ended episodes as the autoreset mode says."""
        if self._observation is None:
            raise UserError("reset comes before the first step, and after set_tasks")
        ended_before = ~self.active.numpy()
        observation, reward, terminated, truncated, given = super().step(actions)
        started = self._to_start(ended_before, terminated | truncated)
        info = self._info(np.ones(self.num_envs, dtype=bool), given["failed"], ~started)
        if started.any():
            if self.autoreset_mode == AutoresetMode.SAME_STEP:
                info |= self._final_info(observation, given["failed"], started)
            observation, _ = super().reset(options={"reset_mask": started})
        return observation, reward, terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A picture `[height, width, 3]` uint8 of every environment."""
        if self.render_mode is None:
            return None
        from metarl.simulation.render import frame

        return tuple(frame(self, index) for index in range(self.num_envs))

    def _to_start(self, ended_before: np.ndarray, ended_now: np.ndarray) -> np.ndarray:
        """The environments, bool `[n]`, whose next episode starts in this step."""
        if self.autoreset_mode == AutoresetMode.NEXT_STEP:
            return ended_before
        if self.autoreset_mode == AutoresetMode.SAME_STEP:
            return ended_now
        return np.zeros(self.num_envs, dtype=bool)

    def _final_info(
        self, observation: np.ndarray, failed: np.ndarray, ended: np.ndarray
    ) -> dict[str, Any]:
        """What the last step of ended episodes gave; observations as an object array `[n]`."""
        final = np.full(self.num_envs, None, dtype=object)
        for index in ended.nonzero()[0]:
            final[index] = observation[index].copy()
        info = self._info(ended, failed, ended)
        return {
            "final_obs": final,
            "_final_obs": ended.copy(),
            "final_info": info,
            "_final_info": ended.copy(),
        }

    def _info(
        self, shown: np.ndarray, failed: np.ndarray | None = None, stepped: np.ndarray | None = None
    ) -> dict[str, Any]:
        """The tasks of environments `shown`; `failed` of those that were `stepped`."""
        assert self.tasks is not None
        values = {n: self.tasks[n].numpy().repeat(self.episodes, axis=0) for n in self.tasks.names}
        task: dict[str, Any] = {}
        for name, value in values.items():
            value[~shown] = 0
            task[name], task[f"_{name}"] = value, shown.copy()
        info = {"task": task, "_task": shown.copy()}
        if failed is not None and stepped is not None and stepped.any():
            info |= {"failed": failed & stepped, "_failed": stepped.copy()}
        return info


def make_vector_env(
    num_envs: int,
    family: str | SimulatedFamily,
    tasks: Tasks | Sequence[Mapping[str, Any]] | None = None,
    episodes: int = 1,
    threads: int | None = None,
    autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    render_mode: str | None = None,
    **options: Any,
) -> AutoresetVectorEnv:
    """`gymnasium.make_vec("metarl/HalfCheetahVel-v0", num_envs=8, tasks=[{"velocity": 1.5}, ...])`.

    `num_envs` is tasks times episodes; without tasks, `num_envs / episodes` fresh training tasks
    are drawn. `options` go to the family's constructor.
    """
    made = simulated_family(family, options)
    if episodes < 1 or num_envs < 1 or num_envs % episodes:
        raise UserError(f"num_envs must be a multiple of episodes, got {num_envs} and {episodes}")
    given = None if tasks is None else as_tasks(made, tasks)
    if given is not None and len(given) * episodes != num_envs:
        raise UserError(
            f"num_envs must be tasks times episodes, {len(given)} x {episodes}, got {num_envs}"
        )
    return AutoresetVectorEnv(
        made,
        num_envs // episodes if given is None else given,
        episodes,
        threads,
        autoreset_mode,
        render_mode,
    )


def _mode(name: str | AutoresetMode) -> AutoresetMode:
    for mode in AutoresetMode:
        if name in (mode, mode.value, mode.name.lower()):
            return mode
    known = ", ".join(mode.name.lower() for mode in AutoresetMode)
    raise UserError(f"unknown autoreset_mode {name!r}; known: {known}")

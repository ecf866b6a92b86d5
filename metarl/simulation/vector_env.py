"""`TaskVectorEnv`: K tasks times N environments behind Gymnasium's vector interface."""

import math
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from metarl.errors import UserError
from metarl.simulation.cpus import usable_cpus
from metarl.simulation.engine import SimulatedFamily, StepResult
from metarl.tasks import Tasks, TaskStreams


class TaskVectorEnv(gymnasium.vector.VectorEnv):
    """K * N environments in task-major order: environment k * N + n is episode n of task k.

    Episodes are not reset by themselves (`AutoresetMode.DISABLED`): one that ended is not stepped
    any more, gives reward 0 and repeats its last observation until `reset` with
    `options={"reset_mask": mask}` (or of all) starts it anew. Every returned array is fresh.

    `reset` and `step` speak numpy, for anyone's agent; `reset_episodes` and `step_episodes` speak
    torch, for our own rollouts.

    Args:
        family: the task distribution.
        tasks: K.
        episodes: N, environments per task.
        threads: threads of the physics engine; None: the CPUs this process may use.
    """

    metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}

    def __init__(
        self, family: SimulatedFamily, tasks: int, episodes: int = 1, threads: int | None = None
    ):
        if tasks < 1 or episodes < 1:
            raise ValueError(f"need at least one task and one episode, got {tasks} and {episodes}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self.family = family
        self.task_count = tasks
        self.episodes = episodes
        self.num_envs = tasks * episodes
        self.single_observation_space = family.observation_space
        self.single_action_space = family.action_space
        self.observation_space = batch_space(family.observation_space, self.num_envs)
        self.action_space = batch_space(family.action_space, self.num_envs)
        self.engine = family.make_engine(self.num_envs, threads or usable_cpus())
        self.tasks: Tasks | None = None
        self._elapsed = torch.zeros(self.num_envs, dtype=torch.int64)
        self._active = torch.zeros(self.num_envs, dtype=torch.bool)
        self.everyone_active = False
        """Whether no episode has ended: the usual case, in which nothing needs a mask."""
        self._observation: Tensor | None = None
        self._seed, self._resets = 0, 0

    def set_tasks(self, tasks: Tasks) -> None:
        """Give the K tasks their environments; all episodes end and need a reset.

        K * N tasks, in task-major order, give every environment one of its own.
        """
        self.family.validate(tasks)
        if len(tasks) not in (self.task_count, self.num_envs):
            raise UserError(f"this environment holds {self.task_count} tasks, got {len(tasks)}")
        self.tasks = tasks
        drawn = self.family.as_drawn(tasks)
        each = self.num_envs // len(tasks)
        self.engine.set_tasks(drawn.repeat_each(each) if each > 1 else drawn)
        self._active[:] = False
        self.everyone_active = False

    @property
    def active(self) -> Tensor:
        """Which episodes have not ended, bool `[K * N]`."""
        return self._active.clone()

    def reset_episodes(self, streams: TaskStreams, mask: Tensor | None = None) -> Tensor:
        """Start episodes (all, or those in bool `mask` `[K * N]`); float32 observations of all."""
        if self.tasks is None:
            raise UserError("set_tasks(tasks) comes before the first reset")
        ids = None if mask is None or bool(mask.all()) else mask.nonzero()[:, 0]
        observation = self.engine.reset(streams, ids).to(self._observation_dtype)
        chosen = slice(None) if ids is None else ids
        self._elapsed[chosen] = 0
        self._active[chosen] = True
        self.everyone_active = bool(self._active.all())
        if ids is not None and self._observation is not None:
            # The others repeat their last observation, even where the physics diverged after it.
            observation = self._observation.index_copy(0, ids, observation[ids])
        self._observation = observation
        return observation.clone()

    def step_episodes(self, actions: Tensor) -> StepResult:
        """One time step of the active episodes.

        `actions` `[K * N, ...]` are in the action space's units. `terminated` is True for episodes
        that ended by the task or by diverged physics, not for those cut at the horizon, which
        `active` shows.
        """
        if self._observation is None:
            raise UserError("reset comes before the first step")
        active, everyone = self._active, self.everyone_active
        ids = None if everyone else active.nonzero()[:, 0]
        observation, reward, terminated, failed = self.engine.step(actions, ids)
        observation = observation.to(self._observation_dtype)
        if everyone and not failed.any() and math.isfinite(float(observation.sum())):
            reward = reward.clone()  # it may be a view of the family's state
        else:
            finite = torch.isfinite(observation).view(self.num_envs, -1).all(dim=1)
            failed = (failed | ~finite) & active
            frozen = failed | ~active
            observation[frozen] = self._observation[frozen]
            reward = reward.masked_fill(frozen, 0.0)
        terminated = (terminated | failed) & active
        self._elapsed += active
        self._active = active & ~terminated & (self._elapsed < self.family.horizon)
        self.everyone_active = bool(self._active.all())
        self._observation = observation
        return StepResult(observation.clone(), reward, terminated, failed)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Gymnasium's reset; `options` may hold `reset_mask` (bool `[K * N]`) and `tasks`."""
        options = dict(options or {})
        if "tasks" in options:
            self.set_tasks(options["tasks"])
        if seed is not None:
            self._seed, self._resets = seed, 0
        if self.tasks is None:
            self.set_tasks(self.family.sample(self._seed, 0, self.task_count))
        streams = TaskStreams.of(
            self._seed, "vector_env", self._resets, range(self.task_count), self.episodes
        )
        self._resets += 1
        mask = options.get("reset_mask")
        if mask is not None:
            mask = torch.from_numpy(np.array(mask, dtype=bool))
            if mask.shape != (self.num_envs,):
                raise ValueError(
                    f"reset_mask needs shape ({self.num_envs},), got {tuple(mask.shape)}"
                )
        return self.reset_episodes(streams, mask).numpy(), {}

    def step(
        self, actions: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Gymnasium's step; `info["failed"]` marks episodes that ended by diverged physics."""
        stepped = self._active.clone()
        result = self.step_episodes(torch.from_numpy(self._checked(actions)))
        truncated = stepped & ~self._active & ~result.terminated
        return (
            result.observation.numpy(),
            result.reward.to(torch.float64).numpy(),
            result.terminated.numpy(),
            truncated.numpy(),
            {"failed": result.failed.numpy()},
        )

    def close_extras(self, **kwargs: Any) -> None:
        """Free what pictures needed; Gymnasium's `close` calls this."""
        self.engine.close()

    def _checked(self, actions: Any) -> np.ndarray:
        """A copy of anyone's actions; UserError where they do not fit the action space."""
        copied, space = np.array(actions), self.single_action_space
        expected = (self.num_envs, *(space.shape or ()))
        if copied.shape != expected:
            raise UserError(
                f"actions of {self.family.name} need the shape {expected}, got {copied.shape}"
            )
        if (
            isinstance(space, gymnasium.spaces.Discrete)
            and not ((copied >= 0) & (copied < space.n)).all()
        ):
            raise UserError(
                f"actions of {self.family.name} are 0 to {space.n - 1}, got "
                f"{copied.min()} to {copied.max()}"
            )
        return copied

    @property
    def _observation_dtype(self) -> torch.dtype:
        if isinstance(self.single_observation_space, gymnasium.spaces.Discrete):
            return torch.int64
        return torch.float32

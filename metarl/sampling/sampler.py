"""`Sampler`: rollouts of per-task policies in a vector environment."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.policies import Policy
from metarl.sampling.boundary import ActionBoundary
from metarl.sampling.trajectories import Trajectories
from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, TaskStreams


class Sampler:
    """Collects episodes of K policies in K tasks, with streams named by (seed, iteration, task).

    Every call of `collect` is a further stage of the same iteration (before adaptation, after one
    step, ...) and has its own streams; `begin` starts an iteration over.
    """

    def __init__(self, env: TaskVectorEnv, policy: Policy, boundary: ActionBoundary):
        self.env = env
        self.policy = policy
        self.boundary = boundary
        self.environment_steps = 0
        """Time steps taken since `begin`."""
        self._purpose = ""
        self._seed = self._iteration = self._stage = 0

    def begin(self, tasks: Tasks, purpose: str, seed: int, iteration: int) -> None:
        """Set the K tasks of an iteration; another `purpose` (train, test) has other streams."""
        self.env.set_tasks(tasks)
        self._purpose = purpose
        self._seed, self._iteration, self._stage = seed, iteration, 0
        self.environment_steps = 0

    @torch.no_grad()
    def collect(self, parameters: Mapping[str, Tensor]) -> Trajectories:
        """One episode in each environment with stacked parameters `[K, ...]`."""
        env = self.env
        tasks, episodes, steps = env.task_count, env.episodes, env.family.horizon
        parameters = {name: value.detach().cpu() for name, value in parameters.items()}
        noise = self._draw_noise(steps)
        recorder = _Recorder(env, self.policy, noise.dtype)
        observation = env.reset_episodes(self._streams("reset"))
        active = env.active
        for t in range(steps):
            seen = observation.view(tasks, episodes, -1)
            action = self.policy.act(parameters, seen, noise[:, :, t])
            if not torch.isfinite(action).all():
                raise UserError(
                    f"the policy gave an action that is not finite in time step {t}; "
                    "lower the learning rates or the trust region"
                )
            result = env.step_episodes(self.boundary(action.view(env.num_envs, -1)))
            recorder.record(t, seen, action, result.reward, active & ~result.failed)
            recorder.end(result.terminated & ~result.failed, result.failed)
            observation, active = result.observation, env.active
            if not active.any():
                break
        self._stage += 1
        trajectories = recorder.trajectories()
        self.environment_steps += int(trajectories.mask.sum())
        return trajectories

    def _streams(self, purpose: str) -> TaskStreams:
        name = f"{self._purpose}/{purpose}/{self._stage}"
        tasks = range(self.env.task_count)
        return TaskStreams.of(self._seed, name, self._iteration, tasks, self.env.episodes)

    def _draw_noise(self, steps: int) -> Tensor:
        shape = (self.env.episodes, steps, self.policy.action_size)
        generators = self._streams("actions").generators
        return torch.stack([self.policy.draw_noise(generator, shape) for generator in generators])


class _Recorder:
    """Writes time steps of K * N environments into `[K, N, T, ...]`."""

    def __init__(self, env: TaskVectorEnv, policy: Policy, dtype: torch.dtype):
        lead = (env.task_count, env.episodes)
        steps = env.family.horizon
        size = policy.network.sizes[0]
        self.lead = lead
        self.observations = torch.zeros(*lead, steps, size)
        discrete = not hasattr(env.single_action_space, "low")
        action_dtype = torch.int64 if discrete else dtype
        self.actions = torch.zeros(*lead, steps, policy.action_size, dtype=action_dtype)
        self.rewards = torch.zeros(*lead, steps)
        self.mask = torch.zeros(*lead, steps, dtype=torch.bool)
        self.terminated = torch.zeros(lead, dtype=torch.bool)
        self.failed = torch.zeros(lead, dtype=torch.bool)

    def record(
        self, t: int, observation: Tensor, action: Tensor, reward: Tensor, valid: Tensor
    ) -> None:
        valid = valid.view(self.lead)
        self.mask[:, :, t] = valid
        if valid.all():
            self.observations[:, :, t] = observation
            self.actions[:, :, t] = action
        else:
            self.observations[:, :, t] = torch.where(valid.unsqueeze(-1), observation, 0.0)
            self.actions[:, :, t] = torch.where(valid.unsqueeze(-1), action, 0)
        self.rewards[:, :, t] = reward.view(self.lead) * valid

    def end(self, terminated: Tensor, failed: Tensor) -> None:
        self.terminated |= terminated.view(self.lead)
        self.failed |= failed.view(self.lead)

    def trajectories(self) -> Trajectories:
        return Trajectories(
            self.observations, self.actions, self.rewards, self.mask, self.terminated, self.failed
        )

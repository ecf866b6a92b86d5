"""`rollout`: one episode of every environment, recorded as `[K, N, T, ...]`."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.policies import MemoryActor, MemoryPolicy, Policy
from metarl.sampling.boundary import ActionBoundary
from metarl.sampling.normalization import ObservationNormalizer
from metarl.sampling.trajectories import Trajectories
from metarl.simulation import TaskVectorEnv
from metarl.tasks import TaskStreams


@torch.no_grad()
def rollout(
    env: TaskVectorEnv,
    policy: Policy,
    boundary: ActionBoundary,
    parameters: Mapping[str, Tensor],
    reset_streams: TaskStreams,
    action_streams: TaskStreams,
    normalizer: ObservationNormalizer | None = None,
    memory: Tensor | None = None,
) -> Trajectories:
    """One episode in each environment, with stacked parameters `[K, ...]`.

    The trajectories hold what the policy saw and did: normalised observations, actions before the
    boundary. A `MemoryPolicy` gets its `memory` `[K, N, M]` (None: zeros) and changes it in place.

    Raises UserError when the policy gives actions that are not finite.
    """
    tasks, episodes, steps = env.task_count, env.episodes, env.family.horizon
    shape = (episodes, steps, policy.action_size)
    noise = torch.stack([policy.draw_noise(g, shape) for g in action_streams.generators])
    actors = _Actors(policy, parameters, noise, memory)
    observation = env.reset_episodes(reset_streams)
    recorder = _Recorder(env, policy, noise.dtype, observation.shape[-1])
    active = env.active
    for t in range(steps):
        seen = (normalizer(observation) if normalizer else observation).view(tasks, episodes, -1)
        action = actors.act(seen, t)
        if not torch.isfinite(action).all():
            raise UserError(
                f"the policy gave an action that is not finite in time step {t}; "
                "lower the learning rates or the trust region"
            )
        nothing_ended = env.everyone_active
        result = env.step_episodes(boundary(action.view(env.num_envs, -1)))
        observation = result.observation
        actors.after_step(action, result.reward, active & ~result.failed)
        if nothing_ended and env.everyone_active:
            recorder.record_all(t, seen, action, result.reward)
            continue
        recorder.record(t, seen, action, result.reward, active & ~result.failed)
        recorder.end(result.terminated & ~result.failed, result.failed)
        active = env.active
        if not active.any():
            break
        actors.keep(active.view(tasks, episodes).any(dim=1))
    return recorder.trajectories()


class _Actors:
    """The policies of the tasks; those whose episodes have all ended are left out by and by."""

    def __init__(
        self,
        policy: Policy,
        parameters: Mapping[str, Tensor],
        noise: Tensor,
        memory: Tensor | None,
    ):
        self.policy, self.parameters, self.noise = policy, parameters, noise
        self._memory_actor: MemoryActor | None = None
        if isinstance(policy, MemoryPolicy):
            if memory is None:
                memory = torch.zeros(*noise.shape[:2], policy.memory_size)
            self._memory_actor = policy.memory_actor(parameters, memory)
        self._act = self._memory_actor or policy.actor(parameters)
        self._tasks: Tensor | None = None  # None: all

    def act(self, seen: Tensor, t: int) -> Tensor:
        """Actions `[K, N, A]` at observations `[K, N, O]`, zero in tasks that are left out."""
        if self._tasks is None:
            return self._act(seen, self.noise[:, :, t])
        actions = self._act(seen[self._tasks], self.noise[self._tasks, :, t])
        return actions.new_zeros(self.noise[:, :, t].shape).index_copy_(0, self._tasks, actions)

    def after_step(self, actions: Tensor, rewards: Tensor, active: Tensor) -> None:
        """Let those with a memory remember a time step of the `active` environments."""
        if self._memory_actor:
            lead = actions.shape[:2]
            self._memory_actor.after_step(actions, rewards.view(lead), active.view(lead))

    def keep(self, wanted: Tensor) -> None:
        """Leave out tasks that are not `wanted`, bool `[K]`, once they are half of those here."""
        if self._memory_actor:
            return
        here = len(wanted) if self._tasks is None else len(self._tasks)
        if 2 * int(wanted.sum()) > here:
            return
        self._tasks = wanted.nonzero()[:, 0]
        self._act = self.policy.actor({n: v[self._tasks] for n, v in self.parameters.items()})


class _Recorder:
    """Writes time steps of K * N environments into `[K, N, T, ...]`."""

    def __init__(self, env: TaskVectorEnv, policy: Policy, dtype: torch.dtype, size: int):
        lead = (env.task_count, env.episodes)
        steps = env.family.horizon
        self.lead = lead
        # By numpy, whose zeros take no memory before they are written to: where episodes end early,
        # that is most of it.
        self.observations = torch.from_numpy(np.zeros((*lead, steps, size), dtype=np.float32))
        discrete = not hasattr(env.single_action_space, "low")
        action_dtype = torch.int64 if discrete else dtype
        self.actions = torch.zeros(*lead, steps, policy.action_size, dtype=action_dtype)
        self.rewards = torch.zeros(*lead, steps)
        self.mask = torch.zeros(*lead, steps, dtype=torch.bool)
        self.terminated = torch.zeros(lead, dtype=torch.bool)
        self.failed = torch.zeros(lead, dtype=torch.bool)

    def record_all(self, t: int, observation: Tensor, action: Tensor, reward: Tensor) -> None:
        """A time step that took place in every episode."""
        self.mask[:, :, t] = True
        self.observations[:, :, t] = observation
        self.actions[:, :, t] = action
        self.rewards[:, :, t] = reward.view(self.lead)

    def record(
        self, t: int, observation: Tensor, action: Tensor, reward: Tensor, valid: Tensor
    ) -> None:
        """A time step that took place in some episodes only; the others' entries stay zero."""
        valid = valid.view(self.lead)
        self.mask[:, :, t] = valid
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

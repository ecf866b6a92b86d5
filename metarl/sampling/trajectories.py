"""`Trajectories`: what K policies did in N episodes of T time steps each."""

from dataclasses import dataclass

from torch import Tensor

from metarl.sampling.task_axis import TaskAxis


@dataclass(frozen=True)
class Trajectories(TaskAxis):
    """Episodes of K tasks, `[K, N, T, ...]`; entries where `mask` is False are zero.

    An episode starts at t = 0 and never continues after its end: no row holds two episodes.
    """

    observations: Tensor
    """`[K, N, T, O]` float32, what the policy saw before it acted."""
    actions: Tensor
    """`[K, N, T, A]`, the policy's own actions, before any scaling or clipping."""
    rewards: Tensor
    """`[K, N, T]` float32."""
    mask: Tensor
    """`[K, N, T]` bool, the time steps that took place."""
    terminated: Tensor
    """`[K, N]` bool, episodes that the task ended (not the horizon)."""
    failed: Tensor
    """`[K, N]` bool, episodes that ended because the physics diverged."""

    @property
    def episode_returns(self) -> Tensor:
        """Undiscounted returns `[K, N]`."""
        return (self.rewards * self.mask).sum(dim=-1)

    @property
    def returns(self) -> Tensor:
        """Mean undiscounted return of each task over its episodes `[K]`, float64."""
        return self.episode_returns.double().mean(dim=-1)

    @property
    def environment_steps(self) -> Tensor:
        """Time steps that took place in each task `[K]`, int64."""
        return self.mask.sum(dim=(1, 2))

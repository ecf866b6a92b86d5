"""`Trajectories`: what K policies did in N episodes of T time steps each."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class Trajectories:
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

    def to(self, device: torch.device | str) -> "Trajectories":
        """The same trajectories on another device."""
        return Trajectories(*(getattr(self, f.name).to(device) for f in fields(self)))

    def __getitem__(self, tasks: slice) -> "Trajectories":
        """The trajectories of some of the tasks."""
        return Trajectories(*(getattr(self, f.name)[tasks] for f in fields(self)))

    @classmethod
    def concatenate(cls, pieces: Sequence["Trajectories"]) -> "Trajectories":
        """The tasks of all pieces, in their order."""
        if len(pieces) == 1:
            return pieces[0]
        return cls(*(torch.cat([getattr(p, f.name) for p in pieces]) for f in fields(cls)))

"""The boundary between a policy's actions and an environment's."""

from typing import Literal

import gymnasium
import torch
from torch import Tensor

ActionScaling = Literal["unit", "ten", "none"]
"""Which interval of the policy's actions covers the environment's box: [-1, 1], [-10, 10], or the
box itself."""

_RANGES = {"unit": 1.0, "ten": 10.0}


class ActionBoundary:
    """Turns a policy's actions into the environment's: scaled to its box, then clipped to it.

    `unit` maps [-1, 1] to the box (rllab, PEARL, VariBAD), `ten` maps [-10, 10] (ProMP,
    pytorch-maml-rl, garage), `none` only clips. Discrete actions pass as indices.
    """

    def __init__(self, space: gymnasium.Space, scaling: ActionScaling):
        self.discrete = isinstance(space, gymnasium.spaces.Discrete)
        if isinstance(space, gymnasium.spaces.Box):
            self.low, self.high = torch.from_numpy(space.low), torch.from_numpy(space.high)
            span = _RANGES.get(scaling)
            # What lies at the middle and the edge of the policy's interval.
            self.middle = (self.high + self.low) / 2 if span else torch.zeros_like(self.low)
            self.half = (self.high - self.low) / (2 * span) if span else torch.ones_like(self.low)

    def __call__(self, actions: Tensor) -> Tensor:
        """Environment actions `[n, A]` (or `[n]` indices) of policy actions `[n, A]`."""
        if self.discrete:
            return actions.squeeze(-1)
        scaled = torch.addcmul(self.middle, actions, self.half)
        return scaled.clamp(self.low, self.high)

    def policy_range(self) -> tuple[Tensor, Tensor]:
        """Lowest and highest policy actions `[A]` that reach the edges of the environment's box."""
        return (self.low - self.middle) / self.half, (self.high - self.middle) / self.half

"""Normalised observations: what a policy sees where its inputs have very different scales."""

from collections.abc import Mapping

import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.sampling.trajectories import Trajectories

CONSTANT = 1e-6
"""Standard deviation below which an observation counts as constant: it is shifted, not scaled."""


class ObservationNormalizer:
    """(o - mean) / std of each observation, measured once and fixed from then on.

    Fixed, because a normaliser that moved with the data would change the policies between the
    rollout and the update, and with them likelihood ratios, KL and the inner gradient. Starts as
    the identity.

    Args:
        size: O, numbers in an observation.
    """

    def __init__(self, size: int):
        self.mean = torch.zeros(size)
        self.std = torch.ones(size)

    def __call__(self, observations: Tensor) -> Tensor:
        """Normalised observations `[..., O]`."""
        return (observations - self.mean) / self.std

    def measure(self, trajectories: Trajectories) -> None:
        """Take mean and standard deviation of the observations in all valid time steps.

        The trajectories must hold observations as the environment gives them. Raises UserError
        when no time step is valid.
        """
        seen = trajectories.observations[trajectories.mask].double()
        if not len(seen):
            raise UserError(
                "no observation to normalise by: every episode of the initial policy failed in its "
                "first step; check the family, or set policy.normalize_observations to false"
            )
        std = seen.std(dim=0, correction=0)
        self.mean = seen.mean(dim=0).float()
        self.std = torch.where(std > CONSTANT, std, 1.0).float()

    def state_dict(self) -> dict[str, Tensor]:
        """Mean and standard deviation, `[O]` each."""
        return {"mean": self.mean, "std": self.std}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Normalise as the one that `state_dict` came from."""
        self.mean, self.std = state["mean"], state["std"]

"""What records with a leading task axis share: choosing tasks, moving them, joining them."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class TaskAxis:
    """A dataclass in which every field is a tensor `[K, ...]` (or `[B, ...]`, of trials)."""

    def __getitem__(self, tasks: slice | Tensor) -> Self:
        """The same record of some of the tasks."""
        return type(self)(*(getattr(self, field.name)[tasks] for field in fields(self)))

    def to(self, device: torch.device | str) -> Self:
        """The same record on another device."""
        return type(self)(*(getattr(self, field.name).to(device) for field in fields(self)))

    @classmethod
    def concatenate(cls, pieces: Sequence[Self]) -> Self:
        """The tasks of all pieces, in their order."""
        if len(pieces) == 1:
            return pieces[0]
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(piece, name) for piece in pieces]) for name in names))

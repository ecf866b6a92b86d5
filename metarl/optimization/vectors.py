"""Parameters as one vector, and back."""

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor


def to_vector(tensors: Mapping[str, Tensor] | Iterable[Tensor]) -> Tensor:
    """All numbers of the tensors in their order, `[P]`."""
    values = tensors.values() if isinstance(tensors, Mapping) else tensors
    return torch.cat([value.reshape(-1) for value in values])


def from_vector(vector: Tensor, like: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `to_vector`: tensors with the names and shapes of `like`."""
    pieces = vector.split([value.numel() for value in like.values()])
    return {
        name: piece.view(value.shape)
        for (name, value), piece in zip(like.items(), pieces, strict=True)
    }

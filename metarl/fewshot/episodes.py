"""Episodes: support and query examples of B few-shot problems side by side."""

from dataclasses import dataclass

import torch
from torch import Tensor

from metarl.sampling.task_axis import TaskAxis


@dataclass(frozen=True)
class Episodes(TaskAxis):
    """A meta-batch of B episodes, n support and m query examples each.

    In N-way classification the examples are class-major: the first K of the support set are of
    class 0, the next K of class 1, and likewise the Q queries of each class (n = N K, m = N Q).
    """

    support_inputs: Tensor
    """`[B, n, ...]`: float images `[1, H, W]` in [0, 1], int64 token numbers `[L]`, or `[1]`."""
    support_targets: Tensor
    """`[B, n]` int64 classes 0 to N - 1, or `[B, n, 1]` float values of a curve."""
    query_inputs: Tensor
    """`[B, m, ...]`."""
    query_targets: Tensor
    """`[B, m]` int64, or `[B, m, 1]` float."""
    classes: Tensor
    """`[B, N]` int64: which of the split's classes they are, for learners that remember classes;
    `[B, 0]` in regression."""


def class_major_targets(episodes: int, ways: int, each: int, device: torch.device) -> Tensor:
    """Classes `[B, N * each]` of class-major examples: 0 0 ... 1 1 ..."""
    row = torch.arange(ways, device=device).repeat_interleave(each)
    return row.expand(episodes, -1)

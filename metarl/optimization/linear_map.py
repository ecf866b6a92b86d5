"""The Jacobian of a function as a linear map, evaluated once and applied many times."""

from collections.abc import Sequence

import torch
from torch import Tensor


class LinearMap:
    """J = d outputs / d inputs at the point where `outputs` were computed, never formed.

    Both products walk graphs that are built once and kept, so that ten of them cost ten backward
    passes and no forward pass. The forward product uses that u -> J^T u is linear: its own
    transpose, one more backward pass, is v -> J v.

    Args:
        outputs: tensors computed from `inputs` with a graph.
        inputs: the leaves; all require grad.
    """

    def __init__(self, outputs: Sequence[Tensor], inputs: Sequence[Tensor]):
        self._outputs, self._inputs = tuple(outputs), tuple(inputs)
        self._cotangents = tuple(torch.zeros_like(o, requires_grad=True) for o in self._outputs)
        self._pullback = torch.autograd.grad(
            self._outputs,
            self._inputs,
            self._cotangents,
            create_graph=True,
            materialize_grads=True,
        )

    def forward(self, tangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """J v: one tensor for each output, for tangents shaped as the inputs."""
        return torch.autograd.grad(
            self._pullback,
            self._cotangents,
            tuple(tangents),
            retain_graph=True,
            materialize_grads=True,
        )

    def transpose(self, cotangents: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """J^T u: one tensor for each input, for cotangents shaped as the outputs."""
        return torch.autograd.grad(
            self._outputs,
            self._inputs,
            tuple(cotangents),
            retain_graph=True,
            materialize_grads=True,
        )

"""A Kronecker-factored preconditioner for conjugate gradient on a policy's Fisher matrix."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from metarl.optimization.vectors import from_vector, to_vector

_DEAD = 1e-12
"""Damping below which a factor counts as zero."""


class KroneckerPreconditioner:
    """Approximate inverse of a network's Fisher matrix, layer by layer: V -> A^-1 V G^-1.

    A `[in + 1, in + 1]` is the second moment of a layer's inputs with a constant 1 for the bias, G
    `[out, out]` that of the whitened outputs' derivatives in the layer's outputs (K-FAC, Martens &
    Grosse 2015, eq. 1 and factored damping, section 6.3). Inputs of very different scale make
    plain conjugate gradient slow; this undoes their scales. A preconditioner changes how fast
    conjugate gradient converges, not to what.

    Args:
        factors: A and G of each layer `weight0`, `weight1`, ...
        like: the parameters that vectors stand for; those of no layer are left as they are.
        damping: relative to the mean eigenvalues of the two factors, > 0.
    """

    def __init__(
        self,
        factors: Sequence[tuple[Tensor, Tensor]],
        like: Mapping[str, Tensor],
        damping: float = 1e-4,
    ):
        self._like = like
        self._inverses = [_inverse_pair(a.double(), g.double(), damping) for a, g in factors]

    def __call__(self, vector: Tensor) -> Tensor:
        """The preconditioned vector `[P]`."""
        values = from_vector(vector, self._like)
        for layer, (inverse_a, inverse_g) in enumerate(self._inverses):
            weight, bias = f"weight{layer}", f"bias{layer}"
            stacked = torch.cat([values[weight], values[bias].unsqueeze(0)]).double()
            scaled = (inverse_a @ stacked @ inverse_g).to(vector.dtype)
            values[weight], values[bias] = scaled[:-1], scaled[-1]
        return to_vector(values)


def _inverse_pair(a: Tensor, g: Tensor, damping: float) -> tuple[Tensor, Tensor]:
    # The two dampings are shared out so that neither factor is damped more than the other.
    mean_a = a.trace() / len(a)
    mean_g = g.trace() / len(g)
    root = damping**0.5
    return _inverse(a, root * mean_a), _inverse(g, root * mean_g)


def _inverse(matrix: Tensor, damping: Tensor) -> Tensor:
    identity = torch.eye(len(matrix), dtype=matrix.dtype, device=matrix.device)
    # Where a layer is dead, no output depends on it: leave its part of the vector as it is.
    return torch.linalg.inv(matrix + torch.where(damping > _DEAD, damping, 1.0) * identity)

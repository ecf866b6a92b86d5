"""Conjugate gradient for symmetric positive definite systems given by a product."""

from collections.abc import Callable

import torch
from torch import Tensor


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    target: Tensor,
    iterations: int = 10,
    tolerance: float = 1e-10,
) -> tuple[Tensor, Tensor]:
    """Approximate solution x of A x = b after at most `iterations` products (Hestenes & Stiefel).

    Returns x and A x, which the residual gives without a further product.

    Args:
        product: v -> A v.
        target: b `[P]`.
        tolerance: stop when |b - A x|^2 falls below it times |b|^2.
    """
    solution = torch.zeros_like(target)
    residual = direction = target
    squared_norm = residual.dot(residual)
    enough = tolerance * squared_norm
    for _ in range(iterations):
        if squared_norm <= enough:
            break
        image = product(direction)
        step = squared_norm / direction.dot(image)
        solution = solution + step * direction
        residual = residual - step * image
        next_squared_norm = residual.dot(residual)
        direction = residual + (next_squared_norm / squared_norm) * direction
        squared_norm = next_squared_norm
    return solution, target - residual

"""Classifiers of one episode's features, for B episodes side by side: pure functions."""

import torch
import torch.nn.functional as F
from torch import Tensor


def one_hot(targets: Tensor, ways: int) -> Tensor:
    """`[B, n]` classes as `[B, n, N]` zeros and ones."""
    return F.one_hot(targets, ways).float()


def class_sums(values: Tensor, targets: Tensor, ways: int) -> Tensor:
    """Sums `[B, N, F]` of the values `[B, n, F]` of each class."""
    return one_hot(targets, ways).transpose(1, 2) @ values


def class_means(values: Tensor, targets: Tensor, ways: int) -> Tensor:
    """Means `[B, N, F]` of the values `[B, n, F]` of each class, in whatever order they are."""
    counts = one_hot(targets, ways).sum(dim=1)
    return class_sums(values, targets, ways) / counts.unsqueeze(-1)


def squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """||q - p||^2 `[B, m, p]` of `[B, m, F]` and `[B, p, F]`."""
    # Multiplied out: no [m, p, F] of differences, which thousands of features would make large.
    products = queries @ points.transpose(1, 2)
    lengths = queries.square().sum(-1).unsqueeze(2) + points.square().sum(-1).unsqueeze(1)
    return (lengths - 2.0 * products).clamp(min=0.0)


def cosines(queries: Tensor, points: Tensor) -> Tensor:
    """Cosines of the angles, `[B, m, p]`, of `[B, m, F]` and `[B, p, F]`."""
    return F.normalize(queries, dim=-1) @ F.normalize(points, dim=-1).transpose(1, 2)


def nearest_centroid(support: Tensor, targets: Tensor, queries: Tensor, ways: int) -> Tensor:
    """Log-probabilities `[B, m, N]`: softmax of minus the squared distance to the class means."""
    distances = squared_distances(queries, class_means(support, targets, ways))
    return (-distances).log_softmax(dim=-1)


def logistic_regression(
    support: Tensor,
    targets: Tensor,
    queries: Tensor,
    ways: int,
    strength: float = 1.0,
    iterations: int = 200,
) -> Tensor:
    """Log-probabilities `[B, m, N]` of a linear classifier fitted to each support set.

    It minimises sum_i -log p(y_i | x_i) + ||W||^2 / (2 strength) over W, with free biases: what
    scikit-learn's LogisticRegression(C=strength) does. The minimum lies at W = X' A (the
    representer theorem), so only A `[n, N]` and the biases are moved, by Nesterov's accelerated
    gradient (Nesterov 1983) with restarts (O'Donoghue & Candes 2015) and the step 1 / L, where L
    bounds the curvature (Boehning 1992): no episode's result depends on the others.

    Args:
        support: `[B, n, F]`.
        targets: `[B, n]`.
        queries: `[B, m, F]`.
        ways: N.
        strength: C, the inverse of the regularisation.
        iterations: gradient steps.
    """
    gram = support @ support.transpose(1, 2)
    wanted = one_hot(targets, ways)
    largest = torch.linalg.eigvalsh(gram + 1.0)[:, -1]  # of features with a constant 1
    step = (1.0 / (0.5 * largest + 1.0 / strength)).view(-1, 1, 1)
    weights = ahead = torch.zeros_like(wanted)
    biases = biases_ahead = torch.zeros_like(wanted[:, :1])
    age = torch.zeros_like(step)
    for _ in range(iterations):
        excess = (gram @ ahead + biases_ahead).softmax(dim=-1) - wanted
        new_weights = ahead - step * (excess + ahead / strength)
        new_biases = biases_ahead - step * excess.sum(dim=1, keepdim=True)
        moved, moved_biases = new_weights - weights, new_biases - biases
        # Momentum that points uphill is dropped; the inner product is that of W, X'A . X'A.
        uphill = ((ahead - new_weights) * (gram @ moved)).sum(dim=(1, 2))
        uphill += ((biases_ahead - new_biases) * moved_biases).sum(dim=(1, 2))
        age = torch.where(uphill.view(-1, 1, 1) > 0, 0.0, age + 1.0)
        momentum = age / (age + 3.0)
        ahead, biases_ahead = new_weights + momentum * moved, new_biases + momentum * moved_biases
        weights, biases = new_weights, new_biases
    logits = queries @ (support.transpose(1, 2) @ weights) + biases
    return logits.log_softmax(dim=-1)

"""Conjugate gradient against direct solutions."""

import pytest
import torch
from torch import Tensor

from metarl.optimization import conjugate_gradient


def positive_definite(size: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    root = torch.randn(size, size, generator=generator, dtype=torch.float64)
    return root @ root.T + torch.eye(size, dtype=torch.float64)


def test_two_iterations_by_hand():
    # A = diag(1, 2), b = (1, 1): step 2/3 to (2/3, 2/3), residual (1/3, -1/3); then (1, 1/2)
    diagonal = torch.tensor([1.0, 2.0], dtype=torch.float64)
    target = torch.ones(2, dtype=torch.float64)
    first, _ = conjugate_gradient(lambda v: diagonal * v, target, iterations=1)
    second, _ = conjugate_gradient(lambda v: diagonal * v, target, iterations=2)
    torch.testing.assert_close(first, torch.tensor([2 / 3, 2 / 3], dtype=torch.float64))
    torch.testing.assert_close(second, torch.tensor([1.0, 0.5], dtype=torch.float64))


def test_as_many_iterations_as_dimensions_solve_the_system():
    matrix = positive_definite(6)
    target = torch.arange(6, dtype=torch.float64)
    solution, _ = conjugate_gradient(lambda v: matrix @ v, target, iterations=6, tolerance=0.0)
    torch.testing.assert_close(solution, torch.linalg.solve(matrix, target))


@pytest.mark.parametrize("iterations", [1, 3, 6])
def test_second_result_is_the_product_of_the_first(iterations):
    matrix = positive_definite(6)
    target = torch.arange(6, dtype=torch.float64)
    solution, image = conjugate_gradient(lambda v: matrix @ v, target, iterations)
    torch.testing.assert_close(image, matrix @ solution)


def test_iterations_stop_once_the_residual_is_small_enough():
    calls = 0

    def scale(vector: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return 4.0 * vector

    solution, _ = conjugate_gradient(scale, torch.tensor([2.0, 8.0]), iterations=10)
    assert solution.tolist() == [0.5, 2.0]
    assert calls == 1


def test_target_zero_has_solution_zero_without_a_product():
    def never(_: Tensor) -> Tensor:
        raise AssertionError("no product is needed")

    solution, image = conjugate_gradient(never, torch.zeros(3))
    assert solution.tolist() == image.tolist() == [0.0, 0.0, 0.0]


def test_target_is_not_changed():
    target = torch.tensor([1.0, 2.0])
    conjugate_gradient(lambda v: torch.tensor([1.0, 3.0]) * v, target)
    assert target.tolist() == [1.0, 2.0]

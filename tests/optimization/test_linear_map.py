"""J v and J^T u against the Jacobian that autograd forms explicitly."""

import torch
from torch import Tensor

from metarl.optimization import LinearMap


def function(a: Tensor, b: Tensor, unused: Tensor) -> tuple[Tensor, Tensor]:
    """Two outputs, `[3]` and `[2, 2]`, of inputs `[3]` and `[2]`; the second output is linear."""
    return torch.tanh(a * b.sum()) + a.flip(0).square(), torch.outer(b, a[:2]) + 0 * b[0]


def inputs() -> tuple[Tensor, ...]:
    values = ([0.3, -0.5, 0.8], [0.7, -0.2], [1.0])
    return tuple(torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values)


def explicit_jacobian(leaves: tuple[Tensor, ...]) -> Tensor:
    """`[7, 6]`: outputs in rows, inputs in columns."""

    def flat(vector: Tensor) -> Tensor:
        return torch.cat([o.reshape(-1) for o in function(*vector.split([3, 2, 1]))])

    jacobian = torch.autograd.functional.jacobian(flat, torch.cat(leaves).detach())
    assert isinstance(jacobian, Tensor)
    return jacobian


def random(seed: int, *shapes: tuple[int, ...]) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    return tuple(torch.randn(s, generator=generator, dtype=torch.float64) for s in shapes)


def flatten(tensors: tuple[Tensor, ...]) -> Tensor:
    return torch.cat([t.reshape(-1) for t in tensors])


def test_products_are_those_of_the_explicit_jacobian_however_often_they_are_taken():
    leaves = inputs()
    linear = LinearMap(function(*leaves), leaves)
    jacobian = explicit_jacobian(leaves)
    for seed in range(3):
        tangents = random(seed, (3,), (2,), (1,))
        image = linear.forward(tangents)
        assert [i.shape for i in image] == [(3,), (2, 2)]
        torch.testing.assert_close(flatten(image), jacobian @ flatten(tangents))
        cotangents = random(seed + 10, (3,), (2, 2))
        pulled = linear.transpose(cotangents)
        assert [p.shape for p in pulled] == [(3,), (2,), (1,)]
        torch.testing.assert_close(flatten(pulled), jacobian.T @ flatten(cotangents))


def test_jacobian_through_an_inner_gradient_step():
    # x' = x - 0.1 d/dx sum(x^4)/4 = x - 0.1 x^3; dx'/dx = 1 - 0.3 x^2
    (x,) = (torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True),)
    (gradient,) = torch.autograd.grad((x**4).sum() / 4, x, create_graph=True)
    linear = LinearMap([x - 0.1 * gradient], [x])
    ones = torch.ones(2, dtype=torch.float64)
    expected = torch.tensor([0.7, -0.2], dtype=torch.float64)
    torch.testing.assert_close(linear.forward([ones])[0], expected)
    torch.testing.assert_close(linear.transpose([ones])[0], expected)


def test_function_that_is_linear_in_its_inputs():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    linear = LinearMap([3.0 * x], [x])
    assert linear.forward([torch.tensor([1.0, -1.0])])[0].tolist() == [3.0, -3.0]

"""The Kronecker-factored preconditioner against explicit Fisher matrices."""

import numpy as np
import torch

from metarl.optimization import KroneckerPreconditioner, conjugate_gradient, to_vector
from metarl.policies import MLP, CategoricalPolicy, GaussianPolicy, stack
from metarl.policies.distributions import Categorical, Gaussian


def test_inverse_is_exact_for_one_linear_layer():
    # One layer, y = x W + b with unit whitened outputs: the Fisher matrix is A kron I exactly.
    network = MLP((2, 2))
    parameters = {"weight0": torch.zeros(2, 2).double(), "bias0": torch.zeros(2).double()}
    inputs = torch.tensor([[[1.0, 0.0], [0.0, 10.0], [-1.0, 1.0], [2.0, 2.0]]], dtype=torch.float64)
    weights = torch.full((1, 4), 1.0 / 4.0, dtype=torch.float64)
    roots = [
        torch.tensor([1.0, 0.0]).double().expand(1, 4, 2),
        torch.tensor([0.0, 1.0]).double().expand(1, 4, 2),
    ]
    factors = network.kronecker_factors(stack(parameters, 1), inputs, roots, weights)
    a, g = factors[0]
    with_bias = torch.cat([inputs[0], torch.ones(4, 1).double()], dim=1)
    torch.testing.assert_close(a, with_bias.T @ with_bias / 4.0)
    torch.testing.assert_close(g, torch.eye(2, dtype=torch.float64))

    preconditioner = KroneckerPreconditioner(factors, parameters, damping=1e-18)
    fisher = torch.kron(a, g)  # rows of [W; b] follow each other in the parameter vector
    vector = torch.arange(1.0, 7.0, dtype=torch.float64)
    expected = torch.linalg.solve(fisher, vector)
    torch.testing.assert_close(preconditioner(vector), expected, rtol=1e-6, atol=0.0)


def test_factors_are_the_second_moments_of_autograd_derivatives():
    for activation in ("tanh", "relu"):
        network = MLP((3, 4, 2), activation)
        generator = np.random.default_rng(0)
        parameters = {n: v.double() for n, v in network.initial_parameters(generator).items()}
        inputs = torch.from_numpy(generator.normal(size=(1, 5, 3)))
        weights = torch.from_numpy(generator.uniform(size=(1, 5)))
        root = torch.from_numpy(generator.normal(size=(1, 5, 2)))
        factors = network.kronecker_factors(stack(parameters, 1), inputs, [root], weights)

        expected = torch.zeros(4, 4, dtype=torch.float64)
        for sample in range(5):
            bias = parameters["bias0"].clone().requires_grad_()
            output = network({**parameters, "bias0": bias}, inputs[0, sample])
            (derivative,) = torch.autograd.grad(output @ root[0, sample], bias)
            expected += weights[0, sample] * torch.outer(derivative, derivative)
        torch.testing.assert_close(factors[0][1], expected)


def test_roots_multiply_to_the_fisher_matrix():
    logits = torch.tensor([[[0.3, -1.0, 2.0]]], dtype=torch.float64)
    p = logits.softmax(dim=-1)[0, 0]
    roots = torch.stack([root[0, 0] for root in Categorical(logits).fisher_roots()])
    torch.testing.assert_close(roots.T @ roots, torch.diag(p) - torch.outer(p, p))

    log_std = torch.tensor([[[0.5, -0.5]]], dtype=torch.float64)
    gaussian = Gaussian(torch.zeros(1, 1, 2, dtype=torch.float64), log_std)
    roots = torch.stack([root[0, 0] for root in gaussian.fisher_roots()])
    torch.testing.assert_close(roots.T @ roots, torch.diag(torch.exp(-2.0 * log_std[0, 0])))


def test_preconditioned_conjugate_gradient_finds_the_same_solution_sooner():
    scales = torch.tensor([1.0, 1e2, 1e4, 1e6], dtype=torch.float64)
    mixing = torch.from_numpy(np.random.default_rng(1).normal(size=(4, 4))) * 0.1
    matrix = torch.diag(scales) + mixing @ mixing.T
    target = torch.ones(4, dtype=torch.float64)
    exact = torch.linalg.solve(matrix, target)

    def error(preconditioner, iterations):
        found, image = conjugate_gradient(
            lambda v: matrix @ v, target, iterations, preconditioner=preconditioner
        )
        torch.testing.assert_close(image, matrix @ found)
        return float((found - exact).norm() / exact.norm())

    assert error(lambda v: v / scales, 2) < 1e-3 < error(None, 2)
    assert error(lambda v: v / scales, 4) < 1e-8


def test_dead_layers_do_not_make_the_preconditioner_infinite():
    network = MLP((2, 3, 1), "relu")
    parameters = {
        "weight0": torch.zeros(2, 3),
        "bias0": -torch.ones(3),
        "weight1": torch.ones(3, 1),
        "bias1": torch.zeros(1),
    }
    policy = GaussianPolicy(network)
    full = {**parameters, "log_std": torch.zeros(1)}
    inputs = torch.zeros(1, 4, 2)
    roots = policy.distribution(stack(full, 1), inputs).fisher_roots()
    factors = network.kronecker_factors(stack(full, 1), inputs, roots, torch.ones(1, 4) / 4)
    assert torch.isfinite(KroneckerPreconditioner(factors, full)(to_vector(full))).all()


def test_categorical_policies_have_factors_too():
    policy = CategoricalPolicy(MLP((2, 3, 4)))
    parameters = policy.initial_parameters(np.random.default_rng(0))
    inputs = torch.ones(2, 5, 2)
    roots = policy.distribution(stack(parameters, 2), inputs).fisher_roots()
    weights = torch.full((2, 5), 0.1)
    factors = policy.network.kronecker_factors(stack(parameters, 2), inputs, roots, weights)
    assert [tuple(m.shape) for pair in factors for m in pair] == [(3, 3), (3, 3), (4, 4), (4, 4)]

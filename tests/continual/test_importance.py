"""Importances of parameters: by hand, and against one gradient for each sample and action."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.continual.importance import (
    fisher,
    output_sensitivity,
    value_fisher,
    value_sensitivity,
)
from metarl.policies import (
    MLP,
    CategoricalPolicy,
    ConditionedPolicy,
    ContextPolicy,
    Gaussian,
    GaussianPolicy,
    MemoryPolicy,
    MultiHeadPolicy,
    Parameters,
    Policy,
)
from metarl.policies.latent import LatentPolicy
from metarl.policies.value import ValueFunction

LEARNERS, SAMPLES, HEADS, OBSERVATION = 2, 5, 3, 3
WEIGHTS = torch.tensor([[1.0, 0.5, 0.0, 2.0, 1.0], [1.0, 1.0, 1.0, 0.0, 1.0]], dtype=torch.float64)


# By hand ----------------------------------------------------------------------------------------


def doubles(*values: float) -> Tensor:
    """One learner."""
    return torch.tensor([values], dtype=torch.float64)


def flat(importances: Parameters) -> dict[str, list[float]]:
    return {name: value.flatten().tolist() for name, value in importances.items()}


def linear() -> Parameters:
    """mu = 3 x - 4, sigma = 1/2: means -1 and 2 at x = 1 and 2."""
    return {
        "weight0": doubles(3.0).view(1, 1, 1),
        "bias0": doubles(-4.0),
        "log_std": doubles(math.log(0.5)),
    }


def test_linear_gaussian_by_hand() -> None:
    policy, inputs = GaussianPolicy(MLP((1, 1))), doubles(1.0, 2.0).unsqueeze(-1)
    # d mu / d w = x, d mu / d b = 1, over a variance of 1/4
    found = flat(fisher(policy, linear(), inputs, doubles(1.0, 1.0)))
    expected = {"weight0": [(1 + 4) / 2 / 0.25], "bias0": [1 / 0.25], "log_std": [2.0]}
    assert found == {name: pytest.approx(value) for name, value in expected.items()}
    # |d mu^2 / d w| = |2 mu x|: 2 and 8; in b 2 and 4; d sigma^2 / d log sigma = 2 sigma^2
    found = flat(output_sensitivity(policy, linear(), inputs, doubles(1.0, 1.0)))
    expected = {"weight0": [5.0], "bias0": [3.0], "log_std": [0.5]}
    assert found == {name: pytest.approx(value) for name, value in expected.items()}


def test_two_equally_likely_choices_by_hand() -> None:
    # d log p_c / d logits = +-1/2: 1/4 for each bias, x^2 / 4 for each weight.
    parameters = {"weight0": torch.zeros(1, 1, 2).double(), "bias0": torch.zeros(1, 2).double()}
    policy, inputs = CategoricalPolicy(MLP((1, 2))), doubles(2.0).unsqueeze(-1)
    found = flat(fisher(policy, parameters, inputs, doubles(1.0)))
    assert found["weight0"] == pytest.approx([1.0, 1.0])
    assert found["bias0"] == pytest.approx([0.25, 0.25])
    # Squared probabilities are at their least: nothing matters to their sum.
    found = flat(output_sensitivity(policy, parameters, inputs, doubles(1.0)))
    assert found["weight0"] + found["bias0"] == pytest.approx([0.0] * 4, abs=1e-12)
    # p = (3/4, 1/4): |d (9 + 1)/16 / d logit| = 2 * 3/4 * (3/4 - 5/8) = 3/16, for both.
    parameters["bias0"][0, 0] = math.log(3.0)
    found = output_sensitivity(policy, parameters, inputs, doubles(1.0))["bias0"]
    assert found.flatten().tolist() == pytest.approx([3 / 16, 3 / 16])


def test_linear_values_by_hand() -> None:
    # V = 3 o - 2 t - 4: -1 at (1, 0), 0 at (2, 1), and a sample that did not take place.
    parameters = {
        "value.weight0": doubles(3.0, -2.0).unsqueeze(-1),
        "value.bias0": doubles(-4.0),
        "weight0": doubles(7.0).view(1, 1, 1),
    }
    value = ValueFunction(1, ())
    inputs = torch.tensor([[[1.0, 0.0], [2.0, 1.0], [9.0, 9.0]]], dtype=torch.float64)
    weights = doubles(1.0, 1.0, 0.0)
    found = flat(value_fisher(value, parameters, inputs, weights))
    assert found == {"value.weight0": [2.5, 0.5], "value.bias0": [1.0]}
    # |2 V| is 2, then 0
    found = flat(value_sensitivity(value, parameters, inputs, weights))
    assert found == {"value.weight0": [1.0, 0.0], "value.bias0": [1.0]}


# Against one gradient for each sample -----------------------------------------------------------

POLICIES: dict[str, Policy] = {
    "gaussian": GaussianPolicy(MLP((OBSERVATION, 4, 3, 2))),
    "linear": GaussianPolicy(MLP((OBSERVATION, 2))),
    "relu": GaussianPolicy(MLP((OBSERVATION, 4, 3, 2), "relu")),
    "clamped": GaussianPolicy(MLP((OBSERVATION, 4, 2)), min_std=1.0),
    "categorical": CategoricalPolicy(MLP((OBSERVATION, 4, 3, 3))),
    "conditioned": ConditionedPolicy(GaussianPolicy(MLP((OBSERVATION, 4, 2))), HEADS),
    "conditioned categorical": ConditionedPolicy(CategoricalPolicy(MLP((OBSERVATION, 4, 3))), 3),
    "heads": MultiHeadPolicy(GaussianPolicy(MLP((OBSERVATION, 4, 3, 2))), HEADS),
    "clamped heads": MultiHeadPolicy(GaussianPolicy(MLP((OBSERVATION, 2)), min_std=1.0), HEADS),
    "categorical heads": MultiHeadPolicy(CategoricalPolicy(MLP((OBSERVATION, 4, 3))), HEADS),
}
policies = pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES.keys())


def stacked(policy: Policy | ValueFunction, seed: int = 0) -> Parameters:
    """Random parameters of every learner, all of them different."""
    generator = np.random.default_rng(seed)
    shapes = {n: v.shape for n, v in policy.initial_parameters(generator).items()}
    return {
        name: torch.from_numpy(generator.normal(0.0, 0.7, (LEARNERS, *shape)))
        for name, shape in shapes.items()
    }


def some_inputs(policy: Policy) -> Tensor:
    """Observations, and a task for each sample where the policy is told one."""
    generator = np.random.default_rng(1)
    inputs = torch.from_numpy(generator.standard_normal((LEARNERS, SAMPLES, OBSERVATION)))
    if isinstance(policy, MemoryPolicy):
        tasks = torch.from_numpy(generator.integers(0, HEADS, (LEARNERS, SAMPLES)))
        inputs = torch.cat([inputs, torch.eye(HEADS, dtype=torch.float64)[tasks]], dim=-1)
    return inputs


def gradients(value: Tensor, parameters: Parameters) -> Parameters:
    leaves = list(parameters.values())
    found = torch.autograd.grad(value, leaves, retain_graph=True, materialize_grads=True)
    return dict(zip(parameters, found, strict=True))


def actions_of(distribution: Any) -> list[tuple[float, Tensor]]:
    """Actions with probabilities under which the Fisher information is exact.

    All choices; for a Gaussian the points of Gauss-Hermite quadrature, three in each dimension:
    exact up to the fifth power of the noise, where squared scores have the fourth.
    """
    if not isinstance(distribution, Gaussian):
        chances = distribution.logits.detach().softmax(dim=-1)[0]
        return [(float(p), torch.tensor([[choice]])) for choice, p in enumerate(chances)]
    points = [(-math.sqrt(3.0), 1 / 6), (0.0, 2 / 3), (math.sqrt(3.0), 1 / 6)]
    found = []
    for grid in itertools.product(points, repeat=distribution.mean.shape[-1]):
        noise = torch.tensor([[point for point, _ in grid]], dtype=torch.float64)
        chance = math.prod(share for _, share in grid)
        action = distribution.mean + distribution.log_std.exp() * noise
        found.append((chance, action.detach()))
    return found


def fisher_of_sample(policy: Policy, parameters: Parameters, one: Tensor) -> Parameters:
    distribution = policy.distribution(parameters, one)
    total = {name: torch.zeros_like(value) for name, value in parameters.items()}
    for chance, action in actions_of(distribution):
        for name, slope in gradients(distribution.log_prob(action).sum(), parameters).items():
            total[name] += chance * slope.square()
    return total


def sensitivity_of_sample(policy: Policy, parameters: Parameters, one: Tensor) -> Parameters:
    distribution = policy.distribution(parameters, one)
    if isinstance(distribution, Gaussian):
        norm = distribution.mean.square().sum() + distribution.log_std.exp().square().sum()
    else:
        norm = distribution.logits.softmax(dim=-1).square().sum()
    return {name: slope.abs() for name, slope in gradients(norm, parameters).items()}


def reference(of_sample: Any, parameters: Parameters, inputs: Tensor) -> Parameters:
    """Weighted means of `of_sample`, one sample at a time."""
    rows = []
    for row in range(LEARNERS):
        own = {n: v[row].clone().requires_grad_() for n, v in parameters.items()}
        total = {name: torch.zeros_like(value) for name, value in own.items()}
        for sample in range(SAMPLES):
            share = WEIGHTS[row, sample] / WEIGHTS[row].sum()
            if share > 0:
                for name, value in of_sample(own, inputs[row, sample : sample + 1]).items():
                    total[name] = total[name] + share * value.detach()
        rows.append(total)
    return {name: torch.stack([row[name] for row in rows]) for name in parameters}


def assert_close(found: Parameters, expected: Parameters) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-12, rtol=1e-10, msg=name)


@policies
@pytest.mark.parametrize(
    ("importance", "of_sample"),
    [(fisher, fisher_of_sample), (output_sensitivity, sensitivity_of_sample)],
    ids=["fisher", "sensitivity"],
)
def test_importances_are_means_over_samples(
    policy: Policy, importance: Any, of_sample: Any
) -> None:
    parameters, inputs = stacked(policy), some_inputs(policy)
    expected = reference(lambda p, one: of_sample(policy, p, one), parameters, inputs)
    assert all((value > 1e-3).any() for value in expected.values())
    inputs[WEIGHTS == 0] = math.nan  # what did not take place is not looked at
    others = {"value.weight0": torch.ones(LEARNERS, 2)}
    assert_close(importance(policy, parameters | others, inputs, WEIGHTS), expected)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize(
    ("importance", "of_gradient"),
    [
        (value_fisher, lambda value, slope: slope.square()),
        (value_sensitivity, lambda value, slope: (2.0 * value * slope).abs()),
    ],
    ids=["fisher", "sensitivity"],
)
def test_importances_of_values_are_means_over_samples(
    importance: Any, of_gradient: Any, activation: str
) -> None:
    value = ValueFunction(OBSERVATION - 1, (4, 3), activation)
    parameters = stacked(value)
    inputs = some_inputs(POLICIES["gaussian"])

    def of_sample(own: Parameters, one: Tensor) -> Parameters:
        result = value(own, one).sum()
        return {n: of_gradient(result, slope) for n, slope in gradients(result, own).items()}

    expected = reference(of_sample, parameters, inputs)
    inputs[WEIGHTS == 0] = math.nan
    assert_close(importance(value, parameters, inputs, WEIGHTS), expected)


# What else they promise -------------------------------------------------------------------------

BOTH = pytest.mark.parametrize("importance", [fisher, output_sensitivity])


def test_a_standard_deviation_that_is_clamped_matters_to_nothing() -> None:
    policy = GaussianPolicy(MLP((OBSERVATION, 2)), min_std=0.5)
    parameters, inputs = stacked(policy), some_inputs(policy)
    below, at, above = (math.log(std) for std in (0.3, 0.5, 0.8))
    parameters["log_std"] = torch.tensor([[below, above], [above, below]], dtype=torch.float64)
    found = fisher(policy, parameters, inputs, WEIGHTS)
    expected = torch.tensor([[0.0, 2.0], [2.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(found["log_std"], expected)
    # The mean's information is that under the standard deviation in use, 1/2, not 0.3.
    parameters["log_std"] = torch.tensor([[at, above], [above, at]], dtype=torch.float64)
    at_least = fisher(policy, parameters, inputs, WEIGHTS)
    torch.testing.assert_close(found["weight0"], at_least["weight0"])


@BOTH
def test_a_head_matters_as_often_as_it_is_told(importance: Any) -> None:
    # Head 0 is told in two of four samples that took place, head 2 in the others.
    policy = POLICIES["heads"]
    parameters, inputs = stacked(policy), some_inputs(policy)
    told = torch.eye(HEADS, dtype=torch.float64)[[0, 2, 1, 0, 2]]
    inputs[..., OBSERVATION:] = told
    weights = torch.tensor([[1.0, 1.0, 0.0, 1.0, 1.0]] * LEARNERS, dtype=torch.float64)
    found = importance(policy, parameters, inputs, weights)
    heads = found["weight2"].unflatten(-1, (HEADS, 2))
    assert (heads[..., [0, 2], :] > 0).all()
    assert (heads[..., 1, :] == 0).all()
    single = GaussianPolicy(policy.network, min_std=1e-6)
    alone = importance(
        single,
        parameters | {"log_std": parameters["log_std"].flatten(1)},
        inputs[..., :OBSERVATION],
        weights,
    )["log_std"]
    shares = torch.tensor([0.5, 0.0, 0.5], dtype=torch.float64).view(1, HEADS, 1)
    torch.testing.assert_close(found["log_std"], alone.view(LEARNERS, HEADS, 2) * shares)


@BOTH
@policies
def test_stacked_learners_are_bit_for_bit_as_separate_ones(policy: Policy, importance: Any) -> None:
    parameters = {name: value.float() for name, value in stacked(policy).items()}
    inputs, weights = some_inputs(policy).float(), WEIGHTS.float()
    together = importance(policy, parameters, inputs, weights)
    for row in range(LEARNERS):
        own = slice(row, row + 1)
        some = {name: value[own] for name, value in parameters.items()}
        alone = importance(policy, some, inputs[own], weights[own])
        for name, value in together.items():
            assert torch.equal(value[own], alone[name])
            assert value.dtype == torch.float32


@BOTH
def test_nothing_matters_to_a_learner_without_samples(importance: Any) -> None:
    policy = POLICIES["heads"]
    weights = WEIGHTS.clone()
    weights[1] = 0.0
    found = importance(policy, stacked(policy), some_inputs(policy), weights)
    for value in found.values():
        assert (value[1] == 0).all()
        assert (value[0] > 0).any()


@BOTH
def test_importances_have_no_graph(importance: Any) -> None:
    policy = POLICIES["gaussian"]
    parameters = {name: value.requires_grad_() for name, value in stacked(policy).items()}
    found = importance(policy, parameters, some_inputs(policy), WEIGHTS)
    assert not any(value.requires_grad for value in found.values())


@BOTH
@pytest.mark.parametrize(
    "policy",
    [
        ContextPolicy(GaussianPolicy(MLP((OBSERVATION, 2))), 2),
        LatentPolicy(OBSERVATION, 2, 1, (4,)),
        ConditionedPolicy(ContextPolicy(GaussianPolicy(MLP((OBSERVATION, 2))), 2), 1),
    ],
)
def test_other_policies_are_refused(policy: Policy, importance: Any) -> None:
    inputs = torch.zeros(1, 1, OBSERVATION + 1)
    with pytest.raises(TypeError, match=r"parameters of a (Context|Latent)Policy"):
        importance(policy, {}, inputs, torch.ones(1, 1))

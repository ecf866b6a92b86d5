"""The context policy against networks whose input is the observation and the context."""

from typing import Any

import numpy as np
import pytest
import torch

from metarl.policies import (
    MLP,
    CategoricalPolicy,
    ContextPolicy,
    GaussianPolicy,
    Parameters,
    Policy,
    stack,
)

OBSERVATION, CONTEXT, UNITS = 3, 2, 5
hidden = pytest.mark.parametrize("sizes", [(UNITS,), (UNITS, 4), ()], ids=str)


def make(sizes: tuple[int, ...], discrete: bool = False) -> tuple[ContextPolicy, Policy]:
    """A context policy, and the plain one that takes both inputs side by side."""
    policies = []
    for inputs in (OBSERVATION, OBSERVATION + CONTEXT):
        network = MLP((inputs, *sizes, 2))
        policies.append(CategoricalPolicy(network) if discrete else GaussianPolicy(network))
    return ContextPolicy(policies[0], CONTEXT), policies[1]


def draw(policy: ContextPolicy, tasks: int) -> Parameters:
    generator = np.random.default_rng(0)
    parameters = stack(policy.initial_parameters(generator), tasks)
    context = generator.standard_normal((tasks, CONTEXT)).astype(np.float32)
    return parameters | {"context": torch.from_numpy(context)}


def side_by_side(parameters: Parameters, observations: Any) -> tuple[Parameters, Any]:
    """Parameters and inputs of the wide network."""
    parameters = dict(parameters)
    context = parameters.pop("context").unsqueeze(-2)
    rows = [parameters["weight0"], parameters.pop("context_weight")]
    parameters["weight0"] = torch.cat(rows, dim=-2)
    context = context.expand(*observations.shape[:-1], CONTEXT)
    return parameters, torch.cat([observations, context], dim=-1)


@hidden
@pytest.mark.parametrize("discrete", [False, True])
def test_distribution_is_that_of_a_network_with_both_inputs(sizes, discrete):
    policy, wide = make(sizes, discrete)
    parameters = draw(policy, tasks=4)
    observations = torch.randn(4, 6, OBSERVATION, generator=torch.Generator().manual_seed(1))
    found = policy.distribution(parameters, observations)
    expected = wide.distribution(*side_by_side(parameters, observations))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    without = policy.distribution(parameters | {"context": torch.zeros(4, CONTEXT)}, observations)
    assert (found[0] - without[0]).abs().max() > 0.01


def test_shared_parameters_give_what_stacked_ones_give():
    policy, _ = make((UNITS,))
    stacked = draw(policy, tasks=3)
    observations = torch.randn(3, 6, OBSERVATION, generator=torch.Generator().manual_seed(1))
    means = policy.distribution(stacked, observations).mean
    for task in range(3):
        shared = {name: value[task] for name, value in stacked.items()}
        torch.testing.assert_close(
            policy.distribution(shared, observations[task]).mean, means[task]
        )


@pytest.mark.parametrize("discrete", [False, True])
def test_actions_are_those_of_a_network_with_both_inputs(discrete):
    policy, wide = make((UNITS,), discrete)
    parameters = draw(policy, tasks=4)
    observations = torch.randn(4, 6, OBSERVATION, generator=torch.Generator().manual_seed(1))
    noise = policy.draw_noise(np.random.default_rng(2), (4, 6, policy.action_size))
    found = policy.act(parameters, observations, noise)
    wide_parameters, inputs = side_by_side(parameters, observations)
    torch.testing.assert_close(found, wide.act(wide_parameters, inputs, noise))


def test_initial_context_is_zero_and_its_weights_lie_within_glorots_limit():
    policy, _ = make((UNITS,))
    parameters = policy.initial_parameters(np.random.default_rng(0))
    assert torch.equal(parameters["context"], torch.zeros(CONTEXT))
    weight = parameters["context_weight"]
    assert weight.shape == (CONTEXT, UNITS)
    # sqrt(6 / (3 + 2 + 5))
    assert 0.5 < float(weight.abs().max()) <= 0.6**0.5
    plain = policy.policy.initial_parameters(np.random.default_rng(0))
    assert all(torch.equal(parameters[name], value) for name, value in plain.items())

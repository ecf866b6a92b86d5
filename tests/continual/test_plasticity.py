"""Dormant units, stable rank and weight norm on features made by hand, and of whole policies."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.continual.plasticity import (
    dormant_units,
    hidden_features,
    plasticity,
    stable_rank,
    weight_norm,
)
from metarl.policies import MLP, ConditionedPolicy, GaussianPolicy, Parameters
from metarl.policies.multi_head import MultiHeadPolicy


def everywhere(*layers: Tensor) -> Tensor:
    return torch.ones(layers[0].shape[:2])


def test_a_unit_is_dormant_relative_to_its_layer():
    # mean activities 1, 1, 2 and .02: the layer's is 1.005, the last score .0199
    features = torch.tensor([[[1.0, 0.0, 3.0, 0.04], [-1.0, 2.0, -1.0, 0.0]]])
    assert dormant_units([features], everywhere(features)).tolist() == [0.25]
    assert dormant_units([1e-4 * features], everywhere(features)).tolist() == [0.25]
    assert dormant_units([features], everywhere(features), threshold=0.01).tolist() == [0.0]


def test_the_threshold_itself_is_dormant():
    # activities 1 and 3, mean 2, scores .5 and 1.5
    features = torch.tensor([[[1.0, 3.0]]])
    assert dormant_units([features], everywhere(features), threshold=0.5).tolist() == [0.5]


def test_layers_pool_their_units():
    first, second = torch.tensor([[[0.0, 1.0, 1.0, 1.0]]]), torch.tensor([[[0.0, 0.0]]])
    # one of four, and both of a layer that is dead as a whole
    assert dormant_units([first, second], everywhere(first)).tolist() == [3 / 6]


def test_saturated_tanh_units_are_not_dormant():
    features = torch.tensor([[[1.0, -1.0, 0.3], [1.0, -1.0, -0.3]]])
    assert dormant_units([features], everywhere(features)).tolist() == [0.0]


def test_samples_that_did_not_take_place_do_not_count():
    features = torch.tensor([[[1.0, 0.0], [5.0, 5.0]]])
    weights = torch.tensor([[1.0, 0.0]])
    assert dormant_units([features], weights).tolist() == [0.5]
    assert dormant_units([features], torch.ones(1, 2)).tolist() == [0.0]


def test_stable_rank_by_hand():
    same = torch.ones(4, 3)
    spread = torch.cat([torch.eye(3), torch.zeros(1, 3)])
    stretched = torch.tensor([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 0], [0, 0, 0]])
    found = stable_rank(torch.stack([same, spread, stretched, 0.0 * same]))
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, [1.0, 3.0, (4 + 1) / 4, 0.0])


def test_stable_rank_is_of_the_features_as_they_are():
    # Centred, these would have two directions; a common offset makes nearly one of them.
    features = 100.0 + torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]])
    assert 1.0 < float(stable_rank(features)) < 1.001


def test_stable_rank_is_that_of_the_singular_values():
    features = torch.randn(5, 40, 6, generator=torch.Generator().manual_seed(0))
    squares = torch.linalg.svdvals(features.double()).square()
    np.testing.assert_allclose(stable_rank(features), squares.sum(1) / squares[:, 0], rtol=1e-5)


def test_a_learner_that_diverged_stops_no_other():
    features = torch.stack([torch.eye(2), torch.full((2, 2), torch.nan)])
    np.testing.assert_allclose(stable_rank(features), [2.0, math.nan])
    np.testing.assert_allclose(dormant_units([features], torch.ones(2, 2)), [0.0, math.nan])


def test_weight_norm_is_of_the_policy_network_alone():
    parameters = {
        "weight0": torch.tensor([[[1.0]]]),
        "bias0": torch.tensor([[2.0]]),
        "weight1": torch.tensor([[[-2.0]]]),
        "bias1": torch.tensor([[4.0]]),
        "log_std": torch.tensor([[100.0]]),
        "value.weight0": torch.tensor([[[100.0]]]),
    }
    assert weight_norm(MLP((1, 1, 1)), parameters).tolist() == [5.0]


def stacked(policy, rows: int) -> Parameters:
    each = [policy.initial_parameters(np.random.default_rng(seed)) for seed in range(rows)]
    return {name: torch.stack([one[name] for one in each]) for name in each[0]}


def inputs_of(rows: int, size: int) -> Tensor:
    return torch.randn(rows, 9, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_hidden_features_are_what_the_output_layer_gets(activation):
    policy = GaussianPolicy(MLP((3, 5, 4, 2), activation))
    parameters, inputs = stacked(policy, 3), inputs_of(3, 3)
    first, last = hidden_features(policy.network, parameters, inputs)
    assert (first.shape, last.shape) == ((3, 9, 5), (3, 9, 4))
    outputs = torch.baddbmm(parameters["bias2"].unsqueeze(1), last, parameters["weight2"])
    torch.testing.assert_close(outputs, policy.network(parameters, inputs))


def plain() -> GaussianPolicy:
    return GaussianPolicy(MLP((3, 5, 4, 2), "relu"))


@pytest.mark.parametrize(
    ("policy", "given", "read"),
    [(plain(), 3, 3), (ConditionedPolicy(plain(), 2), 5, 5), (MultiHeadPolicy(plain(), 2), 5, 3)],
)
def test_every_learner_is_measured_as_if_it_were_alone(policy, given, read):
    rows = 23  # more than are in memory at once
    parameters = stacked(policy, rows) | {"value.weight0": torch.ones(rows, 4, 1)}
    inputs = inputs_of(rows, given)
    mask = torch.arange(9).expand(rows, 9) < 7
    found = plasticity(policy, parameters, inputs, mask)
    assert {name: values.shape for name, values in found.items()} == dict.fromkeys(
        ("dormant_units", "stable_rank", "weight_norm"), (rows,)
    )
    for row in range(rows):
        own = {name: value[row : row + 1] for name, value in parameters.items()}
        layers = hidden_features(policy.network, own, inputs[row : row + 1, :7, :read])
        ones = torch.ones(1, 7)
        assert found["dormant_units"][row] == dormant_units(layers, ones)[0]
        torch.testing.assert_close(found["stable_rank"][row], stable_rank(layers[-1])[0])
        torch.testing.assert_close(found["weight_norm"][row], weight_norm(policy.network, own)[0])
    assert 0.0 < found["dormant_units"].max() < 1.0  # or the comparison would say little


def test_the_head_that_is_chosen_changes_nothing():
    policy = MultiHeadPolicy(plain(), 2)
    parameters, inputs = stacked(policy, 2), inputs_of(2, 5)
    other = torch.cat([inputs[..., :3], -inputs[..., 3:]], dim=-1)
    for first, second in zip(
        plasticity(policy, parameters, inputs).values(),
        plasticity(policy, parameters, other).values(),
        strict=True,
    ):
        assert first.tolist() == second.tolist()


def test_a_linear_policy_has_no_units():
    policy = GaussianPolicy(MLP((3, 2)))
    found = plasticity(policy, stacked(policy, 2), inputs_of(2, 3))
    assert found["dormant_units"].isnan().all()
    assert found["stable_rank"].isnan().all()
    assert (found["weight_norm"] > 0).all()

"""Value functions: the network of the observation and the time step."""

import numpy as np
import torch

from metarl.policies import stack
from metarl.policies.value import ValueFunction


def test_inputs_get_the_fraction_of_the_horizon_that_has_passed() -> None:
    value = ValueFunction(2, ())
    observations = torch.arange(16.0).view(1, 2, 4, 2)  # K = 1, N = 2, T = 4
    inputs = value.inputs(observations)
    assert inputs.shape == (1, 2, 4, 3)
    assert torch.equal(inputs[..., :2], observations)
    for episode in range(2):
        assert inputs[0, episode, :, 2].tolist() == [0.0, 0.25, 0.5, 0.75]


def test_linear_value_by_hand() -> None:
    # V = 2 o1 - 3 o2 + 8 t/T + 0.5; the policy's parameters in the same dict count for nothing.
    value = ValueFunction(2, ())
    weight = torch.tensor([[[2.0], [-3.0], [8.0]]])
    parameters = {"value.weight0": weight, "value.bias0": torch.tensor([[0.5]])}
    parameters |= {"weight0": torch.full((1, 2, 4), 9.0), "log_std": torch.zeros(1, 4)}
    inputs = torch.tensor([[[1.0, 1.0, 0.0], [0.0, 2.0, 0.25]]])
    assert value(parameters, inputs).tolist() == [[-0.5, -3.5]]


def test_every_task_has_a_value_function_of_its_own() -> None:
    value = ValueFunction(2, (4,), "tanh")
    shared = value.initial_parameters(np.random.default_rng(0))
    assert all(name.startswith("value.") for name in shared)
    inputs = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    stacked = {name: tensor.clone() for name, tensor in stack(shared, 2).items()}
    stacked["value.bias1"][1] += 1.0
    values = value(stacked, inputs)
    expected = torch.stack([value(shared, inputs[0]), value(shared, inputs[1]) + 1.0])
    torch.testing.assert_close(values, expected)

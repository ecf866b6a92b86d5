"""Policies: stacked forward pass, initial parameters, standard-deviation floor, drawing actions."""

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from torch import Tensor

from metarl.errors import UserError
from metarl.policies import MLP, CategoricalPolicy, GaussianPolicy, Parameters, make_policy, stack


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def box(size: int) -> Box:
    return Box(-1.0, 1.0, (size,), np.float32)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_stacked_forward_is_a_loop_over_tasks(activation):
    network = MLP((3, 5, 4, 2), activation)
    tasks = [network.initial_parameters(generator(seed)) for seed in range(3)]
    for index, task in enumerate(tasks):
        task["bias0"] += 0.1 * index
    stacked = {name: torch.stack([task[name] for task in tasks]) for name in tasks[0]}
    observations = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(0))

    outputs = network(stacked, observations)

    assert outputs.shape == (3, 7, 2)
    for task, parameters in enumerate(tasks):
        torch.testing.assert_close(outputs[task], network(parameters, observations[task]))


def test_forward_by_hand():
    # hidden = relu([1*2 - 1, 1*(-3) + 1]) = [1, 0]; output = 1*4 + 0*5 + 0.5
    parameters = {
        "weight0": torch.tensor([[2.0, -3.0]]),
        "bias0": torch.tensor([-1.0, 1.0]),
        "weight1": torch.tensor([[4.0], [5.0]]),
        "bias1": torch.tensor([0.5]),
    }
    assert MLP((1, 2, 1), "relu")(parameters, torch.tensor([[1.0]])).item() == 4.5


def test_stack_gives_every_task_the_same_parameters():
    parameters = MLP((3, 4, 2)).initial_parameters(generator())
    stacked = stack(parameters, 5)
    assert all(stacked[name].shape == (5, *value.shape) for name, value in parameters.items())
    assert all(torch.equal(stacked[name][4], value) for name, value in parameters.items())


def test_initial_weights_fill_the_glorot_limits_and_biases_are_zero():
    parameters = MLP((40, 60, 2)).initial_parameters(generator())
    for index, (fan_in, fan_out) in enumerate([(40, 60), (60, 2)]):
        limit = math.sqrt(6.0 / (fan_in + fan_out))
        largest = parameters[f"weight{index}"].abs().max().item()
        assert parameters[f"weight{index}"].shape == (fan_in, fan_out)
        assert 0.9 * limit < largest <= limit
        assert torch.equal(parameters[f"bias{index}"], torch.zeros(fan_out))


def test_initial_parameters_depend_on_the_generator_alone():
    policy = make_policy(box(3), box(2), (4,))
    torch.manual_seed(1)
    first, again = (policy.initial_parameters(generator(5)) for _ in range(2))
    other = policy.initial_parameters(generator(6))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["weight0"], other["weight0"])


def test_standard_deviation_starts_as_asked_and_keeps_its_floor():
    policy = GaussianPolicy(MLP((3, 2)), initial_std=0.5, min_std=0.1)
    parameters = policy.initial_parameters(generator())
    observations = torch.zeros(4, 3)
    assert torch.allclose(
        policy.distribution(parameters, observations).log_std.exp(), torch.tensor(0.5)
    )

    parameters["log_std"] = torch.tensor([math.log(0.01), math.log(0.3)])
    std = policy.distribution(parameters, observations).log_std.exp()
    torch.testing.assert_close(std, torch.tensor([[0.1, 0.3]]))
    # act: mean + std * noise, with the floor
    step = policy.act(parameters, observations, torch.ones(4, 2)) - policy.network(
        parameters, observations
    )
    torch.testing.assert_close(step, torch.tensor([[0.1, 0.3]]).expand(4, 2))


def test_gaussian_action_is_mean_plus_std_times_noise_for_each_task():
    policy = GaussianPolicy(MLP((1, 1)))
    stacked = {
        "weight0": torch.tensor([[[1.0]], [[2.0]]]),
        "bias0": torch.tensor([[0.0], [1.0]]),
        "log_std": torch.tensor([[0.0], [math.log(2.0)]]),
    }
    observations = torch.tensor([[[3.0], [4.0]], [[3.0], [4.0]]])
    noise = torch.tensor([[[0.0], [1.0]], [[0.0], [-1.0]]])
    # task 0: 3 + 1*0, 4 + 1*1; task 1: 2*3 + 1 + 2*0, 2*4 + 1 - 2*1
    actions = policy.act(stacked, observations, noise)
    torch.testing.assert_close(actions, torch.tensor([[[3.0], [5.0]], [[7.0], [7.0]]]))


def test_gaussian_noise_is_standard_normal():
    noise = GaussianPolicy(MLP((1, 1))).draw_noise(generator(), (100, 100, 1))
    assert noise.dtype == torch.float32
    assert noise.shape == (100, 100, 1)
    # 10 000 draws: standard errors 0.01 of the mean and 0.007 of the standard deviation
    assert abs(noise.mean().item()) < 0.04
    assert abs(noise.std().item() - 1.0) < 0.03


def logit_policy(logits: list[float]) -> tuple[CategoricalPolicy, Parameters]:
    """A categorical policy with the same logits at every observation."""
    parameters = {"weight0": torch.zeros(1, len(logits)), "bias0": torch.tensor(logits)}
    return CategoricalPolicy(MLP((1, len(logits)))), parameters


def just_below(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(-1.0)))


@pytest.mark.parametrize(
    ("u", "action"),
    [
        (0.0, 0),
        (just_below(0.25), 0),
        (0.25, 1),
        (just_below(0.5), 1),
        (0.5, 2),
        (0.75, 3),
        (just_below(1.0), 3),
    ],
)
def test_categorical_action_inverts_the_cumulative_distribution(u, action):
    # four classes of 1/4: edges 1/4, 1/2, 3/4, exact in float32
    policy, parameters = logit_policy([0.0, 0.0, 0.0, 0.0])
    drawn = policy.act(parameters, torch.zeros(1, 1), torch.tensor([[u]]))
    assert drawn.shape == (1, 1)
    assert drawn.dtype == torch.int64
    assert drawn.item() == action


@pytest.mark.parametrize(("u", "action"), [(just_below(0.5), 0), (0.5, 2)])
def test_class_without_probability_is_never_drawn(u, action):
    policy, parameters = logit_policy([0.0, -1000.0, 0.0])
    assert policy.act(parameters, torch.zeros(1, 1), torch.tensor([[u]])).item() == action


def test_categorical_actions_have_the_policy_s_probabilities():
    policy, parameters = logit_policy([math.log(0.1), math.log(0.6), math.log(0.3)])
    noise = policy.draw_noise(generator(), (10_000, 1))
    assert noise.dtype == torch.float32
    actions = policy.act(parameters, torch.zeros(10_000, 1), noise)
    frequencies = actions.flatten().bincount() / 10_000
    # standard error at most sqrt(0.24 / 10 000) = 0.005
    torch.testing.assert_close(frequencies, torch.tensor([0.1, 0.6, 0.3]), atol=0.02, rtol=0.0)


def test_stacked_categorical_policies_act_with_their_own_logits():
    policy, _ = logit_policy([0.0, 0.0])
    stacked = {"weight0": torch.zeros(2, 1, 2), "bias0": torch.tensor([[9.0, -9.0], [-9.0, 9.0]])}
    actions = policy.act(stacked, torch.zeros(2, 3, 1), torch.full((2, 3, 1), 0.5))
    assert actions.squeeze(-1).tolist() == [[0, 0, 0], [1, 1, 1]]


def test_make_policy_fits_a_box():
    policy = make_policy(box(3), box(2), (8, 6), "relu", initial_std=0.5, min_std=0.01)
    assert isinstance(policy, GaussianPolicy)
    assert policy.network == MLP((3, 8, 6, 2), "relu")
    assert policy.action_size == 2
    assert policy.initial_std == 0.5
    assert policy.min_log_std == math.log(0.01)


def test_make_policy_fits_discrete_actions():
    policy = make_policy(box(3), Discrete(5), (8,))
    assert isinstance(policy, CategoricalPolicy)
    assert policy.network == MLP((3, 8, 5), "tanh")
    assert policy.action_size == 1
    parameters = policy.initial_parameters(generator())
    actions = policy.act(parameters, torch.zeros(4, 3), torch.zeros(4, 1))
    log_prob: Tensor = policy.distribution(parameters, torch.zeros(4, 3)).log_prob(actions)
    assert log_prob.shape == (4,)


@pytest.mark.parametrize(
    ("observation", "action", "named"),
    [
        (box(3), MultiDiscrete([2, 2]), "action space MultiDiscrete"),
        (box(3), Box(-1.0, 1.0, (2, 2), np.float32), "action space Box"),
        (Dict({"a": box(1)}), box(2), "observation space Dict"),
        (Box(0.0, 1.0, (4, 4, 3), np.float32), box(2), "observation space Box"),
    ],
)
def test_make_policy_refuses_spaces_it_has_no_policy_for(observation, action, named):
    with pytest.raises(UserError, match=named):
        make_policy(observation, action, (4,))

"""The GRU against torch's, and what a recurrent policy remembers."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.policies import MLP, CategoricalPolicy, GaussianPolicy, Parameters, Policy, stack
from metarl.policies.recurrent import GRU, RecurrentPolicy

TASKS, EPISODES, HIDDEN = 2, 3, 4
LEAD = (TASKS, EPISODES)
NAMES = (("i", "input"), ("h", "hidden"))  # torch's and ours


@pytest.fixture(autouse=True, scope="module")
def one_torch_thread():
    """As in a run, where parallelism is over tasks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def torch_gru(parameters: Parameters) -> torch.nn.GRU:
    inputs, gates = parameters["gru.weight_input"].shape
    reference = torch.nn.GRU(inputs, gates // 3, batch_first=True, dtype=torch.float64)
    weights = {f"weight_{short}h_l0": parameters[f"gru.weight_{name}"].T for short, name in NAMES}
    biases = {f"bias_{short}h_l0": parameters[f"gru.bias_{name}"] for short, name in NAMES}
    reference.load_state_dict(weights | biases)
    return reference


def random_gru(seed: int = 0) -> tuple[GRU, Parameters]:
    """A unit of 3 inputs whose biases are not zero, in float64."""
    gru, generator = GRU(3, HIDDEN), np.random.default_rng(seed)
    parameters = gru.initial_parameters(generator)
    return gru, {
        name: value.double() + 0.3 * torch.from_numpy(generator.standard_normal(value.shape))
        for name, value in parameters.items()
    }


def normal(*shape: int) -> Tensor:
    return torch.from_numpy(np.random.default_rng(5).standard_normal(shape))


def test_run_is_torch_s_gru():
    gru, parameters = random_gru()
    inputs, hidden = normal(5, 7, 3), normal(5, HIDDEN)
    states, last = gru.run(parameters, inputs, hidden)
    expected, expected_last = torch_gru(parameters)(inputs, hidden.unsqueeze(0))
    torch.testing.assert_close(states, expected)
    torch.testing.assert_close(last, expected_last[0])


def test_step_is_torch_s_gru_with_the_parameters_of_each_task():
    gru, _ = random_gru()
    each = [random_gru(task)[1] for task in range(TASKS)]
    parameters = {name: torch.stack([one[name] for one in each]) for name in each[0]}
    inputs, hidden = normal(*LEAD, 3), normal(*LEAD, HIDDEN)
    states = gru.stepper(parameters)(inputs, hidden)
    for task, one in enumerate(each):
        expected = torch_gru(one)(inputs[task].unsqueeze(1), hidden[task].unsqueeze(0))[1][0]
        torch.testing.assert_close(states[task], expected)


@pytest.mark.parametrize("inputs", [5, 9, 16])
def test_bits_of_a_step_do_not_depend_on_the_tasks_beside(inputs):
    gru, generator = GRU(inputs, 6), np.random.default_rng(0)
    parameters = stack(gru.initial_parameters(generator), 4)
    read = torch.from_numpy(generator.standard_normal((4, 3, inputs))).float()
    hidden = torch.from_numpy(generator.standard_normal((4, 3, 6))).float()
    together = gru.stepper(parameters)(read, hidden)
    assert not torch.isclose(together[0], together[1]).any()
    for some in (slice(1, 4), slice(3, 4), slice(0, 2)):
        own = {name: value[some] for name, value in parameters.items()}
        # copies, which lie elsewhere in memory
        alone = gru.stepper(own)(read[some].clone(), hidden[some].clone())
        assert torch.equal(alone, together[some])


def test_initial_hidden_weights_are_a_rotation_in_every_gate():
    weight = GRU(3, 16).initial_parameters(np.random.default_rng(0))["gru.weight_hidden"]
    for gate in weight.split(16, dim=1):
        torch.testing.assert_close(gate.T @ gate, torch.eye(16))


# What is remembered -----------------------------------------------------------------------------


def plain(discrete: bool) -> Policy:
    network = MLP((2, 5, 3))
    return CategoricalPolicy(network) if discrete else GaussianPolicy(network)


def make(discrete: bool) -> tuple[RecurrentPolicy, Parameters, Tensor]:
    """A policy, stacked parameters, and the empty memory."""
    policy = RecurrentPolicy(plain(discrete), HIDDEN)
    parameters = policy.initial_parameters(np.random.default_rng(0))
    return policy, stack(parameters, TASKS), torch.zeros(*LEAD, policy.memory_size)


def act(policy: RecurrentPolicy, parameters: Parameters, memory: Tensor, active: Tensor, seed: int):
    """One time step; its observations, actions and rewards."""
    generator = np.random.default_rng(seed)
    actor = policy.memory_actor(parameters, memory)
    observations = torch.from_numpy(generator.standard_normal((*LEAD, 2))).float()
    noise = policy.draw_noise(generator, (*LEAD, policy.action_size))
    actions = actor(observations, noise)
    rewards = torch.from_numpy(generator.standard_normal(LEAD)).float()
    actor.after_step(actions, rewards, active)
    return observations, actions, rewards


EVERYONE = torch.ones(LEAD, dtype=torch.bool)
actions_of_both_kinds = pytest.mark.parametrize("discrete", [False, True])


@actions_of_both_kinds
def test_memory_is_hidden_state_action_reward_and_boundary(discrete):
    policy, parameters, memory = make(discrete)
    assert policy.memory_size == HIDDEN + 3 + 1 + 1
    observations, actions, rewards = act(policy, parameters, memory, EVERYONE, seed=1)
    # a trial starts with nothing
    inputs = torch.cat([observations, torch.zeros(*LEAD, 5)], dim=-1)
    hidden = policy.gru.stepper(parameters)(inputs, torch.zeros(*LEAD, HIDDEN))
    told = torch.eye(3)[actions[..., 0]] if discrete else actions
    flag = torch.zeros(*LEAD, 1)
    expected = torch.cat([hidden, told, rewards.unsqueeze(-1), flag], dim=-1)
    assert torch.equal(memory, expected)


@actions_of_both_kinds
def test_next_step_reads_the_memory_and_the_head_reads_the_new_hidden_state(discrete):
    policy, parameters, memory = make(discrete)
    act(policy, parameters, memory, EVERYONE, seed=1)
    before = memory.clone()
    generator = np.random.default_rng(2)
    observations = torch.from_numpy(generator.standard_normal((*LEAD, 2))).float()
    noise = policy.draw_noise(generator, (*LEAD, policy.action_size))
    actions = policy.memory_actor(parameters, memory)(observations, noise)
    inputs = torch.cat([observations, before[..., HIDDEN:]], dim=-1)
    hidden = policy.gru.stepper(parameters)(inputs, before[..., :HIDDEN])
    assert torch.equal(actions, policy.head.act(parameters, hidden, noise))
    # acting alone remembers nothing
    assert torch.equal(memory, before)


def test_next_episode_keeps_everything_but_raises_the_flag_for_one_step():
    policy, parameters, memory = make(discrete=False)
    act(policy, parameters, memory, EVERYONE, seed=1)
    before = memory.clone()
    policy.next_episode(memory)
    assert torch.equal(memory[..., :-1], before[..., :-1])
    assert torch.equal(memory[..., -1], torch.ones(LEAD))
    unflagged = before.clone()
    act(policy, parameters, memory, EVERYONE, seed=2)
    act(policy, parameters, unflagged, EVERYONE, seed=2)
    assert torch.equal(memory[..., -1], torch.zeros(LEAD))
    # the unit does read it
    assert not torch.isclose(memory[..., 0], unflagged[..., 0], atol=1e-4).any()


@actions_of_both_kinds
def test_environments_whose_episode_has_ended_keep_their_memory(discrete):
    policy, parameters, memory = make(discrete)
    act(policy, parameters, memory, EVERYONE, seed=1)
    before = memory.clone()
    active = torch.tensor([[True, False, True], [False, False, True]])
    act(policy, parameters, memory, active, seed=2)
    assert torch.equal(memory[~active], before[~active])
    assert not torch.isclose(memory[active][:, :HIDDEN], before[active][:, :HIDDEN]).all(-1).any()


def test_inputs_of_a_trial_are_shifted_by_one_step():
    policy = RecurrentPolicy(plain(discrete=True), HIDDEN)
    observations = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    actions = torch.tensor([[[2], [0], [1]]])
    rewards, boundaries = torch.tensor([[0.5, -1.0, 9.0]]), torch.tensor([[0.0, 0.0, 1.0]])
    expected = [
        [1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [3.0, 4.0, 0.0, 0.0, 1.0, 0.5, 0.0],
        [5.0, 6.0, 1.0, 0.0, 0.0, -1.0, 1.0],
    ]
    inputs = policy.inputs(observations, actions, rewards, boundaries)
    assert torch.equal(inputs, torch.tensor([expected]))

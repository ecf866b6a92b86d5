"""Tabular MDPs: transitions and rewards have the task's probabilities."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from metarl.errors import UserError
from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, TaskStreams, make

# Two states, two actions: action 0 stays with probability 0.9 (state 0) or 0.25 (state 1),
# action 1 always leads to the other state.
TRANSITIONS = [[[0.9, 0.1], [0.0, 1.0]], [[0.75, 0.25], [1.0, 0.0]]]
MEANS = [[0.0, 5.0], [-5.0, 20.0]]


def _env(episodes: int = 1, seed: int = 0) -> TaskVectorEnv:
    family: Any = make("TabularMDP-v0", states=2, actions=2)
    env = TaskVectorEnv(family, 1, episodes)
    tasks = Tasks({"transitions": [TRANSITIONS], "reward_means": [MEANS]})
    env.reset(seed=seed, options={"tasks": tasks})
    return env


def _act(env: TaskVectorEnv, action: int) -> tuple[np.ndarray, np.ndarray]:
    """The states that follow, and the rewards."""
    observation, reward, *_ = env.step(np.full(env.num_envs, action))
    return observation.argmax(axis=1), reward


def test_an_episode_starts_in_state_zero_and_shows_the_state_as_one_of_n():
    family: Any = make("TabularMDP-v0")
    env = TaskVectorEnv(family, 2)
    observation, _ = env.reset(seed=0)
    assert observation.tolist() == [[1.0] + [0.0] * 9] * 2
    for step in range(10):
        observation, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert (observation.sum(axis=1) == 1.0).all()
        assert set(observation.flatten().tolist()) == {0.0, 1.0}
        assert not terminated.any()
        assert truncated.all() == (step == 9)


def test_transitions_have_the_probabilities_of_the_task():
    env = _env(episodes=2000)
    state, _ = _act(env, 0)
    # 2000 coins: standard deviation sqrt(p (1 - p) / 2000); 4 of them
    assert abs(state.mean() - 0.1) < 4 * math.sqrt(0.1 * 0.9 / 2000)
    after, _ = _act(env, 1)
    assert (after == 1 - state).all()  # probability 1
    ones = after == 1
    again, _ = _act(env, 0)
    assert abs(again[ones].mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / ones.sum())
    assert abs(again[~ones].mean() - 0.1) < 4 * math.sqrt(0.1 * 0.9 / (~ones).sum())


def test_rewards_have_the_mean_of_the_state_before_the_step_and_of_the_action():
    env = _env(episodes=2000)
    state, reward = _act(env, 0)
    # the mean of 2000 draws has standard deviation 0.022, their deviation 0.016; 4 of them
    assert abs(reward.mean() - 0.0) < 0.09
    assert abs(reward.std() - 1.0) < 0.064
    _, reward = _act(env, 1)
    zeros, ones = reward[state == 0], reward[state == 1]
    assert abs(zeros.mean() - 5.0) < 4 / math.sqrt(len(zeros))
    assert abs(ones.mean() - 20.0) < 4 / math.sqrt(len(ones))


def test_ten_states_are_reached_with_their_probabilities():
    family: Any = make("TabularMDP-v0")
    tasks = family.sample(0, 0, 1)
    env = TaskVectorEnv(family, 1, episodes=4000)
    env.reset(seed=0, options={"tasks": tasks})
    for action in range(5):
        env.reset(options=None)
        state, _ = _act(env, action)
        counts = np.bincount(state, minlength=10)
        probabilities = tasks["transitions"][0, 0, action].numpy()
        spread = np.sqrt(4000 * probabilities * (1 - probabilities))
        # 50 counts in all: 4.5 standard deviations
        assert (np.abs(counts - 4000 * probabilities) <= 4.5 * spread + 1).all()


def test_numbers_depend_on_the_seed_alone():
    def run(seed: int) -> list[list[float]]:
        env = _env(episodes=3, seed=seed)
        return [_act(env, step % 2)[1].tolist() for step in range(10)]

    assert run(0) == run(0)
    assert run(0) != run(1)
    first = run(0)[0]
    assert len(set(first)) == 3  # episodes differ


def test_a_task_moves_the_same_in_any_batch():
    family: Any = make("TabularMDP-v0")
    tasks = family.sample(0, 0, 4)

    def run(chosen: list[int]) -> torch.Tensor:
        env = TaskVectorEnv(family, len(chosen), episodes=2)
        env.set_tasks(tasks[chosen])
        env.reset_episodes(TaskStreams.of(0, "test", 0, chosen, 2))
        actions = torch.arange(2).repeat(len(chosen))
        results = [env.step_episodes(actions) for _ in range(10)]
        rows = [torch.cat([r.observation, r.reward[:, None].float()], dim=1) for r in results]
        return torch.stack(rows, dim=1).view(len(chosen), 2, 10, 11)

    together = run([0, 1, 2, 3])
    assert torch.equal(run([2]), together[2:3])
    assert torch.equal(run([3, 1]), together[[3, 1]])


def test_tasks_have_the_published_distribution():
    family = make("TabularMDP-v0")
    tasks = family.sample(0, 0, 100)
    transitions, means = tasks["transitions"], tasks["reward_means"]
    assert transitions.shape == (100, 10, 5, 10)
    assert torch.allclose(transitions.sum(dim=-1), torch.ones(100, 10, 5, dtype=torch.float64))
    # flat Dirichlet over 10: P(p > x) = (1 - x)^9, so half of all lie above 1 - 0.5^(1/9);
    # 5000 independent first elements: standard deviation 0.0071; 4 of them
    median = 1.0 - 0.5 ** (1.0 / 9.0)
    assert abs(float((transitions[..., 0] > median).double().mean()) - 0.5) < 0.029
    assert abs(float(means.mean()) - 1.0) < 4 / math.sqrt(5000)
    assert abs(float(means.std()) - 1.0) < 4 / math.sqrt(2 * 5000)


def test_transitions_out_of_distribution_are_deterministic():
    tasks = make("TabularMDP-v0").split("ood")
    assert set(tasks["transitions"].flatten().tolist()) == {0.0, 1.0}
    assert bool((tasks["transitions"].sum(dim=-1) == 1.0).all())
    family: Any = make("TabularMDP-v0")
    env = TaskVectorEnv(family, 1, episodes=50)
    env.reset(seed=0, options={"tasks": tasks[0]})
    state, _ = _act(env, 3)
    assert set(state.tolist()) == {int(tasks["transitions"][0, 0, 3].argmax())}


def test_options_set_the_number_of_states_and_actions():
    family: Any = make("TabularMDP-v0", states=3, actions=2)
    assert family.sample(0, 0, 2)["transitions"].shape == (2, 3, 2, 3)
    assert family.split("ood")["reward_means"].shape == (40, 3, 2)
    assert family.observation_space.shape == (3,)
    with pytest.raises(UserError, match="states must be an integer of at least 2, got 1"):
        make("TabularMDP-v0", states=1)
    with pytest.raises(UserError, match="actions must be an integer of at least 2, got '2'"):
        make("TabularMDP-v0", actions="2")


def test_a_picture_frames_the_current_state():
    family: Any = make("TabularMDP-v0")
    tasks = family.sample(0, 0, 1)
    state = family.reset(TaskStreams.of(0, "test", 0, [0], 1), tasks)
    state[0, 1] = 7.0
    axes = Figure().subplots()
    family.draw(axes, state, tasks)
    box: Any = axes.patches[0]
    assert (box.get_y(), box.get_height()) == (6.5, 1.0)
    assert axes.images[0].get_array().shape == (10, 5)  # pyright: ignore[reportOptionalMemberAccess]

"""Bandits: what an arm pays, and that its noise depends on nothing but the seed and the task."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from metarl.errors import UserError
from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, TaskStreams, make

BANDITS = pytest.mark.parametrize("name", ["BernoulliBandit-v0", "GaussianBandit-v0"])


def _pull(name: str, means: list[list[float]], arms: np.ndarray, **options: int) -> np.ndarray:
    """Rewards `[tasks, episodes, pulls]` of tasks with these means; `arms` has the same shape."""
    family: Any = make(name, arms=len(means[0]), pulls=arms.shape[2], **options)
    env = TaskVectorEnv(family, len(means), arms.shape[1])
    env.reset(seed=0, options={"tasks": Tasks({"means": means})})
    flat = arms.reshape(-1, arms.shape[2]).T
    return np.stack([env.step(arm)[1] for arm in flat], axis=1).reshape(arms.shape)


def test_a_bernoulli_arm_pays_one_with_its_probability():
    arms = np.tile([0, 1, 2, 3], (1, 1000, 1))
    rewards = _pull("BernoulliBandit-v0", [[0.0, 0.2, 0.7, 1.0]], arms)[0]
    assert set(rewards.flatten()) == {0.0, 1.0}
    rates = rewards.mean(axis=0)
    assert (rates[0], rates[3]) == (0.0, 1.0)
    # 1000 coins: standard deviation sqrt(p (1 - p) / 1000); 4 of them
    for rate, probability in ((rates[1], 0.2), (rates[2], 0.7)):
        assert abs(rate - probability) < 4 * math.sqrt(probability * (1 - probability) / 1000)


def test_a_gaussian_arm_pays_its_mean_with_standard_deviation_one():
    arms = np.tile([0, 1], (1, 2000, 1))
    rewards = _pull("GaussianBandit-v0", [[0.25, -3.0]], arms)[0]
    # the mean of 2000 draws has standard deviation 0.022, their deviation 0.016; 4 of them
    assert np.abs(rewards.mean(axis=0) - [0.25, -3.0]).max() < 0.09
    assert np.abs(rewards.std(axis=0) - 1.0).max() < 0.064


@BANDITS
def test_the_noise_of_pulls_episodes_and_tasks_is_independent(name):
    arms = np.zeros((2, 2000, 2), dtype=np.int64)
    rewards = _pull(name, [[0.5, 0.5]] * 2, arms)
    columns = rewards.transpose(0, 2, 1).reshape(4, 2000)
    correlation = np.corrcoef(columns) - np.eye(4)
    # a correlation of 2000 independent pairs has standard deviation 1 / sqrt(2000) = 0.022
    assert np.abs(correlation).max() < 4 * 0.0224


@BANDITS
def test_arms_differ_only_by_their_means_and_the_noise_depends_on_the_seed(name):
    family: Any = make(name)

    def rewards(seed: int, arm: int) -> list[float]:
        env = TaskVectorEnv(family, 1)
        env.reset(seed=seed, options={"tasks": Tasks({"means": [[0.5] * 5]})})
        return [float(env.step(np.array([arm]))[1][0]) for _ in range(10)]

    assert rewards(0, 1) == rewards(0, 4) == rewards(0, 1)
    assert rewards(0, 1) != rewards(1, 1)


@BANDITS
def test_a_task_pays_the_same_in_any_batch(name):
    family: Any = make(name)
    tasks = family.sample(0, 0, 4)

    def run(chosen: list[int]) -> torch.Tensor:
        env = TaskVectorEnv(family, len(chosen), episodes=3)
        env.set_tasks(tasks[chosen])
        env.reset_episodes(TaskStreams.of(0, "test", 0, chosen, 3))
        arms = torch.arange(3).repeat(len(chosen))
        steps = [env.step_episodes(arms).reward for _ in range(10)]
        return torch.stack(steps, dim=1).view(len(chosen), 3, 10)

    together = run([0, 1, 2, 3])
    assert torch.equal(run([2]), together[2:3])
    assert torch.equal(run([3, 1]), together[[3, 1]])


@BANDITS
def test_an_episode_is_n_pulls_and_an_ended_one_waits_for_the_others(name):
    family: Any = make(name, pulls=3)
    env = TaskVectorEnv(family, 2)
    env.reset(seed=0, options={"tasks": family.sample(0, 0, 2)})
    pull = np.zeros(2, dtype=np.int64)
    assert [env.step(pull)[3].tolist() for _ in range(3)] == [[False] * 2, [False] * 2, [True] * 2]
    env.reset(options={"reset_mask": np.array([True, False])})
    rewards = [env.step(pull)[1] for _ in range(3)]
    assert [reward[1] for reward in rewards] == [0.0, 0.0, 0.0]
    assert not env.active.any()


@BANDITS
def test_the_observation_is_always_zero(name):
    family: Any = make(name)
    env = TaskVectorEnv(family, 3)
    observation, _ = env.reset(seed=0)
    for _ in range(10):
        assert observation.tolist() == [[0.0]] * 3
        observation, *_ = env.step(env.action_space.sample())


@BANDITS
def test_options_set_the_number_of_arms_and_pulls(name):
    family: Any = make(name, arms=50, pulls=100)
    assert family.sample(0, 0, 2)["means"].shape == (2, 50)
    assert family.split("test")["means"].shape == (100, 50)
    assert (family.horizon, family.action_space.n) == (100, 50)
    default: Any = make(name)
    assert (default.horizon, default.action_space.n) == (10, 5)
    assert default.sample(0, 0, 2)["means"].shape == (2, 5)


@BANDITS
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"arms": 1}, "arms must be an integer of at least 2, got 1"),
        ({"arms": 2.0}, r"arms must be an integer of at least 2, got 2\.0"),
        ({"pulls": 0}, "pulls must be an integer of at least 1, got 0"),
        ({"pulls": True}, "pulls must be an integer of at least 1, got True"),
        ({"arm": 3}, "arm; it takes arms, pulls"),
    ],
)
def test_impossible_options_are_refused(name, options, message):
    with pytest.raises(UserError, match=f"{name} does not take these options: .*{message}"):
        make(name, **options)


def test_means_are_uniform_and_gaussian_ones_lie_higher_out_of_distribution():
    means = make("GaussianBandit-v0").sample(0, 0, 200)["means"]
    assert bool(((means >= 0.0) & (means <= 1.0)).all())
    # 1000 draws: half below 0.5 with standard deviation sqrt(0.25 / 1000) = 0.016; 4 of them
    assert abs(float((means < 0.5).double().mean()) - 0.5) < 0.064
    outside = make("GaussianBandit-v0", arms=3).split("ood")["means"]
    assert outside.shape == (40, 3)
    assert bool(((outside >= 1.0) & (outside <= 2.0)).all())


def test_no_probability_lies_out_of_distribution():
    with pytest.raises(UserError, match="BernoulliBandit-v0 has no ood split"):
        make("BernoulliBandit-v0").split("ood")


def test_a_picture_marks_the_last_pull():
    family: Any = make("GaussianBandit-v0", arms=3)
    tasks = Tasks({"means": [[0.1, 0.9, 0.5]]})
    streams = TaskStreams.of(0, "test", 0, [0], 1)
    state = family.reset(streams, tasks)
    axes = Figure().subplots()
    family.draw(axes, state, tasks)
    bars: Any = axes.patches
    assert [bar.get_height() for bar in bars] == [0.1, 0.9, 0.5]
    after = family.transition(state, torch.tensor([1]), tasks, streams)
    axes = Figure().subplots()
    family.draw(axes, after, tasks)
    bars = axes.patches
    assert bars[-1].get_height() == 0.9
    assert axes.get_title() == "1 of 10 pulls"
    # what was drawn before is unchanged
    assert state[0, :3].tolist() == [0.0, -1.0, 0.0]

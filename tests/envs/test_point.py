"""2D navigation: its rewards, clipping and end by hand, from the published code."""

import numpy as np
import pytest
import torch

from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, make


def _env(*goals: tuple[float, float]) -> TaskVectorEnv:
    env = TaskVectorEnv(make("PointNavigation-v0"), len(goals))  # pyright: ignore[reportArgumentType]
    observation, _ = env.reset(seed=0, options={"tasks": Tasks({"goal": goals})})
    assert observation.tolist() == [[0.0, 0.0]] * len(goals)
    return env


def _moves(*moves: tuple[float, float]) -> np.ndarray:
    return np.array(moves, dtype=np.float32)


def test_the_reward_is_minus_the_distance_after_the_move_and_not_its_square():
    env = _env((0.4, 0.4), (-0.5, 0.0))
    _, reward, *_ = env.step(_moves((0.1, 0.0), (0.0, 0.1)))
    # (0.1, 0) to (0.4, 0.4): a 3-4-5 triangle; (0, 0.1) to (-0.5, 0): sqrt(0.25 + 0.01)
    assert reward.tolist() == pytest.approx([-0.5, -(0.26**0.5)], abs=1e-7)


def test_the_move_is_clipped_at_a_tenth_along_each_axis():
    env = _env((0.5, 0.5), (0.5, 0.5), (0.5, 0.5))
    observation, *_ = env.step(_moves((5.0, -5.0), (0.05, 0.11), (-0.1, 0.1)))
    assert observation == pytest.approx(_moves((0.1, -0.1), (0.05, 0.1), (-0.1, 0.1)), abs=1e-8)


def test_the_episode_ends_within_a_hundredth_along_both_axes():
    env = _env((0.1, 0.1), (0.1, 0.1), (0.1, 0.1), (0.1, 0.1))
    near_both, near_x_only = (0.0905, 0.0905), (0.1, 0.089)
    # the first lies 0.0134 from the goal: within 0.01 of each axis, not within a disc of 0.01
    _, _, terminated, truncated, _ = env.step(
        _moves(near_both, near_x_only, (0.089, 0.1), (0.1, 0.1))
    )
    assert terminated.tolist() == [True, False, False, True]
    assert not truncated.any()


def test_an_episode_is_cut_after_100_steps():
    env = _env((0.5, 0.5))
    cut = [bool(env.step(_moves((0.0, 0.0)))[3][0]) for _ in range(101)]
    assert cut == [False] * 99 + [True, False]


def test_doing_nothing_costs_the_distance_in_every_step():
    env = _env((0.3, 0.4))
    rewards = [float(env.step(_moves((0.0, 0.0)))[1][0]) for _ in range(100)]
    assert sum(rewards) == pytest.approx(-50.0, abs=1e-9)


def test_the_observation_is_the_position_and_does_not_show_the_goal():
    env = _env((0.5, 0.5), (-0.3, 0.1))
    for _ in range(3):
        observation, reward, *_ = env.step(_moves((0.1, -0.05), (0.1, -0.05)))
        assert np.array_equal(observation[0], observation[1])
        assert reward[0] != reward[1]
    assert observation[0] == pytest.approx([0.3, -0.15], abs=1e-7)  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.mark.parametrize("axis", [0, 1])
def test_each_coordinate_of_the_goal_changes_the_reward_and_the_end(axis):
    goal = [0.1, 0.1]
    goal[axis] = 0.2
    env = _env((0.1, 0.1), (goal[0], goal[1]))
    _, reward, terminated, *_ = env.step(_moves((0.1, 0.1), (0.1, 0.1)))
    assert reward.tolist() == pytest.approx([0.0, -0.1], abs=1e-7)
    assert terminated.tolist() == [True, False]


def test_goals_have_the_published_ranges():
    family = make("PointNavigation-v0")
    goals = family.sample(0, 0, 300)["goal"]
    for coordinate in goals.T:
        assert -0.5 <= coordinate.min() < -0.45
        assert 0.45 < coordinate.max() <= 0.5
    outside = family.split("ood")["goal"]
    distance = outside.norm(dim=1)
    assert distance.min() >= 0.75
    assert distance.max() <= 1.0
    # the corner of the square is sqrt(0.5) = 0.707 from the start
    assert bool((outside.abs() > 0.5).any(dim=1).all())


def test_functions_do_not_change_their_arguments():
    family = make("PointNavigation-v0")
    tasks = Tasks({"goal": [[0.3, 0.3]]})
    state, action = torch.zeros(1, 2, dtype=torch.float64), torch.ones(1, 2)
    family.transition(state, action, tasks, None)  # pyright: ignore[reportAttributeAccessIssue]
    assert state.tolist() == [[0.0, 0.0]]
    assert action.tolist() == [[1.0, 1.0]]
    assert tasks["goal"].tolist() == [[0.3, 0.3]]

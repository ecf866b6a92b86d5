"""The grid world: moves, borders and rewards by hand."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, make

STAY, UP, RIGHT, DOWN, LEFT = range(5)


def _env(*goals: tuple[int, int]) -> TaskVectorEnv:
    family: Any = make("GridWorld-v0")
    env = TaskVectorEnv(family, len(goals))
    observation, _ = env.reset(seed=0, options={"tasks": Tasks({"goal": goals})})
    assert observation.tolist() == [[0.0, 0.0]] * len(goals)
    return env


def _walk(env: TaskVectorEnv, *actions: int) -> tuple[list[list[float]], list[float]]:
    """Cells and rewards of the first environment."""
    cells, rewards = [], []
    for action in actions:
        observation, reward, *_ = env.step(np.full(env.num_envs, action))
        cells.append(observation[0].tolist())
        rewards.append(float(reward[0]))
    return cells, rewards


def test_actions_move_one_cell_and_stay_at_the_border():
    env = _env((4, 4))
    cells, _ = _walk(env, STAY, UP, RIGHT, DOWN, LEFT, LEFT, DOWN)
    assert cells == [[0, 0], [0, 1], [1, 1], [1, 0], [0, 0], [0, 0], [0, 0]]
    env = _env((4, 4))
    cells, _ = _walk(env, *[RIGHT] * 5, *[UP] * 5)
    assert cells[3:] == [[4, 0], [4, 0], [4, 1], [4, 2], [4, 3], [4, 4], [4, 4]]


def test_the_goal_pays_one_in_every_step_and_all_else_costs_a_tenth():
    _, rewards = _walk(_env((0, 2)), UP, UP, STAY, UP, DOWN, RIGHT)
    assert rewards == [-0.1, 1.0, 1.0, -0.1, 1.0, -0.1]


def test_the_best_return_for_the_farthest_goal():
    # eight moves, of which the last reaches it, and seven steps on it: 7 * -0.1 + 8 * 1
    _, rewards = _walk(_env((4, 4)), *[RIGHT] * 4, *[UP] * 4, *[STAY] * 7)
    assert sum(rewards) == pytest.approx(7.3)


def test_an_episode_never_ends_before_15_steps():
    env = _env((0, 2))
    ends = [env.step(np.array([UP if t < 2 else STAY]))[2:4] for t in range(15)]
    assert not any(terminated[0] for terminated, _ in ends)
    assert [bool(truncated[0]) for _, truncated in ends] == [False] * 14 + [True]


def test_the_observation_does_not_show_the_goal_but_the_reward_does():
    env = _env((2, 0), (0, 2), (1, 2))
    for action in (RIGHT, UP, UP):
        observation, reward, *_ = env.step(np.full(3, action))
        assert (observation == observation[0]).all()
    assert reward.tolist() == [-0.1, -0.1, 1.0]  # pyright: ignore[reportPossiblyUnboundVariable]


def test_goals_are_the_21_cells_away_from_the_start():
    family = make("GridWorld-v0")
    goals = [tuple(goal) for goal in family.split("test")["goal"].tolist()]
    everywhere = {(x, y) for x in range(5) for y in range(5)}
    near = {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert len(goals) == 21
    assert set(goals) == everywhere - near
    assert {tuple(goal) for goal in family.split("ood")["goal"].tolist()} == near - {(0, 0)}


def test_goals_are_equally_likely():
    drawn = make("GridWorld-v0").sample(0, 0, 2100)["goal"]
    counts = np.bincount((5 * drawn[:, 0] + drawn[:, 1]).numpy(), minlength=25)
    # 100 of each with standard deviation sqrt(100 * 20 / 21) = 9.8; 4 of them
    assert (np.abs(counts[counts > 0] - 100) < 40).all()
    assert (counts > 0).sum() == 21


def test_a_task_does_not_depend_on_the_batch():
    actions = [UP, RIGHT, RIGHT, UP]
    together = _env((2, 2), (3, 1), (4, 0))
    alone = _env((3, 1))
    for action in actions:
        one = alone.step(np.full(1, action))
        three = together.step(np.full(3, action))
        assert one[0][0].tolist() == three[0][1].tolist()
        assert one[1][0] == three[1][1]


def test_a_picture_shows_the_goal_and_the_robot_in_their_cells():
    family: Any = make("GridWorld-v0")
    axes = Figure().subplots()
    family.draw(axes, torch.tensor([[3.0, 1.0]]).double(), Tasks({"goal": [(0, 2)]}))
    cell: Any = axes.patches[0]
    assert (cell.get_x(), cell.get_y()) == (-0.5, 1.5)
    robot = np.asarray(axes.lines[-1].get_xydata())
    assert robot[0].tolist() == [3.0, 1.0]

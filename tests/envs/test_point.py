"""Point robots: their rewards, clipping and ends by hand, from the published code."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

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


def _at(name: str, tasks: Tasks, *positions: tuple[float, float]) -> TaskVectorEnv:
    """An environment whose robots stand at these positions."""
    family: Any = make(name)
    env = TaskVectorEnv(family, len(tasks))
    env.reset(seed=0, options={"tasks": tasks})
    engine: Any = env.engine
    engine._state = torch.tensor(positions, dtype=torch.float64)
    return env


def _corners(*goals: tuple[float, float]) -> Tasks:
    return Tasks({"goal": goals})


def test_corners_reward_progress_in_the_quadrant_of_the_goal():
    env = _at("PointCorner-v0", _corners((2, 2), (2, 2)), (1.0, 1.85), (2.0, 1.0))
    _, reward, *_ = env.step(_moves((0.1, 0.15), (0.0, -0.1)))
    # (1, 1.85) to (1.1, 2): from sqrt(1 + 0.15^2) to 0.9 away; (2, 1) to (2, 0.9): a tenth back
    assert reward.tolist() == pytest.approx([1.0225**0.5 - 0.9, -0.1], abs=1e-7)


def test_corners_reward_nothing_where_another_corner_is_nearer():
    quadrants = [(1.0, 1.0), (-1.0, 1.0), (1.0, -1.0), (-1.0, -1.0)]
    for goal in [(2.0, 2.0), (-2.0, 2.0), (2.0, -2.0), (-2.0, -2.0)]:
        env = _at("PointCorner-v0", _corners(*[goal] * 4), *quadrants)
        # away from the origin along x, in each quadrant
        _, reward, *_ = env.step(_moves((0.2, 0), (-0.2, 0), (0.2, 0), (-0.2, 0)))
        rewarded = [math.copysign(2.0, x) == goal[0] and y * goal[1] > 0 for x, y in quadrants]
        assert sum(rewarded) == 1
        # from sqrt(2) to sqrt(0.8^2 + 1) away from the corner of the same quadrant
        progress = 2.0**0.5 - 1.64**0.5
        assert reward.tolist() == pytest.approx([progress * r for r in rewarded], abs=1e-7)


def test_corners_reward_both_sides_of_a_border_alike():
    # On the axis two corners are nearest; the published code rewards whoever is among them.
    env = _at("PointCorner-v0", _corners((2, 2), (-2, 2), (2, -2)), *[(0.0, 1.0)] * 3)
    _, reward, *_ = env.step(_moves(*[(0.0, 0.2)] * 3))
    progress = 5.0**0.5 - (4.0 + 0.8**2) ** 0.5
    assert reward.tolist() == pytest.approx([progress, progress, 0.0], abs=1e-7)


def test_corners_reward_nothing_within_half_a_unit_of_the_origin_in_the_l1_norm():
    start = (0.2, 0.2)
    env = _at("PointCorner-v0", _corners((2, 2), (2, 2)), start, start)
    # to |x| + |y| of 0.49 and 0.51; both lie within 0.5 of the origin in the Euclidean norm
    _, reward, *_ = env.step(_moves((0.05, 0.04), (0.06, 0.05)))
    assert reward[0] == 0.0
    expected = 1.8 * 2.0**0.5 - (1.74**2 + 1.75**2) ** 0.5
    assert reward[1] == pytest.approx(expected, abs=1e-7)


def test_corners_clip_moves_at_a_fifth_start_in_a_square_and_never_end():
    family: Any = make("PointCorner-v0")
    env = TaskVectorEnv(family, 4, episodes=200)
    start, _ = env.reset(seed=0, options={"tasks": family.split("test")})
    assert -0.2 <= start.min() < -0.19
    assert 0.19 < start.max() <= 0.2
    after, _, terminated, *_ = env.step(np.full((800, 2), [5.0, -5.0], np.float32))
    assert after - start == pytest.approx(np.tile([0.2, -0.2], (800, 1)), abs=1e-6)
    for _ in range(98):
        _, _, terminated, truncated, _ = env.step(env.action_space.sample())
        assert not terminated.any()
        assert not truncated.any()
    assert env.step(env.action_space.sample())[3].all()


def test_corners_are_four_equally_likely_tasks():
    family = make("PointCorner-v0")
    goals = family.sample(0, 0, 400)["goal"].tolist()
    # 400 draws: 100 of each with standard deviation sqrt(400 * 3 / 16) = 8.7; 4 of them
    assert all(abs(goals.count(corner) - 100) < 35 for corner in [[2.0, 2.0], [-2.0, 2.0]])
    assert sorted(family.split("test")["goal"].tolist()) == sorted(
        [[x, y] for x in (-2.0, 2.0) for y in (-2.0, 2.0)]
    )


# Where goals lie at (1, 0) and (0, 1).
ANGLES = (0.0, math.pi / 2)


def test_pearls_reward_is_dense_in_training_and_sparse_in_test():
    tasks = Tasks({"angle": [ANGLES[0]] * 4, "sparse": [0.0, 1.0, 1.0, 1.0]})
    positions = [(0.5, 0.0), (0.5, 0.0), (0.75, 0.0), (0.7, 0.0)]
    env = _at("SparsePointRobot-v0", tasks, *positions)
    _, reward, *_ = env.step(_moves((0.1, 0.0), (0.1, 0.0), (0.1, 0.0), (0.09, 0.0)))
    # distances 0.4 (dense), 0.4 (outside), 0.15 (1 - d), 0.21 (just outside)
    assert reward.tolist() == pytest.approx([-0.4, 0.0, 0.85, 0.0], abs=1e-7)


def test_varibads_reward_is_always_sparse_and_its_moves_are_in_tenths():
    tasks = Tasks({"angle": [ANGLES[1]] * 3})
    env = _at("SparsePointRobotVariBAD-v0", tasks, (0.0, 0.7), (0.0, 0.75), (0.12, 0.84))
    observation, reward, *_ = env.step(_moves((0.0, 0.9), (0.0, 7.0), (0.0, 0.0)))
    assert observation[:, 1] == pytest.approx([0.79, 0.85, 0.84], abs=1e-7)
    # distances 0.21, 0.15 and, of the sides 0.12 and 0.16, 0.2
    assert reward.tolist() == pytest.approx([0.0, 0.85, 0.8], abs=1e-7)


@pytest.mark.parametrize(
    ("name", "horizon"), [("SparsePointRobot-v0", 20), ("SparsePointRobotVariBAD-v0", 100)]
)
def test_sparse_points_start_at_the_origin_and_never_end(name, horizon):
    family: Any = make(name)
    env = TaskVectorEnv(family, 3)
    observation, _ = env.reset(seed=0, options={"tasks": family.sample(0, 0, 3)})
    assert observation.tolist() == [[0.0, 0.0]] * 3
    for step in range(horizon):
        *_, terminated, truncated, _ = env.step(np.zeros((3, 2), np.float32))
        assert not terminated.any()
        assert truncated.all() == (step == horizon - 1)


def test_pearls_goals_are_its_own_80_and_20_of_100_even_angles():
    family = make("SparsePointRobot-v0")
    # As in rlkit/envs/point_robot.py: goals on the half circle, shuffled after seed 1337.
    angles = np.linspace(0.0, np.pi, 100)
    goals = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    np.random.RandomState(1337).shuffle(goals)

    def goals_of(angle: torch.Tensor) -> np.ndarray:
        return torch.stack([angle.cos(), angle.sin()], dim=1).numpy()

    test = family.split("test")
    assert goals_of(test["angle"]) == pytest.approx(goals[80:], abs=1e-12)
    train = torch.tensor(family.parameters["angle"].support(), dtype=torch.float64)
    assert goals_of(train) == pytest.approx(goals[:80], abs=1e-12)
    assert set(family.sample(0, 0, 500)["angle"].tolist()) <= set(train.tolist())
    assert len(set(train.tolist()) | set(test["angle"].tolist())) == 100


@pytest.mark.parametrize("split", ["validation", "test", "ood"])
def test_pearls_held_out_tasks_are_sparse_and_its_training_tasks_are_not(split):
    family = make("SparsePointRobot-v0")
    assert set(family.sample(0, 0, 20)["sparse"].tolist()) == {0.0}
    assert set(family.split(split)["sparse"].tolist()) == {1.0}


@pytest.mark.parametrize("name", ["SparsePointRobot-v0", "SparsePointRobotVariBAD-v0"])
def test_sparse_points_are_tested_out_of_distribution_on_the_other_half_circle(name):
    family = make(name)
    assert float(family.split("validation")["angle"].sin().min()) > 0.0
    assert float(family.split("ood")["angle"].sin().max()) < 0.0
    assert len(set(family.split("validation")["angle"].tolist())) == 40


def test_varibads_goals_are_uniform_over_the_half_circle():
    angle = make("SparsePointRobotVariBAD-v0").sample(0, 0, 400)["angle"]
    assert bool(((angle >= 0.0) & (angle <= math.pi)).all())
    # 400 draws: 200 in the first half with standard deviation 10; 4 of them
    assert abs(int((angle < math.pi / 2).sum()) - 200) < 40


@pytest.mark.parametrize(
    "name",
    ["PointNavigation-v0", "PointCorner-v0", "SparsePointRobot-v0", "SparsePointRobotVariBAD-v0"],
)
def test_a_picture_shows_the_goal_and_the_robot_where_they_are(name):
    family: Any = make(name)
    tasks = family.sample(0, 0, 1)
    axes = Figure().subplots()
    family.draw(axes, torch.tensor([[0.25, -0.5]], dtype=torch.float64), tasks)
    shown = {line.get_label(): np.asarray(line.get_xydata())[0] for line in axes.lines}
    assert shown["robot"] == pytest.approx([0.25, -0.5])
    assert shown["goal"] == pytest.approx(family.goal(tasks)[0].numpy())
    assert family.goal(tasks).abs().max() < axes.get_xlim()[1]

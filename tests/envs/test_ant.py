"""The ant's families: rewards by hand, contact forces, ends, and the peers' bugs."""

from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, make
from tests.envs.states import reward, state

MAML = ["AntVelMAML-v0", "AntDirMAML-v0", "AntGoalMAML-v0"]
ACTION = [1.0, -1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]  # |a|^2 = 2.25


def forces(*values: float) -> torch.Tensor:
    """Contact forces `[1, 14, 6]`, zero but for the first few numbers of body 3."""
    found = torch.zeros(1, 14, 6, dtype=torch.float64)
    found[0, 3, : len(values)] = torch.tensor(values, dtype=torch.float64)
    return found


def moved(name: str, x: float = 0.0, y: float = 0.0, *contact: float) -> tuple[Any, Any]:
    """States before and after a step that moves the torso by (x, y)."""
    family: Any = make(name)
    before = state(family, {0: 1.0, 1: 2.0}, cfrc_ext=forces())
    after = state(family, {0: 1.0 + x, 1: 2.0 + y}, cfrc_ext=forces(*contact))
    return before, after


def test_velocity_reward_by_hand():
    # 0.1 m in 0.05 s is 2 m/s; contact forces 5 -> 1 and 0.5: 1 + 0.25
    expected = 1.0 - abs(2.0 - 1.5) - 0.005 * 2.25 - 0.0005 * 1.25 + 0.05
    found = reward("AntVel-v0", {"velocity": 1.5}, *moved("AntVel-v0", 0.1, 0.3, 5.0, 0.5), ACTION)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_direction_reward_by_hand(direction):
    expected = direction * 2.0 - 0.5 * 2.25 - 0.0005 * 1.25 + 1.0
    states = moved("AntDir-v0", 0.1, 0.3, -5.0, 0.5)
    found = reward("AntDir-v0", {"direction": direction}, *states, ACTION)
    assert found == pytest.approx(expected, abs=1e-6)


def test_directions_are_signs_along_x_and_not_radians():
    # VariBAD uses +-1 as angles: both then reward y, and x with the same sign.
    sideways = moved("AntDir-v0", 0.0, 0.3)
    rewards = [reward("AntDir-v0", {"direction": d}, *sideways, [0.0] * 8) for d in (-1.0, 1.0)]
    assert rewards == pytest.approx([1.0, 1.0])
    forward = moved("AntDir-v0", 0.1, 0.0)
    rewards = [reward("AntDir-v0", {"direction": d}, *forward, [0.0] * 8) for d in (-1.0, 1.0)]
    assert rewards == pytest.approx([-1.0, 3.0])


def test_planar_direction_reward_by_hand():
    # (2, 6) m/s along (0.6, 0.8): 1.2 + 4.8
    expected = 6.0 - 0.5 * 2.25 + 1.0
    states = moved("AntDir2D-v0", 0.1, 0.3)
    found = reward("AntDir2D-v0", {"direction": [0.6, 0.8]}, *states, ACTION)
    assert found == pytest.approx(expected, abs=1e-6)


def test_goal_reward_is_the_city_block_distance():
    # at (1.1, 2.3), goal (-1, 3): 2.1 + 0.7
    expected = -2.8 - 0.1 * 2.25 - 0.0005 * 1.25
    states = moved("AntGoal-v0", 0.1, 0.3, 5.0, 0.5)
    found = reward("AntGoal-v0", {"goal": [-1.0, 3.0]}, *states, ACTION)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "task", "expected"),
    [
        ("AntVelMAML-v0", {"velocity": 1.5}, 1.0 - 1.0 + 0.05),  # 0.5 m/s
        ("AntDirMAML-v0", {"direction": -1.0}, -0.5 + 0.05),
        ("AntGoalMAML-v0", {"goal": [1.0, 2.0]}, 4.0 - (0.7 + 2.4) + 0.05),  # at (0.3, -0.4)
    ],
)
def test_rewards_of_the_maml_paper_by_hand(name, task, expected):
    family: Any = make(name)
    before = state(family, cfrc_ext=forces())
    after = state(
        family,
        cfrc_ext=forces(5.0, 0.5),
        center_of_mass=[0.3, -0.4, 0.5],
        center_of_mass_velocity=[0.5, 9.0, 9.0],
    )
    found = reward(name, task, before, after, ACTION)
    assert found == pytest.approx(expected - 0.005 * 2.25 - 0.0005 * 1.25, abs=1e-6)


def test_the_maml_paper_steps_0_02_seconds_from_rllabs_pose():
    for name in MAML:
        family: Any = make(name)
        assert family.dt == pytest.approx(0.02)
        env = TaskVectorEnv(family, 20, 10, threads=2)
        env.reset(seed=0)
        qpos: Any = env.engine.batch.qpos  # pyright: ignore[reportAttributeAccessIssue]
        pose = [0, 0, 0.55, 1, 0, 0, 0, 0, 1, 0, -1, 0, -1, 0, 1]
        np.testing.assert_allclose(qpos.mean(axis=0), pose, atol=0.005)  # 200 draws of 0.01 N(0, 1)
        assert env.single_observation_space.shape == (15 + 14 + 84 + 9 + 3,)


def engine_after(name: str, height: float, steps: int) -> Any:
    family: Any = make(name)
    env = TaskVectorEnv(family, 1, threads=1)
    env.reset(seed=0)
    engine: Any = env.engine
    engine.batch.qpos[0] = family.nominal["qpos0"].numpy()
    engine.batch.qpos[0, 2] = height
    engine.batch.qvel[0] = 0.0
    engine.batch.forward()
    for _ in range(steps):
        engine.step(torch.zeros(1, 8), None)
    return engine


def test_contact_forces_are_real():
    # With mujoco-py >= 2.0 they were zero everywhere; the peers' rewards and observations with
    # them.
    in_the_air = engine_after("AntDir-v0", 3.0, 2)
    assert in_the_air._state.cfrc_ext.abs().max() == 0.0
    standing = engine_after("AntDir-v0", 0.75, 60)
    found = standing._state.cfrc_ext[0]
    # at rest the ground carries the weight: vertical forces (last number) on the bodies sum to m g
    mass = float(standing.family.model.body_mass.sum())
    assert float(found[1:, 5].sum()) == pytest.approx(mass * 9.81, rel=0.05)


def test_contact_forces_cost_nothing_where_no_reward_uses_them():
    engine = engine_after("AntDynamics-v0", 0.75, 1)
    assert engine.family.model.nsensor == 0
    assert engine._stage == 0
    assert not engine.batch.persistent


def test_an_episode_ends_outside_the_height_limits_but_in_goal_tasks():
    for height, ends in ((0.19, True), (0.21, False), (0.99, False), (1.01, True)):
        for name in ("AntVel-v0", "AntDir-v0", "AntDir2D-v0", "AntDynamics-v0", *MAML):
            family: Any = make(name)
            assert bool(family.terminated(state(family, {2: height}), None)) is ends
        goal: Any = make("AntGoal-v0")
        assert not goal.terminated(state(goal, {2: height}), None)


@pytest.mark.parametrize(("name", "sees"), [("AntDir2D-v0", False), ("AntGoal-v0", True)])
def test_only_goal_tasks_see_the_position(name, sees):
    family: Any = make(name)
    here, there = (
        family.observation(state(family, {0: x, 1: x, 2: 0.5}), None) for x in (0.0, 7.0)
    )
    assert torch.equal(here, there) is not sees


def test_goals_fill_the_disc_evenly():
    goals = make("AntGoal-v0").sample(0, 0, 1000)["goal"]
    radius = goals.norm(dim=1)
    assert float(radius.max()) <= 3.0
    # uniform over the area: the mean of r^2 is R^2 / 2 = 4.5, with standard error 2.6 / sqrt(1000)
    assert float(radius.square().mean()) == pytest.approx(4.5, abs=0.33)


def test_tasks_of_the_plane_have_unit_directions():
    directions = make("AntDir2D-v0").sample(0, 0, 500)["direction"]
    np.testing.assert_allclose(directions.norm(dim=1), 1.0, rtol=1e-12)
    assert directions.mean(dim=0).abs().max() < 0.13  # 0 with standard error 0.03


def test_scaled_feet_touch_the_ground_where_nominal_ones_do_not():
    family: Any = make("AntDynamics-v0")
    tasks = Tasks.stack(
        [
            {key: value[0] for key, value in zip(t.names, map(t.__getitem__, t.names), strict=True)}
            for t in (family.named_task("normal"), family.named_task("hugefoot"))
        ]
    )
    env = TaskVectorEnv(family, 2, threads=1)
    env.reset(seed=0, options={"tasks": tasks})
    batch: Any = env.engine.batch  # pyright: ignore[reportAttributeAccessIssue]
    batch.qpos[:] = family.nominal["qpos0"].numpy()
    # feet reach 0.08 m below their axes, three times as large 0.24 m; the torso's centre at 0.2
    batch.qpos[:, 2] = 0.2
    contacts = [batch.get_data(i) for i in range(2)]
    mj_forward = mujoco.mj_forward  # pyright: ignore[reportAttributeAccessIssue]
    for index, data in enumerate(contacts):
        mj_forward(batch.get_model(index), data)
    assert contacts[1].ncon > contacts[0].ncon

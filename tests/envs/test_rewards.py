"""Rewards and ends of walker, swimmer and humanoid by hand, from the published formulas."""

from typing import Any

import mujoco
import numpy as np
import pytest
import torch

from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, make
from tests.envs.states import reward, state


def test_walker_velocity_by_hand():
    family: Any = make("Walker2dVel-v0")
    assert family.dt == pytest.approx(0.016)
    before, after = state(family, {0: 1.0}), state(family, {0: 1.08})  # 5 m/s
    action = [1.0, 0.5, 0.0, 0.0, 0.0, 0.0]  # |a|^2 = 1.25
    found = reward("Walker2dVel-v0", {"velocity": 7.0}, before, after, action)
    assert found == pytest.approx(-2.0 + 15.0 - 0.00125, abs=1e-6)


@pytest.mark.parametrize("direction", [-1.0, 1.0])
def test_walker_direction_by_hand(direction):
    family: Any = make("Walker2dDir-v0")
    before, after = state(family, {0: 1.0}), state(family, {0: 1.08})
    found = reward(
        "Walker2dDir-v0", {"direction": direction}, before, after, [1.0, 0.5, 0, 0, 0, 0]
    )
    assert found == pytest.approx(direction * 5.0 + 1.0 - 0.00125, abs=1e-6)


def test_swimmer_is_best_at_its_target_velocity():
    # ProMP's code has the sign wrong: there, the reward grows with the distance from the target.
    family: Any = make("SwimmerVel-v0")
    before = state(family)
    rewards = [
        reward(
            "SwimmerVel-v0", {"velocity": 0.15}, before, state(family, {0: 0.04 * v}), [1.0, 0.5]
        )
        for v in (0.05, 0.15, 0.3)
    ]
    cost = 0.0001 * 1.25
    assert rewards == pytest.approx([-0.1 - cost, -cost, -0.15 - cost], abs=1e-6)


def humanoid_forces(value: float) -> torch.Tensor:
    found = torch.zeros(1, 14, 6, dtype=torch.float64)
    found[0, 2, 5] = value
    return found


@pytest.mark.parametrize(("force", "impact"), [(200.0, 0.02), (10_000.0, 10.0)])
def test_humanoid_by_hand(force, impact):
    family: Any = make("HumanoidDir2D-v0")
    before = state(family, center_of_mass=[1.0, 1.0, 1.2], cfrc_ext=humanoid_forces(0.0))
    # (0.006, -0.003) m in 0.015 s is (0.4, -0.2) m/s; along (0.6, 0.8): 0.24 - 0.16 = 0.08 m/s
    after = state(family, center_of_mass=[1.006, 0.997, 1.2], cfrc_ext=humanoid_forces(force))
    action = [0.4, 0.2, *[0.0] * 15]  # |a|^2 = 0.2
    found = reward("HumanoidDir2D-v0", {"direction": [0.6, 0.8]}, before, after, action)
    # 5e-7 * 200^2 = 0.02; 5e-7 * 10000^2 = 50, capped at 10
    assert found == pytest.approx(1.25 * 0.08 - 0.02 - impact + 5.0, abs=1e-6)
    promp = 0.25 * (0.6 * 0.006 - 0.8 * 0.003) / 0.003  # as its code writes it
    assert promp == pytest.approx(1.25 * 0.08)


@pytest.mark.parametrize(
    ("height", "ends"), [(0.99, True), (1.01, False), (1.99, False), (2.01, True)]
)
def test_humanoid_ends_when_it_falls(height, ends):
    family: Any = make("HumanoidDir2D-v0")
    assert bool(family.terminated(state(family, {2: height}), None)) is ends


def test_humanoid_sees_real_contact_forces_at_the_new_state():
    family: Any = make("HumanoidDir2D-v0")
    env = TaskVectorEnv(family, 1, threads=1)
    env.reset(seed=0, options={"tasks": Tasks({"direction": [[1.0, 0.0]]})})
    for _ in range(15):
        observation, *_ = env.step(np.zeros((1, 17), np.float32))
    forces = observation[0, -78:]  # pyright: ignore[reportPossiblyUnboundVariable]
    assert np.abs(forces).max() > 10.0  # newtons, of a body of 40 kg on its feet


def test_humanoid_velocity_is_that_of_the_centre_of_mass_one_physics_step_ago():
    family: Any = make("HumanoidDir2D-v0")
    env = TaskVectorEnv(family, 1, threads=1)
    env.reset(seed=0, options={"tasks": Tasks({"direction": [[1.0, 0.0]]})})
    engine: Any = env.engine
    data = engine.batch.get_data(0)
    env.step(np.full((1, 17), 0.4, np.float32))
    data.ctrl[:] = np.float32(0.4)
    for _ in range(family.frame_skip - 1):
        mujoco.mj_step(family.model, data)  # pyright: ignore[reportAttributeAccessIssue]
    mujoco.mj_forward(family.model, data)  # pyright: ignore[reportAttributeAccessIssue]
    mass = family.model.body_mass
    centre = (mass[:, None] * data.xipos).sum(axis=0) / mass.sum()
    np.testing.assert_allclose(engine._state.sensor("center_of_mass")[0], centre, atol=1e-9)

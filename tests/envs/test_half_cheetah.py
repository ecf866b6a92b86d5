"""The half-cheetah families: their rewards by hand, from the published formulas."""

from typing import Any

import gymnasium
import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.simulation import MujocoFamily, MujocoState, TaskVectorEnv
from metarl.simulation.mujoco import MujocoEngine
from metarl.tasks import Tasks, make

VELOCITY = ["HalfCheetahVel-v0", "HalfCheetahVelMAML-v0"]
DIRECTION = ["HalfCheetahDir-v0", "HalfCheetahDirMAML-v0"]


@pytest.fixture(autouse=True)
def _log_elsewhere(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MuJoCo appends its warnings to a file in the working directory."""
    monkeypatch.chdir(tmp_path)


def _family(name: str) -> MujocoFamily:
    family = make(name)
    assert isinstance(family, MujocoFamily)
    return family


def _states(family: MujocoFamily, velocities: list[float]) -> tuple[MujocoState, MujocoState]:
    """States before and after a step at these velocities along x, everything else at rest."""
    count = len(velocities)
    before = torch.zeros(count, 9, dtype=torch.float64)
    after = before.clone()
    speed = torch.tensor(velocities, dtype=torch.float64)
    after[:, 0] = speed * family.dt
    sensors = torch.zeros(count, 3, dtype=torch.float64)
    sensors[:, 0] = speed
    # The torso's own velocity at the end of the step is in none of the formulas.
    wrong = torch.full((count, 9), 55.0, dtype=torch.float64)
    slices = {"center_of_mass_velocity": slice(0, 3)}

    def state(qpos: Tensor) -> MujocoState:
        return MujocoState({"qpos": qpos, "qvel": wrong, "sensordata": sensors}, slices)

    return state(before), state(after)


def _rewards(name: str, velocities: list[float], actions: list[list[float]], tasks: Tasks):
    family = _family(name)
    before, after = _states(family, velocities)
    return family.reward(before, after, torch.tensor(actions), tasks)


STILL = [0.0] * 6
HALF = [0.5, -0.5, 0.0, 0.0, 0.0, 0.0]  # |a|^2 = 0.25 + 0.25 = 0.5, and costs 0.05 * 0.5 = 0.025
FULL = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0]  # |a|^2 = 6, and costs 0.05 * 6 = 0.3


@pytest.mark.parametrize("name", VELOCITY)
def test_velocity_reward_by_hand(name):
    tasks = Tasks({"velocity": [1.5, 1.5, 1.5, 0.0]})
    rewards = _rewards(name, [1.5, 2.0, 0.5, -1.0], [STILL, STILL, HALF, FULL], tasks)
    # -|1.5 - 1.5|, -|2 - 1.5|, -|0.5 - 1.5| - 0.025, -|-1 - 0| - 0.3
    assert rewards.tolist() == pytest.approx([0.0, -0.5, -1.025, -1.3], abs=1e-7)


@pytest.mark.parametrize("name", DIRECTION)
def test_direction_reward_by_hand(name):
    tasks = Tasks({"direction": [1.0, -1.0, 1.0, -1.0]})
    rewards = _rewards(name, [2.0, 2.0, -0.5, -0.5], [STILL, STILL, HALF, FULL], tasks)
    # 2, -2, -0.5 - 0.025, 0.5 - 0.3
    assert rewards.tolist() == pytest.approx([2.0, -2.0, -0.525, 0.2], abs=1e-7)


@pytest.mark.parametrize("name", DIRECTION)
def test_plus_1_rewards_forward_motion_minus_1_backward_and_exactly_as_much(name):
    forward, backward = Tasks({"direction": [1.0] * 2}), Tasks({"direction": [-1.0] * 2})
    ahead = _rewards(name, [0.7, -0.7], [STILL] * 2, forward)
    back = _rewards(name, [0.7, -0.7], [STILL] * 2, backward)
    assert ahead[0] > 0 > ahead[1]
    assert torch.equal(ahead, -back)  # not cos(1 rad)


def _step_together(name: str, tasks: Tasks) -> tuple[np.ndarray, np.ndarray]:
    """Observations `[n, ...]` and rewards `[n]`: n tasks in one state, under one action."""
    env = TaskVectorEnv(_family(name), len(tasks), threads=1)
    env.reset(seed=0, options={"tasks": tasks})
    assert isinstance(env.engine, MujocoEngine)
    batch = env.engine.batch
    batch.qpos[:], batch.qvel[:] = batch.qpos[0].copy(), batch.qvel[0].copy()
    batch.forward()
    action = np.linspace(-1.0, 1.0, 6, dtype=np.float32)
    for _ in range(3):  # the first reward still looks back at the different starts
        observation, reward, *_ = env.step(np.tile(action, (len(tasks), 1)))
    return observation, reward  # pyright: ignore[reportPossiblyUnboundVariable]


@pytest.mark.parametrize("name", VELOCITY + DIRECTION)
def test_the_observation_does_not_show_the_task_and_the_reward_does(name):
    parameter = "velocity" if name in VELOCITY else "direction"
    values = [0.0, 1.0, 2.0] if name in VELOCITY else [-1.0, 1.0, -1.0]
    observation, reward = _step_together(name, Tasks({parameter: values}))
    assert np.array_equal(observation[0], observation[1])
    assert np.array_equal(observation[0], observation[2])
    if name in VELOCITY:
        assert len(set(reward.tolist())) == 3
    else:
        assert reward[0] == reward[2] != reward[1]


@pytest.mark.parametrize("name", ["HalfCheetahVel-v0", "HalfCheetahDir-v0"])
def test_the_position_along_x_is_not_observed(name):
    family = _family(name)
    state = MujocoState(
        {
            "qpos": torch.arange(9, dtype=torch.float64).unsqueeze(0),
            "qvel": 10.0 + torch.arange(9, dtype=torch.float64).unsqueeze(0),
        },
        {},
    )
    observation = family.observation(state, family.sample(0, 0, 1))
    assert observation.tolist() == [[*range(1, 9), *range(10, 19)]]


def test_a_step_of_the_velocity_family_is_gymnasiums_velocity_and_action():
    env = TaskVectorEnv(_family("HalfCheetahVel-v0"), 1, threads=1)
    env.reset(seed=0, options={"tasks": Tasks({"velocity": [2.0]})})
    assert isinstance(env.engine, MujocoEngine)
    batch = env.engine.batch
    peer = gymnasium.make("HalfCheetah-v5", forward_reward_weight=1.0).unwrapped
    peer.reset(seed=0)
    peer.set_state(batch.qpos[0].copy(), batch.qvel[0].copy())  # pyright: ignore[reportAttributeAccessIssue]
    action = np.full((1, 6), 0.5, np.float32)
    for _ in range(20):
        reward = env.step(action)[1]
        info = peer.step(action[0])[4]
        # |a|^2 = 6 * 0.25 = 1.5
        expected = -abs(info["x_velocity"] - 2.0) - 0.05 * 1.5
        assert reward[0] == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("name", VELOCITY + DIRECTION)
def test_an_episode_lasts_200_steps_and_is_never_terminated(name):
    env = TaskVectorEnv(_family(name), 1, threads=1)
    env.reset(seed=0)
    action = np.ones((1, 6), np.float32)
    for _ in range(199):
        _, _, terminated, truncated, _ = env.step(action)
        assert not terminated[0]
        assert not truncated[0]
    _, _, terminated, truncated, _ = env.step(action)
    assert truncated[0]
    assert not terminated[0]


@pytest.mark.parametrize(
    ("name", "low", "high", "beyond"),
    [("HalfCheetahVel-v0", 0.0, 3.0, 4.0), ("HalfCheetahVelMAML-v0", 0.0, 2.0, 3.0)],
)
def test_velocities_have_the_published_ranges(name, low, high, beyond):
    family = _family(name)
    velocity = family.sample(0, 0, 300)["velocity"]
    assert low <= velocity.min() < low + 0.05 * high
    assert 0.95 * high < velocity.max() <= high
    outside = family.split("ood")["velocity"]
    assert high <= outside.min()
    assert outside.max() <= beyond


def test_the_legacy_velocity_family_sees_the_torsos_position():
    family: Any = make("HalfCheetahVelLegacy-v0")
    assert family.horizon == 100
    env = TaskVectorEnv(family, 1, threads=1)
    observation, _ = env.reset(seed=0)
    action = np.full((1, 6), 0.5, np.float32)
    for _ in range(10):
        observation, *_ = env.step(action)
    data = env.engine.batch.get_data(0)  # pyright: ignore[reportAttributeAccessIssue]
    mujoco.mj_forward(family.model, data)  # pyright: ignore[reportAttributeAccessIssue]
    np.testing.assert_allclose(observation[0, -3:], data.body("torso").xpos, atol=1e-6)

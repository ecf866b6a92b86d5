"""The nominal bodies: bit for bit those of Gymnasium's v5 environments."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from metarl.simulation import TaskVectorEnv
from metarl.simulation.mujoco import MujocoEngine
from metarl.tasks import Tasks, make

NOMINAL = {
    "HalfCheetahRandParams-v0": "HalfCheetah-v5",
    "HalfCheetahDynamics-v0": "HalfCheetah-v5",
    "AntDir2D-v0": "Ant-v5",
    "AntDynamics-v0": "Ant-v5",
    "HopperRandParams-v0": "Hopper-v5",
    "Walker2dRandParams-v0": "Walker2d-v5",
    "HumanoidDir2D-v0": "Humanoid-v5",
    "SwimmerVel-v0": "Swimmer-v5",
}


def nominal_env(name: str) -> tuple[TaskVectorEnv, MujocoEngine]:
    """One environment whose task parameters are all 1: multipliers that change nothing."""
    family: Any = make(name)
    env = TaskVectorEnv(family, 1, threads=1)
    ones = {key: np.ones((1, *kind.shape)) for key, kind in family.parameters.items()}
    env.reset(seed=0, options={"tasks": Tasks(ones)})
    assert isinstance(env.engine, MujocoEngine)
    return env, env.engine


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Gymnasium, about float precision
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("name", "gymnasium_id"), NOMINAL.items())
def test_200_steps_of_float32_actions_are_bit_identical_with_gymnasium(name, gymnasium_id, seed):
    _, engine = nominal_env(name)
    peer: Any = gymnasium.make(gymnasium_id).unwrapped
    peer.reset(seed=seed)
    engine.batch.reset()
    engine.batch.qpos[0], engine.batch.qvel[0] = peer.data.qpos, peer.data.qvel
    engine.batch.forward()
    actions = np.random.default_rng(seed)
    low, high = peer.action_space.low, peer.action_space.high
    touched = 0
    for _ in range(200):
        action = actions.uniform(low, high).astype(np.float32)
        peer.do_simulation(action, peer.frame_skip)
        engine.step(torch.from_numpy(action[None]), None)
        np.testing.assert_array_equal(engine.batch.qpos[0], peer.data.qpos)
        np.testing.assert_array_equal(engine.batch.qvel[0], peer.data.qvel)
        touched += peer.data.ncon > 0
    assert name.startswith("Swimmer") or touched > 20, "the comparison must include contacts"


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("name", "gymnasium_id"), NOMINAL.items())
def test_observation_and_start_have_gymnasiums_layout(name, gymnasium_id):
    env, engine = nominal_env(name)
    no_contacts = {"include_cfrc_ext_in_observation": False} if "Ant" in name else {}
    peer: Any = gymnasium.make(gymnasium_id, **no_contacts).unwrapped
    expected, _ = peer.reset(seed=3)
    engine.batch.qpos[0], engine.batch.qvel[0] = peer.data.qpos, peer.data.qvel
    engine.batch.forward()
    ours = engine.family.observation(engine._read(), engine._tasks)[0]
    if (
        "Humanoid" in name
    ):  # Gymnasium's derived fields are those of before the first reset's forward
        ours, expected = ours[:45], expected[:45]
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-12)
    assert env.single_observation_space.shape == peer.observation_space.shape


@pytest.mark.parametrize(
    ("name", "noise", "normal"),
    [
        ("HalfCheetahVel-v0", 0.1, True),
        ("AntDir-v0", 0.1, True),
        ("HopperRandParams-v0", 0.005, False),
        ("Walker2dVel-v0", 0.005, False),
        ("HumanoidDir2D-v0", 0.01, False),
        ("SwimmerVel-v0", 0.1, False),
    ],
)
def test_starts_are_spread_as_gymnasiums(name, noise, normal):
    family: Any = make(name)
    env = TaskVectorEnv(family, 50, 20, threads=2)
    env.reset(seed=0)
    batch: Any = env.engine.batch  # pyright: ignore[reportAttributeAccessIssue]
    spread = np.abs(batch.qpos - family.nominal["qpos0"].numpy()).max()
    assert 0.95 * noise < spread <= noise
    if normal:
        # standard deviation 0.1; 1000 draws of at least 9 numbers
        assert batch.qvel.std() == pytest.approx(noise, rel=0.05)
    else:
        assert 0.95 * noise < np.abs(batch.qvel).max() <= noise

"""The lunar lander: LunarLander-v3 under the task's gravity and wind, and its published reward."""

import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch

from metarl.errors import UserError
from metarl.listing import as_text
from metarl.simulation import GymnasiumFamily, TaskVectorEnv
from metarl.simulation.gymnasium import GymnasiumEngine
from metarl.tasks import Tasks, make

CALM = {"gravity": -10.0, "wind_power": 0.0, "turbulence_power": 0.0}


def _family() -> GymnasiumFamily:
    family = make("LunarLanderRandParams-v0")
    assert isinstance(family, GymnasiumFamily)
    return family


def _env(tasks: Tasks, episodes: int = 1, seed: int = 0) -> TaskVectorEnv:
    env = TaskVectorEnv(_family(), len(tasks), episodes)
    env.reset(seed=seed, options={"tasks": tasks})
    return env


def _tasks(*changes: dict[str, float]) -> Tasks:
    return Tasks.stack([{**CALM, **change} for change in changes])


def _same_start(env: TaskVectorEnv) -> np.ndarray:
    """First observations of episodes from one seed."""
    engine = env.engine
    assert isinstance(engine, GymnasiumEngine)
    return engine.copy_state(0).numpy()


def _plain(tasks: Tasks, index: int) -> gymnasium.Env:
    """Gymnasium's own lander, with the constants of a task."""
    options: Any = {name: float(tasks[name][index]) for name in tasks.names}
    return gymnasium.make("LunarLander-v3", enable_wind=True, **options)


def test_it_is_gymnasiums_lander_with_these_constants():
    tasks = _family().sample(1, 0, 4)
    env = _env(tasks)
    first = env.reset()[0]
    seeds = env.engine._seeds  # pyright: ignore[reportAttributeAccessIssue]
    env.action_space.seed(1)
    actions = [env.action_space.sample() for _ in range(300)]
    steps = [env.step(action) for action in actions]
    for i in range(4):
        peer = _plain(tasks, i)
        assert np.array_equal(peer.reset(seed=int(seeds[i]))[0], first[i])
        for action, step in zip(actions, steps, strict=True):
            assert action is not None
            expected = peer.step(action[i])
            assert np.array_equal(step[0][i], expected[0])
            assert (step[1][i], step[2][i]) == (expected[1], expected[2])
            if expected[2]:
                break
        else:
            pytest.fail("300 random actions leave no lander in the air")


def test_the_reward_is_the_published_formula():
    env = _env(_family().sample(2, 0, 1))
    before = env.reset()[0][0].astype(np.float64)
    fuel = [0.0, 0.03, 0.3, 0.03]
    for step in range(40):
        observation, reward, *_ = env.step(np.array([step % 4]))
        after = observation[0].astype(np.float64)
        expected = _shaping(after) - _shaping(before) - fuel[step % 4]
        assert reward[0] == pytest.approx(expected, abs=1e-4)
        before = after


def _shaping(observation: np.ndarray) -> float:
    x, y, vx, vy, angle, _, left, right = observation
    return float(
        -100 * np.hypot(x, y) - 100 * np.hypot(vx, vy) - 100 * abs(angle) + 10 * left + 10 * right
    )


def test_an_engine_off_lander_falls_and_crashes_at_minus_100():
    env = _env(_tasks({}))
    for _ in range(300):
        _, reward, terminated, *_ = env.step(np.array([0]))
        if terminated[0]:
            break
    assert terminated[0]  # pyright: ignore[reportPossiblyUnboundVariable]
    assert reward[0] == -100.0  # pyright: ignore[reportPossiblyUnboundVariable]


def test_gravity_is_the_acceleration_of_free_fall():
    env = _env(_tasks({}, {"gravity": -5.0}))
    before = _same_start(env)
    for _ in range(25):
        after, *_ = env.step(np.array([0, 0]))
    # 25 steps of 0.02 s; a unit of vy is 50 / (200 / 30) = 7.5 m/s
    fallen = (after[:, 3] - before[:, 3]) * 7.5  # pyright: ignore[reportPossiblyUnboundVariable]
    assert fallen.tolist() == pytest.approx([-5.0, -2.5], rel=1e-3)


def test_wind_pushes_and_turbulence_turns():
    env = _env(_tasks({}, {"wind_power": 20.0}, {"turbulence_power": 2.0}))
    _same_start(env)
    for _ in range(20):
        observation, *_ = env.step(np.zeros(3, dtype=np.int64))
    pushed, turned = (np.abs(observation - observation[0])[:, i] for i in (2, 5))  # pyright: ignore[reportPossiblyUnboundVariable]
    assert pushed[1] > 10 * pushed[2]
    assert turned[2] > 1e-3
    assert pushed[1] > 1e-2


def test_the_wind_of_an_episode_is_drawn_from_its_seed():
    tasks = _tasks(*[{"wind_power": 15.0, "turbulence_power": 1.5}] * 2)
    actions = np.array([0, 0])

    def run(seed: int) -> np.ndarray:
        env = _env(tasks, seed=seed)
        return np.stack([env.step(actions)[0] for _ in range(30)])

    assert np.array_equal(run(3), run(3))
    assert not np.array_equal(run(3), run(4))


def test_the_first_observation_shows_no_more_than_one_step_of_the_task():
    first = _same_start(_env(_tasks({}, {"gravity": -5.0}, {"wind_power": 20.0})))
    # 5 m/s^2 of gravity for 0.02 s, in units of 7.5 m/s
    assert first[1, 3] - first[0, 3] == pytest.approx(0.1 / 7.5, rel=1e-3)
    others = [0, 2, 4, 5, 6, 7]
    assert first[1, others] == pytest.approx(first[0, others], abs=1e-6)
    assert np.abs(first[2] - first[0]).max() < 0.02


def test_parameters_stay_within_what_gymnasium_admits():
    family = _family()
    train, outside = family.sample(0, 0, 300), family.split("ood")
    assert -12.0 < train["gravity"].min() < -11.2
    assert -4.3 < train["gravity"].max() <= -4.0
    assert outside["gravity"].min() >= -4.0
    assert outside["gravity"].max() <= -2.0
    for name, high in (("wind_power", 20.0), ("turbulence_power", 2.0)):
        for tasks in (train, outside):
            assert tasks[name].min() >= 0.0
            assert tasks[name].max() <= high
    assert torch.unique(train["wind_power"]).numel() == 300


def test_an_episode_is_cut_after_10_seconds():
    env = _env(_tasks({"gravity": -2.0}))
    lander: Any = env.engine.vector_env.envs[0]._env.unwrapped  # pyright: ignore[reportAttributeAccessIssue]
    lander.world.gravity = (0, 0)  # it hovers, wide awake
    for body in (lander.lander, *lander.legs):
        body.linearVelocity, body.angularVelocity, body.sleepingAllowed = (0, 0), 0, False
    cuts = [env.step(np.array([0]))[2:4] for _ in range(500)]
    assert not any(terminated.any() for terminated, _ in cuts)
    assert [bool(truncated.any()) for _, truncated in cuts] == [False] * 499 + [True]


def test_without_box2d_it_is_listed_and_says_what_to_install(monkeypatch):
    for name in list(sys.modules):
        if name.startswith(("Box2D", "gymnasium.envs.box2d")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "Box2D", None)  # as if it were not installed
    assert "LunarLanderRandParams-v0" in as_text()
    family = _family()
    assert len(family.split("test")) == 100
    with pytest.raises(UserError, match=r'pip install "gymnasium\[box2d\]"') as error:
        TaskVectorEnv(family, 1)
    assert str(error.value).startswith(
        "LunarLanderRandParams-v0: LunarLander-v3: Box2D is not inst"
    )
    assert "\n" not in str(error.value)

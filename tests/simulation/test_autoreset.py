"""`AutoresetVectorEnv`: ends and resets as Gymnasium's own vector environments have them."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from torch import Tensor

from metarl.errors import UserError
from metarl.simulation import TensorFamily
from metarl.simulation.autoreset import AutoresetVectorEnv, make_vector_env
from metarl.simulation.single_env import SingleTaskEnv
from metarl.tasks import Tasks, TaskStreams, Uniform

MODES = ["next_step", "same_step", "disabled"]


class Counter(TensorFamily):
    """Adds the action to the state; ends at `limit`, fails on NaN; starts at 0."""

    name = "Counter-v0"
    parameters = {"limit": Uniform(1.0, 100.0), "offset": Uniform(0.0, 1.0, (2,))}
    horizon = 5
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-100.0, 100.0, (1,), np.float32)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return torch.zeros(len(tasks), 1, dtype=torch.float64)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + action

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after[:, 0] + tasks["offset"][:, 1]

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0] >= tasks["limit"]


TASKS = [
    {"limit": 2.0, "offset": [0.0, 0.25]},
    {"limit": 3.0, "offset": [0.0, 0.5]},
    {"limit": 90.0, "offset": [1.0, 0.75]},
]


def _env(mode: str = "next_step", episodes: int = 1) -> AutoresetVectorEnv:
    env = make_vector_env(3 * episodes, Counter(), TASKS, episodes, autoreset_mode=mode)
    env.reset(seed=0)
    return env


def _actions(value: float, count: int = 3) -> np.ndarray:
    return np.full((count, 1), value, dtype=np.float32)


def _same(ours: Any, theirs: Any) -> None:
    """Equal in structure, types and values."""
    assert type(ours) is type(theirs)
    if isinstance(ours, dict):
        assert ours.keys() == theirs.keys()
        for key in ours:
            _same(ours[key], theirs[key])
    elif isinstance(ours, tuple) or (isinstance(ours, np.ndarray) and ours.dtype == object):
        for one, other in zip(ours, theirs, strict=True):
            _same(one, other)
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize("mode", ["next_step", "same_step"])
def test_everything_is_as_in_gymnasiums_own_vector_environment(mode: str):
    ours = make_vector_env(3, Counter(), TASKS, autoreset_mode=mode)
    members = [lambda task=task: SingleTaskEnv(Counter(), task=task) for task in TASKS]
    theirs = SyncVectorEnv(members, autoreset_mode=ours.autoreset_mode)
    assert ours.metadata["autoreset_mode"] == theirs.metadata["autoreset_mode"]
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    _same(ours.reset(seed=0), theirs.reset(seed=0))
    ends = 0
    for step in range(25):
        # 0.75 a step: limits are reached after 3 and 4 steps, the horizon after 5
        actions = _actions(0.75)
        if step == 11:
            actions[2] = np.nan
        one, other = ours.step(actions), theirs.step(actions)
        _same(one, other)
        ends += int((one[2] | one[3]).sum())
    assert ends > 10
    mask = np.array([True, False, True])
    _same(
        ours.reset(options={"reset_mask": mask}), theirs.reset(options={"reset_mask": mask.copy()})
    )
    for _ in range(6):
        _same(ours.step(_actions(0.75)), theirs.step(_actions(0.75)))


def test_all_ends_in_one_step_are_as_in_gymnasiums_own_vector_environment():
    ours = make_vector_env(3, Counter(), TASKS, autoreset_mode="same_step")
    members = [lambda task=task: SingleTaskEnv(Counter(), task=task) for task in TASKS]
    theirs = SyncVectorEnv(members, autoreset_mode=AutoresetMode.SAME_STEP)
    _same(ours.reset(seed=0), theirs.reset(seed=0))
    _same(ours.step(_actions(95.0)), theirs.step(_actions(95.0)))
    _same(ours.step(_actions(1.0)), theirs.step(_actions(1.0)))


def test_next_step_ignores_the_action_after_an_end():
    env = _env("next_step")
    observation, reward, terminated, truncated, _ = env.step(_actions(2.0))
    assert observation[:, 0].tolist() == [2.0, 2.0, 2.0]
    assert terminated.tolist() == [True, False, False]
    observation, reward, terminated, truncated, info = env.step(_actions(2.0))
    # the first starts anew; the second adds up to 4 and ends; the third goes on
    assert observation[:, 0].tolist() == [0.0, 4.0, 4.0]
    assert reward.tolist() == [0.0, 4.5, 4.75]
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert info["_failed"].tolist() == [False, True, True]
    assert env.step(_actions(2.0))[0][:, 0].tolist() == [2.0, 0.0, 6.0]


def test_same_step_gives_the_last_observation_in_the_info():
    env = _env("same_step")
    observation, reward, terminated, _, info = env.step(_actions(2.0))
    assert observation[:, 0].tolist() == [0.0, 2.0, 2.0]
    assert reward.tolist() == [2.25, 2.5, 2.75]
    assert terminated.tolist() == [True, False, False]
    assert info["final_obs"][0].tolist() == [2.0]
    assert info["final_obs"][1] is None
    assert info["_final_obs"].tolist() == [True, False, False]
    assert info["final_info"]["task"]["limit"].tolist() == [2.0, 0.0, 0.0]
    assert "final_obs" not in env.step(_actions(0.5))[4]


def test_disabled_waits_for_a_reset_mask():
    env = _env("disabled")
    _, _, terminated, _, _ = env.step(_actions(2.0))
    observation, reward, *_ = env.step(_actions(0.5))
    assert observation[:, 0].tolist() == [2.0, 2.5, 2.5]
    assert reward[0] == 0.0
    observation, info = env.reset(options={"reset_mask": terminated})
    assert observation[:, 0].tolist() == [0.0, 2.5, 2.5]
    assert info["_task"].tolist() == [True, False, False]


@pytest.mark.parametrize("mode", MODES)
def test_environments_are_task_major_and_info_holds_their_tasks(mode: str):
    env = _env(mode, episodes=2)
    assert env.metadata["autoreset_mode"].name.lower() == mode
    _, info = env.reset(seed=1)
    assert info["task"]["limit"].tolist() == [2.0, 2.0, 3.0, 3.0, 90.0, 90.0]
    assert info["task"]["offset"].shape == (6, 2)
    _, _, terminated, _, info = env.step(_actions(2.0, 6))
    assert terminated.tolist() == [True, True, False, False, False, False]
    info["task"]["limit"][:] = 77.0
    info = env.step(_actions(0.5, 6))[4]
    assert info["task"]["limit"].tolist() == [2.0, 2.0, 3.0, 3.0, 90.0, 90.0]


def test_without_tasks_a_reset_with_a_seed_draws_them():
    env = make_vector_env(4, "HalfCheetahVel-v0", episodes=2, threads=1)

    def velocities(seed: int | None) -> list[float]:
        return env.reset(seed=seed)[1]["task"]["velocity"].tolist()

    first = velocities(3)
    expected = env.family.sample(3, 0, 2)["velocity"].tolist()
    assert first == [expected[0], expected[0], expected[1], expected[1]]
    assert velocities(None) == first
    assert velocities(4) != first
    assert velocities(3) == first
    other = make_vector_env(4, "HalfCheetahVel-v0", episodes=2, threads=1)
    mine, others = env.reset(seed=3)[0], other.reset(seed=3)[0]
    assert np.array_equal(mine, others)
    assert np.array_equal(env.reset()[0], other.reset()[0])


def test_without_a_seed_two_environments_differ():
    drawn = [make_vector_env(2, Counter()).reset()[1]["task"]["limit"].tolist() for _ in "ab"]
    assert drawn[0] != drawn[1]


def test_given_tasks_stay_when_a_seed_is_given():
    env = _env()
    assert env.reset(seed=9)[1]["task"]["limit"].tolist() == [2.0, 3.0, 90.0]
    env.set_tasks([*TASKS[1:], TASKS[0]])
    with pytest.raises(UserError, match="reset comes before the first step, and after set_tasks"):
        env.step(_actions(1.0))
    assert env.reset()[1]["task"]["limit"].tolist() == [3.0, 90.0, 2.0]
    _, info = env.reset(options={"tasks": TASKS})
    assert info["task"]["limit"].tolist() == [2.0, 3.0, 90.0]


def test_gymnasiums_wrappers_count_the_episodes_returns():
    env = RecordEpisodeStatistics(_env())
    env.reset(seed=0)
    env.step(_actions(1.0))
    info = env.step(_actions(1.0))[4]
    # rewards of the first: 1.25 and 2.25
    assert info["episode"]["r"][0] == 3.5
    assert info["_episode"].tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"num_envs": 5, "episodes": 2}, "num_envs must be a multiple of episodes, got 5 and 2"),
        ({"num_envs": 0}, "num_envs must be a multiple"),
        ({"num_envs": 4, "tasks": TASKS}, "tasks times episodes, 3 x 1, got 4"),
        ({"num_envs": 3, "tasks": TASKS[0]}, "a task of Counter-v0 maps limit, offset to numbers"),
        ({"num_envs": 3, "autoreset_mode": "never"}, "'never'; known: next_step, same_step"),
    ],
)
def test_a_mistake_is_answered_with_one_line(settings: dict[str, Any], line: str):
    with pytest.raises(UserError, match=line):
        make_vector_env(family=Counter(), **settings)


def test_a_picture_of_every_environment():
    env = make_vector_env(3, Counter(), TASKS, render_mode="rgb_array")
    env.reset(seed=0)
    pictures = env.render()
    assert pictures is not None
    assert [picture.shape[2] for picture in pictures] == [3, 3, 3]
    assert _env().render() is None

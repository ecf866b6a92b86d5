"""`SingleTaskEnv`: tasks, seeds and ends of one environment behind Gymnasium's interface."""

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.error import ResetNeeded
from torch import Tensor

from metarl.errors import UserError
from metarl.simulation import TaskVectorEnv, TensorFamily
from metarl.simulation.single_env import SingleTaskEnv
from metarl.tasks import TaskDistribution, Tasks, TaskStreams, Uniform, make


class Counter(TensorFamily):
    """Counts what was chosen, from a random start; ends at `limit`."""

    name = "Counter-v0"
    parameters = {"limit": Uniform(1.0, 100.0), "offset": Uniform(0.0, 1.0, (2,))}
    horizon = 4
    observation_space = gymnasium.spaces.Discrete(1000)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return random.integers(10).to(torch.float64)[:, None]

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + action[:, None]

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0]

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return tasks["offset"].sum(dim=1)

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0] >= tasks["limit"]


GOAL = {"goal": [0.3, 0.4]}
STAY = np.zeros(2, dtype=np.float32)


def _point(**settings: Any) -> SingleTaskEnv:
    return SingleTaskEnv("PointNavigation-v0", **settings)


def _counter(limit: float = 100.0) -> SingleTaskEnv:
    return SingleTaskEnv(Counter(), task={"limit": limit, "offset": [0.25, 0.5]})


def test_it_steps_the_given_task_and_info_says_which():
    env = _point(task=GOAL)
    observation, info = env.reset(seed=0)
    assert observation.tolist() == [0.0, 0.0]
    assert info["task"]["goal"].tolist() == [0.3, 0.4]
    _, reward, terminated, truncated, info = env.step(STAY)
    # (0, 0) to (0.3, 0.4): a 3-4-5 triangle
    assert reward == pytest.approx(-0.5)
    assert (terminated, truncated, info["failed"]) == (False, False, False)
    assert info["task"]["goal"].tolist() == [0.3, 0.4]


def test_a_task_given_to_reset_stays_until_another_is_given():
    env = _point(task=GOAL)
    other = {"goal": [0.1, 0.2]}
    assert env.reset(options={"task": other})[1]["task"]["goal"].tolist() == [0.1, 0.2]
    assert env.reset(seed=1)[1]["task"]["goal"].tolist() == [0.1, 0.2]
    fresh = [env.reset(options={"task": None})[1], env.reset()[1]]
    assert fresh[0]["task"]["goal"].tolist() != fresh[1]["task"]["goal"].tolist()


def test_without_a_task_every_reset_draws_a_fresh_one_by_the_seed():
    env = SingleTaskEnv("HalfCheetahVel-v0")
    drawn = [env.reset(seed=5)[1]["task"]["velocity"]]
    drawn += [env.reset()[1]["task"]["velocity"] for _ in range(2)]
    family = make("HalfCheetahVel-v0")
    assert drawn == [family.sample(5, episode, 1)["velocity"].item() for episode in range(3)]
    assert len(set(drawn)) == 3


def test_a_seed_fixes_all_episodes_after_it_and_its_absence_none():
    def starts(env: SingleTaskEnv, seed: int | None) -> list[list[float]]:
        return [env.reset(seed=seed)[0].tolist(), env.reset()[0].tolist()]

    one, other = SingleTaskEnv("HalfCheetahVel-v0"), SingleTaskEnv("HalfCheetahVel-v0")
    assert starts(one, None) != starts(other, None)
    seeded = starts(one, 7)
    assert seeded[0] != seeded[1]
    assert seeded == starts(other, 7)
    assert seeded != starts(other, 8)


def test_it_is_the_first_environment_of_the_vector_one_with_the_same_seed():
    env = SingleTaskEnv("HalfCheetahVel-v0")
    vector = TaskVectorEnv(env.family, tasks=3, threads=1)
    first = vector.reset(seed=4)[0][0]
    assert env.reset(seed=4)[0].tolist() == first.tolist()
    action = np.linspace(-1.0, 1.0, 6, dtype=np.float32)
    for _ in range(5):
        ours, batch = env.step(action), vector.step(np.stack([action] * 3))
        assert ours[0].tolist() == batch[0][0].tolist()
        assert ours[1] == batch[1][0]


def test_discrete_actions_and_observations_are_scalars():
    env = _counter()
    start, info = env.reset(seed=0)
    assert type(start) is np.int64
    assert info["task"]["limit"] == 100.0
    assert info["task"]["offset"].tolist() == [0.25, 0.5]
    for action, total in ((2, 2), (np.int64(1), 3), (np.array(2), 5)):
        observation, reward, *_ = env.step(action)
        assert observation == start + total
        assert observation in env.observation_space
        assert reward == 0.75


def test_the_horizon_truncates_and_the_task_terminates():
    env = _counter(limit=100.0)
    env.reset(seed=0)
    assert [env.step(1)[2:4] for _ in range(4)] == [(False, False)] * 3 + [(False, True)]
    env = _counter(limit=1.0)
    env.reset(seed=0)
    assert env.step(2)[2:4] == (True, False)


def test_a_step_before_the_first_reset_or_after_the_end_is_refused():
    env = _counter(limit=1.0)
    with pytest.raises(ResetNeeded, match="reset comes before step"):
        env.step(1)
    with pytest.raises(ResetNeeded, match="from the first reset on"):
        _ = env.task
    env.reset(seed=0)
    env.step(2)
    with pytest.raises(ResetNeeded, match="the episode has ended"):
        env.step(1)
    env.reset()
    env.step(2)


def test_nothing_returned_is_shared_with_later_returns():
    env = _point(task=GOAL)
    observation, info = env.reset(seed=0)
    observation[:] = 77.0
    info["task"]["goal"][:] = 77.0
    observation, reward, _, _, info = env.step(STAY)
    assert observation.tolist() == [0.0, 0.0]
    assert reward == pytest.approx(-0.5)
    assert info["task"]["goal"].tolist() == [0.3, 0.4]


def test_options_go_to_the_family():
    class Sized(Counter):
        def __init__(self, horizon: int = 4):
            self.horizon = horizon

    env = SingleTaskEnv(Sized(horizon=2))
    env.reset(seed=0)
    assert [env.step(0)[3] for _ in range(2)] == [False, True]
    with pytest.raises(UserError, match="Counter-v0 is made already and takes no arms"):
        SingleTaskEnv(Counter(), arms=10)
    with pytest.raises(UserError, match="does not take these options: arms; it takes none"):
        _point(arms=10)


@pytest.mark.parametrize(
    ("task", "line"),
    [
        ({"velocity": 1.0}, "has the task parameters goal; got velocity"),
        ({"goal": 1.0}, r"task parameter goal .* has shape \(2,\), got \(\)"),
        ({"goal": [0.1, float("nan")]}, "goal of PointNavigation-v0 must be finite"),
        ({"goal": ["far", "away"]}, "a task of PointNavigation-v0 maps goal to numbers; got"),
        ({}, "a task of PointNavigation-v0 maps goal to numbers; got"),
        ("far", "a task of PointNavigation-v0 maps goal to numbers; got"),
    ],
)
def test_a_wrong_task_is_answered_with_one_line(task: Any, line: str):
    with pytest.raises(UserError, match=line):
        _point(task=task)
    with pytest.raises(UserError, match=line) as caught:
        _point().reset(options={"task": task})
    assert "\n" not in str(caught.value)


def test_wrong_options_and_actions_are_answered_with_one_line():
    env = _point(task=GOAL)
    with pytest.raises(UserError, match="takes the option task; got tasks"):
        env.reset(options={"tasks": [GOAL]})
    env.reset()
    with pytest.raises(UserError, match=r"has shape \(2,\), got \(\)"):
        env.step(0.1)


def test_a_family_without_an_environment_is_refused():
    family: Any = type("Bare", (TaskDistribution,), {"name": "Bare-v0"})()
    with pytest.raises(UserError, match="Bare-v0 has no environment"):
        SingleTaskEnv(family)


def test_pictures_only_in_the_render_mode():
    env = _point(task=GOAL, render_mode="rgb_array")
    env.reset(seed=0)
    picture = env.render()
    assert picture is not None
    assert (picture.dtype, picture.shape[2]) == (np.uint8, 3)
    env.close()
    silent = _point(task=GOAL)
    silent.reset(seed=0)
    assert silent.render() is None


def test_a_video_of_a_robot_runs_at_its_own_speed():
    # a time step of the half-cheetah is 0.05 s, of the MAML paper's 0.01 s
    assert SingleTaskEnv("HalfCheetahVel-v0").metadata["render_fps"] == 20
    assert SingleTaskEnv("HalfCheetahVelMAML-v0").metadata["render_fps"] == 100

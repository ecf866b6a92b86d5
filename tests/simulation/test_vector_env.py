"""`TaskVectorEnv`: when episodes start and end, and what an ended one still gives."""

import copy

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode
from torch import Tensor

from metarl.errors import UserError
from metarl.simulation import TaskVectorEnv, TensorFamily
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import Choice, Tasks, TaskStreams, Uniform, make


class Counter(TensorFamily):
    """Adds the action to the state; ends at `limit`; the reward is the state, a view of it."""

    name = "Counter-v0"
    parameters = {"limit": Uniform(1.0, 100.0)}
    horizon = 4
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-100.0, 100.0, (1,), np.float32)
    observation_of_13 = 13.0

    def reset(self, random: TaskStreams, tasks: Tasks) -> Tensor:
        return torch.zeros(len(tasks), 2, dtype=torch.float64)

    def transition(
        self, state: Tensor, action: Tensor, tasks: Tasks, random: TaskStreams
    ) -> Tensor:
        return state + action

    def observation(self, state: Tensor, tasks: Tasks) -> Tensor:
        return torch.where(state == 13.0, self.observation_of_13, state)

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        return after[:, 0]

    def terminated(self, state: Tensor, tasks: Tasks) -> Tensor:
        return state[:, 0] >= tasks["limit"]


def _family(name: str) -> SimulatedFamily:
    family = make(name)
    assert isinstance(family, SimulatedFamily)
    return family


def _env(limits: list[float], episodes: int = 1, family: TensorFamily | None = None):
    env = TaskVectorEnv(family or Counter(), len(limits), episodes)
    env.set_tasks(Tasks({"limit": limits}))
    env.reset(seed=0)
    return env


def _actions(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32).reshape(-1, 1)


def test_environments_are_task_major():
    env = _env([1.0, 9.0], episodes=3)
    _, _, terminated, _, _ = env.step(_actions(*[2.0] * 6))
    assert terminated.tolist() == [True, True, True, False, False, False]


def test_an_episode_ends_by_the_task_or_is_cut_at_the_horizon():
    env = _env([2.0, 4.0, 9.0])
    ends = [env.step(_actions(1.0, 1.0, 1.0))[2:4] for _ in range(5)]
    # state 1, 2, 3, 4 after four steps: task 0 ends at 2, task 1 at 4 on the horizon, task 2 never
    terminated = [end[0].tolist() for end in ends]
    truncated = [end[1].tolist() for end in ends]
    nobody = [False, False, False]
    assert terminated == [nobody, [True, False, False], nobody, [False, True, False], nobody]
    assert truncated == [nobody, nobody, nobody, [False, False, True], nobody]


def test_an_ended_episode_gives_reward_0_repeats_its_observation_and_does_not_move():
    env = _env([2.0, 9.0])
    assert env.step(_actions(3.0, 1.0))[1].tolist() == [3.0, 1.0]
    observation, reward, terminated, truncated, _ = env.step(_actions(5.0, 1.0))
    assert observation.tolist() == [[3.0, 3.0], [2.0, 2.0]]
    assert reward.tolist() == [0.0, 2.0]
    assert not terminated.any()
    assert not truncated.any()
    assert env.engine._state[:, 0].tolist() == [3.0, 2.0]  # pyright: ignore[reportAttributeAccessIssue]
    assert env.active.tolist() == [False, True]


def test_reset_mask_starts_only_those_episodes():
    env = _env([2.0, 9.0])
    env.step(_actions(3.0, 1.0))
    observation, _ = env.reset(options={"reset_mask": np.array([True, False])})
    assert observation.tolist() == [[0.0, 0.0], [1.0, 1.0]]
    assert env.active.tolist() == [True, True]
    steps = [env.step(_actions(0.25, 0.25)) for _ in range(4)]
    # the second episode has one of its four steps behind it, the first none
    assert [step[3].tolist() for step in steps] == [
        [False, False],
        [False, False],
        [False, True],
        [True, False],
    ]


def test_an_empty_reset_mask_starts_nothing():
    env = _env([2.0, 9.0])
    env.step(_actions(3.0, 1.0))
    observation, _ = env.reset(options={"reset_mask": np.array([False, False])})
    assert observation.tolist() == [[3.0, 3.0], [1.0, 1.0]]
    assert env.active.tolist() == [False, True]


def test_a_running_episode_can_be_started_anew():
    env = _env([9.0, 9.0])
    env.step(_actions(1.0, 1.0))
    assert env.reset()[0].tolist() == [[0.0, 0.0], [0.0, 0.0]]
    assert [env.step(_actions(1.0, 1.0))[3].any() for _ in range(4)] == [False, False, False, True]


def test_set_tasks_ends_all_episodes():
    env = _env([9.0, 9.0])
    env.set_tasks(Tasks({"limit": [5.0, 6.0]}))
    assert env.active.tolist() == [False, False]
    _, reward, terminated, truncated, _ = env.step(_actions(7.0, 7.0))
    assert reward.tolist() == [0.0, 0.0]
    assert not terminated.any()
    assert not truncated.any()
    env.reset()
    assert env.step(_actions(5.0, 5.0))[2].tolist() == [True, False]


def test_tasks_can_be_given_to_reset():
    env = _env([9.0, 9.0])
    env.reset(options={"tasks": Tasks({"limit": [1.0, 2.0]})})
    assert env.step(_actions(1.0, 1.0))[2].tolist() == [True, False]


def test_what_was_returned_neither_changes_later_nor_changes_the_environment():
    plain, abused = _env([9.0, 1.0]), _env([9.0, 1.0])  # the second ends at once
    kept = []
    for step in range(4):
        expected = plain.step(_actions(1.0, 1.0))
        given = abused.step(_actions(1.0, 1.0))
        for array, other in zip(given[:4], expected[:4], strict=True):
            assert np.array_equal(array, other), step
        kept.append((given, copy.deepcopy(given)))
        if step < 2:  # the later ones are kept to see whether they change
            for array in (*given[:4], given[4]["failed"]):
                array[...] = True if array.dtype == bool else 77.0
            kept.pop()
    for given, snapshot in kept:
        assert all(np.array_equal(a, b) for a, b in zip(given[:4], snapshot[:4], strict=True))


def test_the_reset_observation_and_active_are_the_callers_own():
    env = _env([9.0, 9.0])
    env.reset()[0][...] = 77.0
    env.active[:] = False
    actions = _actions(1.0, 1.0)
    assert env.step(actions)[0].tolist() == [[1.0, 1.0], [1.0, 1.0]]
    assert actions.tolist() == [[1.0], [1.0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_state_that_is_not_finite_ends_that_episode_alone_and_is_reported(bad):
    env = _env([9.0, 9.0, 9.0])
    env.step(_actions(1.0, 1.0, 1.0))
    observation, reward, terminated, truncated, info = env.step(_actions(1.0, bad, 1.0))
    assert info["failed"].tolist() == [False, True, False]
    assert terminated.tolist() == [False, True, False]
    assert not truncated.any()
    assert reward.tolist() == [2.0, 0.0, 2.0]
    assert observation.tolist() == [[2.0, 2.0], [1.0, 1.0], [2.0, 2.0]]
    # counted once, and the others go on
    _, reward, terminated, _, info = env.step(_actions(1.0, bad, 1.0))
    assert not info["failed"].any()
    assert not terminated.any()
    assert reward.tolist() == [3.0, 0.0, 3.0]


def test_a_failed_episode_starts_anew_after_a_reset():
    env = _env([9.0, 9.0])
    env.step(_actions(float("nan"), 1.0))
    env.reset(options={"reset_mask": np.array([True, False])})
    observation, reward, _, _, info = env.step(_actions(1.0, 1.0))
    assert observation.tolist() == [[1.0, 1.0], [2.0, 2.0]]
    assert reward.tolist() == [1.0, 2.0]
    assert not info["failed"].any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e39])
def test_an_observation_that_is_not_finite_in_float32_ends_that_episode_alone(bad):
    family = Counter()
    family.observation_of_13 = bad  # the state itself stays finite
    env = _env([90.0, 90.0], family=family)
    observation, reward, terminated, _, info = env.step(_actions(13.0, 12.0))
    assert info["failed"].tolist() == terminated.tolist() == [True, False]
    assert observation.tolist() == [[0.0, 0.0], [12.0, 12.0]]
    assert reward.tolist() == [0.0, 12.0]


def test_a_reward_that_is_not_finite_ends_that_episode_alone():
    class BadReward(Counter):
        def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
            return (after[:, 0] - 1.0).log()  # log(0) = -inf, log of a negative number is NaN

    env = _env([9.0, 9.0, 9.0], family=BadReward())
    _, reward, terminated, _, info = env.step(_actions(1.0, 0.5, 2.0))
    assert info["failed"].tolist() == terminated.tolist() == [True, True, False]
    assert reward.tolist() == [0.0, 0.0, 0.0]
    assert env.active.tolist() == [False, False, True]


def test_a_wrong_number_of_tasks_is_refused():
    env = TaskVectorEnv(Counter(), tasks=2)
    with pytest.raises(UserError, match="this environment holds 2 tasks, got 3"):
        env.set_tasks(Tasks({"limit": [1.0, 2.0, 3.0]}))


def test_tasks_of_another_family_are_refused():
    env = TaskVectorEnv(Counter(), tasks=2)
    with pytest.raises(UserError, match="Counter-v0 has the task parameters limit; got goal"):
        env.set_tasks(Tasks({"goal": [1.0, 2.0]}))


def test_episodes_cannot_start_before_there_are_tasks():
    env = TaskVectorEnv(Counter(), tasks=2)
    with pytest.raises(UserError, match="set_tasks"):
        env.reset_episodes(TaskStreams.of(0, "test", 0, range(2), 1))


def test_step_before_the_first_reset_is_refused():
    env = TaskVectorEnv(Counter(), tasks=2)
    with pytest.raises(UserError, match="reset comes before the first step"):
        env.step(_actions(1.0, 1.0))


@pytest.mark.parametrize(
    "sizes",
    [
        {"tasks": 0},
        {"tasks": -1},
        {"tasks": 1, "episodes": 0},
        {"tasks": 1, "threads": 0},
        {"tasks": 1, "threads": -2},
    ],
)
def test_impossible_sizes_are_refused(sizes):
    with pytest.raises(ValueError, match="at least"):
        TaskVectorEnv(Counter(), **sizes)


@pytest.mark.parametrize(
    "name", ["PointNavigation-v0", "HalfCheetahVel-v0", "HalfCheetahDirMAML-v0"]
)
def test_it_is_a_gymnasium_vector_environment(name):
    env = TaskVectorEnv(_family(name), tasks=2, episodes=3, threads=1)
    assert isinstance(env, gymnasium.vector.VectorEnv)
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    assert env.num_envs == 6
    observation, info = env.reset(seed=1)
    assert info == {}
    assert observation in env.observation_space
    assert observation.dtype == np.float32
    env.action_space.seed(0)
    actions = env.action_space.sample()
    assert actions is not None
    assert actions.shape == (6, *(env.single_action_space.shape or ()))
    observation, reward, terminated, truncated, info = env.step(actions)
    assert observation in env.observation_space
    assert (reward.dtype, reward.shape) == (np.float64, (6,))
    for flags in (terminated, truncated, info["failed"]):
        assert (flags.dtype, flags.shape) == (np.bool_, (6,))


def test_a_reset_with_a_seed_starts_the_same_sequence_of_episodes_again():
    family = _family("HalfCheetahVel-v0")
    env = TaskVectorEnv(family, tasks=2, episodes=2, threads=1)
    first, second = env.reset(seed=5)[0], env.reset()[0]
    assert not np.array_equal(first, second)
    assert np.array_equal(env.reset(seed=5)[0], first)
    assert np.array_equal(env.reset()[0], second)
    assert not np.array_equal(env.reset(seed=6)[0], first)
    assert len({tuple(row) for row in first.tolist()}) == 4


def test_without_tasks_a_reset_draws_them_by_the_seed():
    family = _family("HalfCheetahVel-v0")
    env = TaskVectorEnv(family, tasks=3, threads=1)
    env.reset(seed=5)
    assert env.tasks == family.sample(5, 0, 3)


@pytest.mark.parametrize("goals", [[[1, 0], [0, 1]], [[1.0, 0.0], [0.0, 1.0]]])
def test_integer_task_parameters_give_the_same_episodes_as_floats(goals):
    env = TaskVectorEnv(_family("PointNavigation-v0"), tasks=2)
    env.reset(options={"tasks": Tasks({"goal": goals})})
    move = np.array([[0.1, 0.0], [0.0, 0.1]], dtype=np.float32)
    env.reset(options={"reset_mask": np.array([True, False])})
    env.step(move)
    observation, _ = env.reset(options={"reset_mask": np.array([True, False])})
    assert observation.tolist() == [[0.0, 0.0], [0.0, float(np.float32(0.1))]]


class Scaled(Counter):
    """The reward is the action times `scale`; `index` is an integer by nature."""

    parameters = {"limit": Uniform(1.0, 100.0), "scale": Uniform(0.0, 9.0), "index": Choice([0, 1])}

    def reward(self, before: Tensor, after: Tensor, action: Tensor, tasks: Tasks) -> Tensor:
        assert tasks["index"].dtype == torch.int64
        return action[:, 0] * tasks["scale"]


@pytest.mark.parametrize("scale", [3, 3.0])
def test_a_whole_number_is_a_float_where_the_family_draws_floats(scale):
    env = TaskVectorEnv(Scaled(), tasks=1)
    tasks = Tasks({"limit": [50], "scale": [scale], "index": [1]})
    env.reset(seed=0, options={"tasks": tasks})
    # 0.1 as float32 is 0.100000001490116...; the product is exact in float64 only
    assert env.step(_actions(0.1))[1].tolist() == [3 * float(np.float32(0.1))]
    assert env.tasks is tasks


def test_actions_that_do_not_fit_are_refused_in_one_line():
    bandit = TaskVectorEnv(make("BernoulliBandit-v0"), 2)  # pyright: ignore[reportArgumentType]
    bandit.reset(seed=0)
    with pytest.raises(UserError, match=r"actions of BernoulliBandit-v0 are 0 to 4, got 0 to 7"):
        bandit.step(np.array([7, 0]))
    with pytest.raises(UserError, match=r"need the shape \(2,\), got \(3,\)"):
        bandit.step(np.array([0, 1, 2]))

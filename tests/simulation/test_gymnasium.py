"""Families on Gymnasium's environments: the same numbers as the environments by themselves."""

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from metarl.errors import UserError
from metarl.simulation import GymnasiumFamily, TaskVectorEnv
from metarl.simulation.gymnasium import GymnasiumEngine
from metarl.tasks import Choice, Tasks, TaskStreams, Uniform

# Newer Pythons warn of forking a process with threads, which is how Gymnasium's workers start.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")


class Ladder(gymnasium.Env):
    """Starts on rung 10; actions 1, 2, 3 climb 0, 1, 2 rungs; ends at `top`, or after `limit`."""

    observation_space = spaces.Discrete(6, start=10)
    action_space = spaces.Discrete(3, start=1)
    made: ClassVar[int] = 0
    steps: ClassVar[int] = 0

    def __init__(self, top: int, limit: int = 100):
        Ladder.made += 1
        self.top, self.limit, self.slip = top, limit, 0.0
        self.inner = spaces.Dict()  # anything with attributes

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict]:
        super().reset(seed=seed)
        self.rung, self.time = 10, 0
        return self.rung, {"ignored": 1}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict]:
        Ladder.steps += 1
        if self.top == 15 and self.rung == 14:
            raise RuntimeError("the ladder\nbroke")
        self.rung += int(action) - 1
        self.time += 1
        reward = self.rung - 10 - self.slip
        return self.rung, reward, self.rung >= self.top, self.time >= self.limit, {"ignored": 2}


gymnasium.register("metarl-tests/Ladder-v0", entry_point=Ladder)  # pyright: ignore[reportArgumentType]


class LadderFamily(GymnasiumFamily):
    name = "Ladder-v0"
    env_id = "metarl-tests/Ladder-v0"
    parameters = {"top": Choice([12, 13, 14]), "slip": Uniform(0.0, 1.0)}
    attributes = {"slip": "slip"}
    horizon = 6


class Cart(GymnasiumFamily):
    name = "Cart-v0"
    env_id = "CartPole-v1"
    parameters = {"gravity": Uniform(5.0, 15.0), "length": Uniform(0.2, 0.8)}
    attributes = {"gravity": "gravity", "length": "length"}
    horizon = 60


class AsyncCart(Cart):
    vectorization = "async"


class Pendulum(GymnasiumFamily):
    name = "Pendulum-v0"
    env_id = "Pendulum-v1"
    parameters = {"g": Uniform(5.0, 15.0), "length": Uniform(0.5, 1.5)}
    attributes = {"length": "l"}


class Lake(GymnasiumFamily):
    name = "Lake-v0"
    env_id = "FrozenLake-v1"
    env_options = {"is_slippery": False}
    parameters = {"map": Choice([0, 1])}
    maps = (["SFF", "FFF", "FFG"], ["SHF", "FFF", "FFG"])

    def arguments(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"desc": self.maps[task["map"]]}


def _env(family: GymnasiumFamily, tasks: Tasks, episodes: int = 1, seed: int = 0) -> TaskVectorEnv:
    env = TaskVectorEnv(family, len(tasks), episodes, threads=2)
    env.reset(seed=seed, options={"tasks": tasks})
    return env


def _engine(env: TaskVectorEnv) -> GymnasiumEngine:
    assert isinstance(env.engine, GymnasiumEngine)
    return env.engine


def _seed(env: TaskVectorEnv, index: int) -> int:
    return int(_engine(env)._seeds[index])


def _actions(env: TaskVectorEnv, steps: int, seed: int = 1) -> list[Any]:
    env.action_space.seed(seed)
    return [env.action_space.sample() for _ in range(steps)]


def _trajectory(env: TaskVectorEnv, actions: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """Observations `[T, n, size]` and rewards `[T, n]`."""
    steps = [env.step(action) for action in actions]
    return np.stack([step[0] for step in steps]), np.stack([step[1] for step in steps])


def _plain(env: gymnasium.Env, seed: int, actions: list[Any]) -> tuple[list[Any], list[float]]:
    """Observations (with the first) and rewards of Gymnasium's own environment until its end."""
    observations, rewards = [env.reset(seed=seed)[0]], []
    for action in actions:
        observation, reward, terminated, _, _ = env.step(action)
        observations.append(observation)
        rewards.append(reward)
        if terminated:
            break
    return observations, rewards


# --- the same numbers as the environment by itself -----------------------------------------------


def test_attributes_are_those_of_the_task():
    tasks = Cart().sample(3, 0, 5)
    env = _env(Cart(), tasks)
    first = env.reset()[0]
    actions = _actions(env, 60)
    observations, rewards = _trajectory(env, actions)
    lengths = []
    for i in range(5):
        peer: Any = gymnasium.make("CartPole-v1")
        peer.unwrapped.gravity = float(tasks["gravity"][i])
        peer.unwrapped.length = float(tasks["length"][i])
        seen, earned = _plain(peer, _seed(env, i), [action[i] for action in actions])
        assert np.array_equal(first[i], seen[0])
        assert np.array_equal(observations[: len(earned), i], np.stack(seen[1:]))
        assert rewards[:, i].sum() == len(earned)
        lengths.append(len(earned))
    assert len(set(lengths)) > 1
    assert max(lengths) < 60


def test_constructor_arguments_and_attributes_together_in_continuous_actions():
    tasks = Pendulum().sample(3, 0, 4)
    env = _env(Pendulum(), tasks)
    actions = _actions(env, 30)
    observations, rewards = _trajectory(env, actions)
    for i in range(4):
        peer: Any = gymnasium.make("Pendulum-v1", g=float(tasks["g"][i]))
        peer.unwrapped.l = float(tasks["length"][i])
        seen, earned = _plain(peer, _seed(env, i), [action[i] for action in actions])
        assert np.array_equal(observations[:, i], np.stack(seen[1:]))
        assert rewards[:, i].tolist() == earned


def test_each_attribute_and_argument_changes_the_trajectory():
    g, length = [10.0, 10.0, 11.0, 10.0], [1.0, 1.0, 1.0, 1.1]
    env = _env(Pendulum(), Tasks({"g": g, "length": length}))
    _engine(env).copy_state(0)
    action = np.ones((4, 1), np.float32)
    observation = _trajectory(env, [action] * 5)[0][-1]
    assert np.array_equal(observation[0], observation[1])
    for i, j in ((0, 2), (0, 3), (2, 3)):
        assert not np.array_equal(observation[i], observation[j])


def test_attributes_that_others_derive_from_are_the_familys_to_set():
    class Heavy(Cart):
        parameters = {"masspole": Uniform(0.1, 0.5)}
        attributes = {"masspole": "masspole"}

        def settings(self, task: Mapping[str, Any]) -> Mapping[str, Any]:
            mass = task["masspole"]
            derived = {"total_mass": mass + 1.0, "polemass_length": mass * 0.5}
            return {**super().settings(task), **derived}

    env = _env(Heavy(), Tasks({"masspole": [0.4]}))
    unwrapped = _engine(env).vector_env.envs[0]._env.unwrapped  # pyright: ignore[reportAttributeAccessIssue]
    assert (unwrapped.masspole, unwrapped.total_mass, unwrapped.polemass_length) == (0.4, 1.4, 0.2)


def test_a_task_may_be_a_map_that_the_family_makes_of_an_index():
    env = _env(Lake(), Tasks({"map": [0, 1]}))
    # 2 is right: onto the lake's second field, which is a hole in map 1
    _, _, terminated, *_ = env.step(np.array([2, 2]))
    assert terminated.tolist() == [False, True]


# --- spaces --------------------------------------------------------------------------------------


def test_an_index_is_observed_as_one_hot():
    family = Lake()
    assert family.observation_space == spaces.Box(0.0, 1.0, (9,), np.float32)
    env = _env(family, Tasks({"map": [0, 0]}))
    observation, *_ = env.step(np.array([2, 1]))  # right, and down
    assert observation.dtype == np.float32
    assert observation.tolist() == np.eye(9)[[1, 3]].tolist()


def test_indices_may_start_anywhere():
    env = _env(LadderFamily(), Tasks({"top": [14, 14, 14], "slip": [0.0, 0.0, 0.5]}))
    assert env.single_action_space == spaces.Discrete(3)
    observation, reward, *_ = env.step(np.array([0, 1, 2]))
    assert observation.tolist() == np.eye(6)[[0, 1, 2]].tolist()
    assert reward.tolist() == [0.0, 1.0, 1.5]


def test_nested_observations_are_flattened():
    class Blackjack(GymnasiumFamily):
        name = "Blackjack-v0"
        env_id = "Blackjack-v1"
        parameters = {"natural": Choice([0, 1])}

    env = _env(Blackjack(), Tasks({"natural": [0, 1]}))
    # the player's sum (32 indices), the dealer's card (11), a usable ace (2)
    assert env.single_observation_space.shape == (45,)
    first = env.reset()[0]
    assert first.dtype == np.float32
    assert first.sum(axis=1).tolist() == [3.0, 3.0]


def test_box_observations_keep_their_bounds():
    space = Cart().observation_space
    plain = gymnasium.make("CartPole-v1").observation_space
    assert isinstance(plain, spaces.Box)
    assert np.array_equal(space.low, plain.low)
    assert np.array_equal(space.high, plain.high)


# --- episodes ------------------------------------------------------------------------------------


def test_an_ended_episode_is_neither_stepped_nor_started_anew():
    env = _env(LadderFamily(), Tasks({"top": [12, 14], "slip": [0.0, 0.0]}))
    env.step(np.array([2, 1]))
    before = Ladder.steps
    observation, reward, terminated, *_ = env.step(np.array([2, 1]))
    assert Ladder.steps == before + 1
    assert observation.argmax(axis=1).tolist() == [2, 2]
    assert reward.tolist() == [0.0, 2.0]
    assert not terminated.any()
    assert env.active.tolist() == [False, True]


def test_an_episode_that_the_caller_left_out_is_not_stepped():
    engine = _engine(_env(LadderFamily(), Tasks({"top": [14, 14], "slip": [0.0, 0.0]})))
    before = Ladder.steps
    result = engine.step(torch.tensor([1, 1]), torch.tensor([1]))
    assert Ladder.steps == before + 1
    assert result.observation.argmax(dim=1).tolist() == [0, 1]
    result = engine.step(torch.tensor([1, 1]), None)
    assert result.observation.argmax(dim=1).tolist() == [1, 2]


def test_reset_mask_starts_only_those_episodes():
    env = _env(LadderFamily(), Tasks({"top": [12, 14], "slip": [0.0, 0.0]}))
    env.step(np.array([2, 1]))
    observation, _ = env.reset(options={"reset_mask": np.array([True, False])})
    assert observation.argmax(axis=1).tolist() == [0, 1]
    assert env.step(np.array([1, 1]))[0].argmax(axis=1).tolist() == [1, 2]
    observation, _ = env.reset(options={"reset_mask": np.array([False, False])})
    assert observation.argmax(axis=1).tolist() == [1, 2]


def test_a_truncation_by_the_environment_itself_ends_the_episode():
    class Short(LadderFamily):
        env_options = {"limit": 2}

    env = _env(Short(), Tasks({"top": [14], "slip": [0.0]}))
    ends = [bool(env.step(np.array([0]))[2][0]) for _ in range(4)]
    assert ends == [False, True, False, False]


def test_the_time_limit_of_the_registration_does_not_hold():
    class Car(GymnasiumFamily):
        name = "Car-v0"
        env_id = "MountainCar-v0"  # registered with 200 time steps
        parameters = {"force": Uniform(0.0005, 0.002)}
        attributes = {"force": "force"}
        horizon = 205

    env = _env(Car(), Tasks({"force": [0.001]}))
    cuts = [env.step(np.array([1]))[2:4] for _ in range(205)]
    assert not any(terminated.any() for terminated, _ in cuts)
    assert [bool(truncated.any()) for _, truncated in cuts] == [False] * 204 + [True]


def test_a_reward_that_is_not_finite_ends_that_episode_alone():
    env = _env(LadderFamily(), Tasks({"top": [14, 14], "slip": [0.0, 0.5]}))
    _engine(env).vector_env.envs[0]._env.unwrapped.slip = float("nan")  # pyright: ignore[reportAttributeAccessIssue]
    _, reward, terminated, _, info = env.step(np.array([1, 1]))
    assert info["failed"].tolist() == terminated.tolist() == [True, False]
    assert reward.tolist() == [0.0, 0.5]


def test_an_environment_is_made_anew_only_for_new_constructor_arguments():
    family = LadderFamily()
    tasks = Tasks({"top": [12, 14], "slip": [0.0, 0.0]})
    env = _env(family, tasks)
    made = Ladder.made
    env.reset(options={"tasks": tasks})
    env.reset(options={"tasks": Tasks({"top": [12, 14], "slip": [0.5, 0.5]})})
    assert env.step(np.array([1, 1]))[1].tolist() == [0.5, 0.5]
    assert Ladder.made == made
    env.reset(options={"tasks": Tasks({"top": [12, 12], "slip": [0.5, 0.5]})})
    assert Ladder.made == made + 1
    assert env.step(np.array([2, 2]))[2].tolist() == [True, True]


# --- randomness ----------------------------------------------------------------------------------


def test_a_run_is_a_function_of_its_seed():
    tasks = Pendulum().sample(0, 0, 3)
    env = _env(Pendulum(), tasks, seed=5)
    actions = _actions(env, 10)
    first = _trajectory(env, actions)[0]
    # other tasks in between, so that the environments are made anew
    env.reset(seed=6, options={"tasks": Pendulum().sample(0, 1, 3)})
    other = _trajectory(env, actions)[0]
    env.reset(seed=5, options={"tasks": tasks})
    assert np.array_equal(_trajectory(env, actions)[0], first)
    assert not np.array_equal(other, first)
    env.reset()  # a further episode of the same run
    assert not np.array_equal(_trajectory(env, actions)[0], first)


def test_results_do_not_depend_on_the_layout_of_the_batch():
    tasks = Cart().sample(0, 0, 3)

    def run(chosen: list[int]) -> torch.Tensor:
        engine = GymnasiumEngine(Cart(), 2 * len(chosen), threads=1)
        engine.set_tasks(tasks[chosen].repeat_each(2))
        engine.reset(TaskStreams.of(0, "test", 0, chosen, 2), None)
        action = torch.ones(2 * len(chosen), dtype=torch.int64)
        return torch.stack([engine.step(action, None).observation for _ in range(5)])

    together = run([0, 1, 2])
    assert torch.equal(together[:, 4:], run([2]))
    assert torch.equal(together[:, :2], run([2, 0])[:, 2:])
    # the episodes of a task start differently
    assert not torch.equal(together[0, 0], together[0, 1])


def test_equal_states_are_episodes_from_equal_seeds():
    env = _env(Cart(), Cart().sample(0, 0, 3))
    first = env.reset()[0]
    assert not np.array_equal(first[0], first[1])
    copied = _engine(env).copy_state(1).numpy()
    assert np.array_equal(copied, first[[1, 1, 1]])
    observation, *_ = env.step(np.ones(3, np.int64))
    assert not np.array_equal(observation[0], observation[1])


# --- processes -----------------------------------------------------------------------------------


def test_async_gives_the_same_numbers_as_sync():
    tasks = Cart().sample(0, 0, 2)
    both = [_env(family, tasks, episodes=2, seed=2) for family in (Cart(), AsyncCart())]
    actions = _actions(both[0], 40)
    one, other = (_trajectory(env, actions) for env in both)
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])
    assert not all(env.active.any() for env in both)
    mask = np.array([True, False, False, True])
    one, other = (env.reset(options={"reset_mask": mask})[0] for env in both)
    assert np.array_equal(one, other)
    one, other = (_engine(env).copy_state(2) for env in both)
    assert torch.equal(one, other)


@pytest.mark.parametrize("close", [False, True])
def test_worker_processes_end_with_the_engine(close):
    engine = GymnasiumEngine(AsyncCart(), 2, threads=1)
    processes = engine.vector_env.processes  # pyright: ignore[reportAttributeAccessIssue]
    assert all(process.is_alive() for process in processes)
    if close:
        engine.close()
        engine.close()
    else:
        del engine
        gc.collect()
    assert not any(process.is_alive() for process in processes)


def test_an_interrupt_is_for_the_main_process_alone():
    env = _env(AsyncCart(), AsyncCart().sample(0, 0, 2))
    for process in env.engine.vector_env.processes:  # pyright: ignore[reportAttributeAccessIssue]
        os.kill(process.pid, signal.SIGINT)  # as Ctrl-C does to all of a terminal's processes
    env.step(np.ones(2, np.int64))
    env.reset()


def test_a_program_may_end_with_its_workers_alive():
    program = """
from metarl.simulation import GymnasiumFamily, TaskVectorEnv
from metarl.tasks import Uniform

class Cart(GymnasiumFamily):
    env_id = "CartPole-v1"
    parameters = {"gravity": Uniform(5.0, 15.0)}
    attributes = {"gravity": "gravity"}
    vectorization = "async"

if __name__ == "__main__":
    env = TaskVectorEnv(Cart(), 2)
    env.reset(seed=0)
    env.step(env.action_space.sample())
    print("done")
"""
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (result.returncode, result.stdout) == (0, "done\n")
    assert not result.stderr or "multi-threaded" in result.stderr


def test_an_error_in_a_worker_names_the_task_and_leaves_the_workers_alive():
    env = _env(AsyncCart(), Tasks({"gravity": [9.0, 10.0], "length": [0.5, 0.5]}))
    # there is no action 7
    with pytest.raises(
        UserError, match=r"CartPole-v1 failed in step with gravity=10.0, length=0.5:"
    ):
        env.step_episodes(torch.tensor([1, 7]))  # `step` itself would refuse it
    env.reset()
    env.step(np.array([1, 1]))


# --- mistakes ------------------------------------------------------------------------------------


def _family(**members: Any) -> GymnasiumFamily:
    return type("Wrong", (Cart,), {"name": "Wrong-v0", **members})()


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"env_id": "CartPol-v1"}, r"Wrong-v0: CartPol-v1: .*CartPol.*doesn't exist"),
        ({"env_id": "no_such_module:Foo-v0"}, r"no_such_module"),
        (
            {"attributes": {"gravity": "gravity"}},
            r"CartPole-v1 cannot be made with length=.*TypeError",
        ),
        ({"env_options": {"colour": 1}}, r"cannot be made with colour=1: TypeError.*'colour'"),
        (
            {"attributes": {"gravity": "gravty", "length": "length"}},
            r"CartPoleEnv has no attribute 'gravty'",
        ),
        (
            {"attributes": {"gravity": "body.gravity", "length": "length"}},
            r"no attribute 'body.gravity'",
        ),
        (
            {"attributes": {"gravity": "np_random_seed", "length": "length"}},
            r"no attribute 'np_random_seed' that can be set",
        ),
        (
            {"attributes": {"gravity": "gravity", "length": "length", "mass": "masspole"}},
            r"`attributes` names mass, not a task parameter",
        ),
    ],
)
def test_a_wrong_family_is_refused_before_anything_runs(members, message):
    with pytest.raises(UserError, match=message) as error:
        TaskVectorEnv(_family(**members), tasks=2)
    assert str(error.value).startswith("Wrong-v0: ")
    assert "\n" not in str(error.value)


def test_a_missing_dependency_passes_on_gymnasiums_advice(monkeypatch):
    def make(*args: Any, **options: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled('run `pip install "gymnasium[box2d]"`')

    monkeypatch.setattr(gymnasium, "make", make)
    with pytest.raises(UserError, match=r'CartPole-v1: run `pip install "gymnasium\[box2d\]"`'):
        Cart().observation_space  # noqa: B018


def test_an_attribute_that_each_reset_sets_anew_is_refused():
    family = _family(parameters={"x": Uniform(0.0, 1.0)}, attributes={"x": "state"})
    env = TaskVectorEnv(family, tasks=1)
    with pytest.raises(UserError, match="CartPole-v1 sets state anew at each reset"):
        env.reset(seed=0)


def test_an_error_in_a_step_names_the_environment_and_the_task():
    env = _env(LadderFamily(), Tasks({"top": [14, 15], "slip": [0.0, 0.0]}))
    env.step(np.array([0, 2]))
    env.step(np.array([0, 2]))
    with pytest.raises(UserError) as error:
        env.step(np.array([0, 1]))
    assert str(error.value) == (
        "Ladder-v0: metarl-tests/Ladder-v0 failed in step with top=15, slip=0.0: "
        "RuntimeError: the ladder broke"
    )


def test_tasks_with_observations_of_another_size_are_refused():
    class Larger(Lake):
        maps = (["SFF", "FFF", "FFG"], ["SFFF", "FFFF", "FFFF", "FFFG"])

    env = TaskVectorEnv(Larger(), tasks=2)
    with pytest.raises(UserError, match=r"a family needs one size of observations"):
        env.reset(options={"tasks": Tasks({"map": [0, 1]})})


def test_actions_that_no_policy_can_take_are_refused():
    class Keys(Ladder):
        action_space = spaces.MultiBinary(3)

    gymnasium.register("metarl-tests/Keys-v0", entry_point=Keys)  # pyright: ignore[reportArgumentType]
    try:
        family = type("Keyed", (LadderFamily,), {"env_id": "metarl-tests/Keys-v0"})()
        with pytest.raises(UserError, match=r"must be a Box or Discrete, not MultiBinary"):
            TaskVectorEnv(family, tasks=1)
    finally:
        del gymnasium.registry["metarl-tests/Keys-v0"]


# --- pictures ------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [Cart, AsyncCart])
def test_a_frame_shows_one_environment(family):
    family = family()
    family.rendering = True
    env = _env(family, family.sample(0, 0, 2))
    frames = [_engine(env).frame(i, 0, 0) for i in range(2)]
    assert [frame.shape for frame in frames] == [(400, 600, 3)] * 2
    assert frames[0].dtype == np.uint8
    assert not np.array_equal(frames[0], frames[1])


def test_frames_are_made_only_when_asked_for():
    env = _env(Cart(), Cart().sample(0, 0, 1))
    with pytest.raises(UserError, match="`rendering`"):
        _engine(env).frame(0, 0, 0)


def test_an_environment_without_pictures_says_so():
    family = LadderFamily()
    family.rendering = True
    with pytest.raises(UserError, match=r"Ladder-v0 .*render"):
        _engine(_env(family, family.sample(0, 0, 1))).frame(0, 0, 0)

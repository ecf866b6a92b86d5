"""What holds for every registered family: its contract, and that a task is hidden yet matters."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from metarl.simulation import MujocoFamily, TaskVectorEnv, TensorFamily
from metarl.simulation.mujoco import MujocoEngine
from metarl.simulation.tensor import TensorEngine
from metarl.tasks import Tasks, make, names
from metarl.tasks.registry import family_class

SECTIONS = [
    "Observation",
    "Action",
    "Reward",
    "Termination",
    "Horizon",
    "Task parameters",
    "Source",
]
BUILT_IN = [name for name in names() if family_class(name).__module__.startswith("metarl_envs")]


def _env(name: str, tasks: Tasks, threads: int = 1) -> TaskVectorEnv:
    family = make(name)
    assert isinstance(family, TensorFamily | MujocoFamily)
    env = TaskVectorEnv(family, len(tasks), threads=threads)
    env.reset(seed=0, options={"tasks": tasks})
    return env


def _copy_the_first_state_to_all(env: TaskVectorEnv) -> None:
    engine = env.engine
    if isinstance(engine, MujocoEngine):
        engine.batch.state[:] = engine.batch.state[0].copy()
        engine.batch.forward()
        engine._state = engine._read()
    else:
        assert isinstance(engine, TensorEngine)
        assert engine._state is not None
        engine._state = engine._state[:1].repeat(env.num_envs, *[1] * (engine._state.dim() - 1))


def _rewards_of_equal_actions(name: str, tasks: Tasks, steps: int) -> np.ndarray:
    """Rewards `[n, steps]` of n tasks that start in one state and take the same actions."""
    env = _env(name, tasks)
    _copy_the_first_state_to_all(env)
    env.action_space.seed(0)
    rewards = []
    for _ in range(steps):
        action = env.action_space.sample()
        assert action is not None
        action[:] = action[0]
        rewards.append(env.step(action)[1])
    return np.stack(rewards, axis=1)


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_docstring_is_a_contract(name):
    family = family_class(name)
    text = family.__doc__ or ""
    # `see HalfCheetah` passes the rest of the contract on to the body it names
    for base in inspect.getmro(family)[1:]:
        if f"`{base.__name__}`" in text:
            text += base.__doc__ or ""
    lower = text.lower()
    for section in SECTIONS:
        assert section.lower() in lower, section
    for parameter in family.parameters:
        assert f"`{parameter}`" in text
    assert f"Horizon {family.horizon}" in text
    assert (family.__doc__ or "").splitlines()[0].endswith((".", ":"))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_contract_states_the_ranges(name):
    family = family_class(name)
    for parameter, kind in family.parameters.items():
        stated = (family.__doc__ or "").split("Task parameters:")[1].split("Source:")[0]
        assert f"`{parameter}`" in stated
        for bound in ("low", "high"):
            if hasattr(kind, bound):
                assert f"{getattr(kind, bound):g}" in stated


@pytest.mark.parametrize("name", BUILT_IN)
def test_equal_states_of_different_tasks_give_equal_observations(name):
    family: Any = make(name)
    tasks = family.sample(0, 0, 6)
    env = _env(name, tasks)
    env.action_space.seed(0)
    for _ in range(3):
        env.step(env.action_space.sample())
    state: Any = env.engine._state  # pyright: ignore[reportAttributeAccessIssue]
    observation = family.observation(state, tasks)
    others = tasks[[1, 2, 3, 4, 5, 0]]
    assert others != tasks
    assert torch.equal(observation, family.observation(state, others))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_first_observation_does_not_show_the_task(name):
    family = make(name)
    one, other = family.sample(0, 0, 3), family.sample(0, 1, 3)
    assert one != other
    first = [_env(name, tasks).reset(seed=7)[0] for tasks in (one, other)]
    assert np.array_equal(first[0], first[1])


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_task_parameter_changes_the_reward(name):
    family = make(name)
    # A second task in which every parameter differs.
    base = family.sample(0, 0, 1)
    draws = (family.sample(0, iteration, 1) for iteration in range(1, 50))
    other = next(d for d in draws if all(not torch.equal(d[p], base[p]) for p in base.names))
    for parameter in family.parameters:
        mixed = Tasks({p: (other if p == parameter else base)[p] for p in base.names})
        pair = Tasks({p: torch.cat([base[p], mixed[p]]) for p in base.names})
        rewards = _rewards_of_equal_actions(name, pair, steps=5)
        assert (rewards[0] != rewards[1]).any(), parameter
        same = _rewards_of_equal_actions(name, base.cycle(2), steps=5)
        assert np.array_equal(same[0], same[1])


@pytest.mark.parametrize("name", BUILT_IN)
def test_rewards_and_observations_lie_in_their_spaces_and_are_finite(name):
    env = _env(name, make(name).sample(0, 0, 4))
    env.action_space.seed(1)
    for _ in range(20):
        observation, reward, *_ = env.step(env.action_space.sample())
        assert observation in env.observation_space
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()

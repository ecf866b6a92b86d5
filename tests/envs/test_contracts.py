"""What holds for every registered family: its contract, and that a task is hidden yet matters."""

import inspect
from typing import Any

import numpy as np
import pytest
import torch

from metarl.simulation import MujocoFamily, TaskVectorEnv, TensorFamily
from metarl.tasks import TaskDistribution, Tasks, make, names
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


def _rewards_of_equal_actions(name: str, tasks: Tasks) -> np.ndarray:
    """Rewards `[n, copies, steps]`: n tasks start in one state and act alike in each copy."""
    # Sparse rewards, and contacts, take long to be met.
    cheap = issubclass(family_class(name), TensorFamily)
    copies, steps = (16, min(100, family_class(name).horizon)) if cheap else (2, 40)
    env = _env(name, tasks.repeat_each(copies))
    env.engine.copy_state(0)
    env.action_space.seed(0)
    rewards = []
    for _ in range(steps):
        action = env.action_space.sample()
        assert action is not None
        alike = np.concatenate([action[:copies]] * len(tasks))
        rewards.append(env.step(alike)[1].reshape(len(tasks), copies))
    return np.stack(rewards, axis=-1)


def _with_visible_parameters_of(one: Tasks, other: Tasks, family: TaskDistribution) -> Tasks:
    """The other tasks, but for what the observation may show."""
    return Tasks({p: (one if p in family.visible_parameters else other)[p] for p in one.names})


def _another_task(name: str, base: Tasks) -> Tasks:
    """A second task in which every parameter differs, from training or from the lists."""
    family = make(name)
    pool = [family.sample(0, iteration, 1) for iteration in range(1, 50)]
    pool += list(family.split("validation"))
    return Tasks(
        {p: next(t[p] for t in pool if not torch.equal(t[p], base[p])) for p in base.names}
    )


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
    others = _with_visible_parameters_of(tasks, tasks[[1, 2, 3, 4, 5, 0]], family)
    assert others != tasks
    assert torch.equal(observation, family.observation(state, others))


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_first_observation_does_not_show_the_task(name):
    family = make(name)
    one = family.sample(0, 0, 3)
    other = _with_visible_parameters_of(one, family.sample(0, 1, 3), family)
    assert one != other
    first = [_env(name, tasks).reset(seed=7)[0] for tasks in (one, other)]
    assert np.array_equal(first[0], first[1])


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_task_parameter_changes_the_reward(name):
    family = make(name)
    base = family.sample(0, 0, 1)
    other = _another_task(name, base)
    for parameter in set(family.parameters) - set(family.visible_parameters):
        mixed = Tasks({p: (other if p == parameter else base)[p] for p in base.names})
        pair = Tasks({p: torch.cat([base[p], mixed[p]]) for p in base.names})
        rewards = _rewards_of_equal_actions(name, pair)
        assert (rewards[0] != rewards[1]).any(), parameter
        same = _rewards_of_equal_actions(name, base.cycle(2))
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

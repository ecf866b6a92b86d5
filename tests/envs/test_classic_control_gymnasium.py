"""Classic control: with the same constants, Gymnasium's own numbers."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from metarl.tasks import make
from tests.envs.classic_control import NAMES, WORLDS, Constants, World, at, state_of

EPISODES = 6
HOLDING = (0.0, 0.0, 0.0, 0.9, 0.9, 0.9)
"""Probabilities with which the random action of an episode is kept for another time step."""


def _assert_like(observation: np.ndarray, expected: np.ndarray) -> None:
    # Both are float32: from 16 on, neighbouring numbers are further apart than 1e-6.
    np.testing.assert_allclose(observation, expected, rtol=1e-7, atol=1e-6)


def _started(world: World, constants: Constants) -> list[Any]:
    """Gymnasium's environments at the start of an episode."""
    envs = [world.make(constants) for _ in range(EPISODES)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
        if world.id.startswith("MountainCarContinuous"):  # from its first step on it is float32
            env.state = env.state.astype(np.float32)
    return envs


@pytest.mark.parametrize("constants", ["nominal", "other"])
@pytest.mark.parametrize("name", NAMES)
def test_whole_episodes_of_random_actions_are_gymnasiums(name: str, constants: str) -> None:
    world = WORLDS[name]
    values = getattr(world, constants)
    theirs, twins = _started(world, values), _started(world, values)
    ours = at(name, values, *(tuple(map(float, env.state)) for env in theirs))
    if name.startswith("Acrobot"):  # the only chaotic one
        for env in twins:
            env.state = np.nextafter(env.state.astype(np.float64), 9.0)
    determined = np.ones(EPISODES, dtype=bool)
    compared, played = 0, 0
    ours.action_space.seed(0)
    goes_on = np.random.default_rng(0).uniform(size=(ours.family.horizon, EPISODES)) < HOLDING
    action: Any = ours.action_space.sample()
    for step in range(ours.family.horizon):
        active = ours.active.numpy()
        fresh: Any = ours.action_space.sample()
        action = np.where(goes_on[step].reshape(-1, *[1] * (action.ndim - 1)), action, fresh)
        observation, reward, terminated, *_ = ours.step(action)
        for index in np.flatnonzero(active):
            expected, value, end, *_ = theirs[index].step(action[index])
            twins[index].step(action[index])
            # Where the last digit of the start already decides about Gymnasium's own numbers,
            # they cannot be compared any more.
            difference = np.abs(np.subtract(twins[index].state, theirs[index].state)).max()
            determined[index] &= difference < 1e-8
            compared, played = compared + int(determined[index]), played + 1
            if determined[index]:
                _assert_like(observation[index], expected)
                assert reward[index] == pytest.approx(float(value), abs=1e-6)
                assert terminated[index] == end
    assert not ours.active.any()
    assert compared > played / 2 if name.startswith("Acrobot") else compared == played


@pytest.mark.parametrize("name", NAMES)
def test_single_steps_in_any_state_of_any_task_are_gymnasiums(name: str) -> None:
    world, family, count = WORLDS[name], make(name), 40
    tasks = family.sample(0, 0, count)
    spread = np.array(world.spread)
    states = np.random.default_rng(0).uniform(-spread, spread, (count, len(spread)))
    ours = at(name, world.nominal, *map(tuple, states))
    engine: Any = ours.engine
    engine.set_tasks(tasks)
    ours.action_space.seed(0)
    action: Any = ours.action_space.sample()
    observation, reward, terminated, *_ = ours.step(action)
    for index in range(count):
        theirs = world.make({key: float(tasks[key][index]) for key in tasks.names})
        theirs.reset(seed=0)
        theirs.state = states[index]
        expected, value, end, *_ = theirs.step(action[index])
        _assert_like(observation[index], expected)
        assert reward[index] == pytest.approx(float(value), abs=1e-6)
        assert terminated[index] == end


@pytest.mark.parametrize("name", NAMES)
def test_starts_are_gymnasiums(name: str) -> None:
    # The same bounds: 400 draws come within a fiftieth of them, and no further.
    theirs = gymnasium.make(WORLDS[name].id).unwrapped
    expected = []
    for seed in range(400):
        theirs.reset(seed=seed)
        expected.append(np.array(theirs.state, dtype=np.float64))  # pyright: ignore[reportAttributeAccessIssue]
    env = at(name, WORLDS[name].nominal, *[(0.0,)] * 400)
    env.reset(seed=0)
    low, high = np.min(expected, axis=0), np.max(expected, axis=0)
    assert state_of(env).min(axis=0) == pytest.approx(low, abs=0.02 * max(1e-9, (high - low).max()))
    assert state_of(env).max(axis=0) == pytest.approx(
        high, abs=0.02 * max(1e-9, (high - low).max())
    )


@pytest.mark.parametrize("name", NAMES)
def test_spaces_are_gymnasiums(name: str) -> None:
    family, theirs = make(name), gymnasium.make(WORLDS[name].id)
    assert family.observation_space == theirs.observation_space
    assert family.action_space == theirs.action_space
    assert family.robot == "classic control"

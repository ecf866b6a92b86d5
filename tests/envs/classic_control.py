"""Classic control beside Gymnasium's own environments: constants, and environments in any state."""

from collections.abc import Callable, Mapping
from types import FunctionType, MethodType
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import torch

from metarl.simulation import TaskVectorEnv
from metarl.tasks import Tasks, make

Constants = Mapping[str, float]


def _replace_literal(env: Any, method: str, old: float, new: float) -> None:
    """Give a method of one Gymnasium environment another number in its code."""
    function = getattr(type(env), method)
    assert old in function.__code__.co_consts
    literals = tuple(new if value == old else value for value in function.__code__.co_consts)
    code = function.__code__.replace(co_consts=literals)
    setattr(env, method, MethodType(FunctionType(code, function.__globals__), env))


def _set_cart_pole(env: Any, constants: Constants) -> None:
    env.gravity, env.force_mag = constants["gravity"], constants["force"]
    env.masscart, env.masspole = constants["cart_mass"], constants["pole_mass"]
    env.length = constants["half_length"]
    env.total_mass = env.masscart + env.masspole
    env.polemass_length = env.masspole * env.length


def _set_pendulum(env: Any, constants: Constants) -> None:
    env.g, env.m, env.l = (constants[name] for name in ("gravity", "mass", "length"))
    env.max_torque = constants["max_torque"]


def _set_acrobot(env: Any, constants: Constants) -> None:
    env.LINK_MASS_1, env.LINK_MASS_2 = constants["mass_1"], constants["mass_2"]
    env.LINK_LENGTH_1, env.LINK_LENGTH_2 = constants["length_1"], constants["length_2"]
    env.LINK_COM_POS_1, env.LINK_COM_POS_2 = env.LINK_LENGTH_1 / 2, env.LINK_LENGTH_2 / 2
    env.AVAIL_TORQUE = [-constants["torque"], 0.0, constants["torque"]]
    _replace_literal(env, "_dsdt", 9.8, constants["gravity"])


def _set_mountain_car(env: Any, constants: Constants) -> None:
    env.force, env.gravity = constants["force"], constants["gravity"]


def _set_continuous_mountain_car(env: Any, constants: Constants) -> None:
    env.power = constants["power"]
    _replace_literal(env, "step", 0.0025, constants["gravity"])


class World(NamedTuple):
    """A family beside Gymnasium's environment."""

    id: str
    set_constants: Callable[[Any, Constants], None]
    nominal: Constants
    other: Constants
    spread: tuple[float, ...]
    """Of each number of a random state, for single steps."""

    def make(self, constants: Constants) -> Any:
        env: Any = gymnasium.make(self.id).unwrapped
        if constants is not self.nominal:  # Gymnasium's environment as it is
            self.set_constants(env, constants)
        return env


WORLDS = {
    "CartPoleRandParams-v0": World(
        "CartPole-v1",
        _set_cart_pole,
        {"gravity": 9.8, "cart_mass": 1.0, "pole_mass": 0.1, "half_length": 0.5, "force": 10.0},
        {"gravity": 6.0, "cart_mass": 1.7, "pole_mass": 0.15, "half_length": 0.9, "force": 6.0},
        (2.4, 3.0, 0.2, 3.0),
    ),
    "PendulumRandParams-v0": World(
        "Pendulum-v1",
        _set_pendulum,
        {"gravity": 10.0, "mass": 1.0, "length": 1.0, "max_torque": 2.0},
        {"gravity": 14.0, "mass": 0.8, "length": 1.3, "max_torque": 1.1},
        (7.0, 8.0),
    ),
    "AcrobotRandParams-v0": World(
        "Acrobot-v1",
        _set_acrobot,
        {
            "gravity": 9.8,
            "mass_1": 1.0,
            "mass_2": 1.0,
            "length_1": 1.0,
            "length_2": 1.0,
            "torque": 1.0,
        },
        {
            "gravity": 7.5,
            "mass_1": 0.8,
            "mass_2": 1.2,
            "length_1": 1.1,
            "length_2": 0.7,
            "torque": 1.6,
        },
        (3.1, 3.1, 5.0, 9.0),
    ),
    "MountainCarRandParams-v0": World(
        "MountainCar-v0",
        _set_mountain_car,
        {"force": 0.001, "gravity": 0.0025},
        {"force": 0.005, "gravity": 0.0015},
        (1.2, 0.07),
    ),
    "MountainCarContinuousRandParams-v0": World(
        "MountainCarContinuous-v0",
        _set_continuous_mountain_car,
        {"power": 0.0015, "gravity": 0.0025},
        {"power": 0.005, "gravity": 0.0015},
        (1.2, 0.07),
    ),
}
NAMES = list(WORLDS)


def at(name: str, constants: Constants, *states: tuple[float, ...]) -> TaskVectorEnv:
    """One environment in each of these states, all of one task."""
    family: Any = make(name)
    env = TaskVectorEnv(family, 1, len(states))
    env.reset(seed=0, options={"tasks": Tasks({key: [v] for key, v in constants.items()})})
    engine: Any = env.engine
    engine._state = torch.tensor(states, dtype=torch.float64)
    return env


def nominal(name: str, *states: tuple[float, ...], **constants: float) -> TaskVectorEnv:
    return at(name, {**WORLDS[name].nominal, **constants}, *states)


def state_of(env: TaskVectorEnv) -> np.ndarray:
    """`[n, ...]`."""
    engine: Any = env.engine
    return engine._state.numpy()

"""Worlds without a body, each as one ordinary Gymnasium environment: what batching is measured by.

Gymnasium's classic control is compared with Gymnasium's own environments. For the other worlds,
which it lacks, this file has the shortest numpy environments that do the same.
"""

from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from benchmark_peers import Peer, Scale, fastest_peer
from benchmark_tools import SEED, silenced

CLASSIC_CONTROL = {
    "CartPoleRandParams-v0": "CartPole-v1",
    "PendulumRandParams-v0": "Pendulum-v1",
    "AcrobotRandParams-v0": "Acrobot-v1",
    "MountainCarRandParams-v0": "MountainCar-v0",
    "MountainCarContinuousRandParams-v0": "MountainCarContinuous-v0",
}


class _World(gymnasium.Env):
    """An environment of one fixed task; a subclass sets the spaces and `horizon`."""

    horizon = 100

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return self.start(), {}

    def step(self, action: Any) -> Any:
        self.time += 1
        observation, reward, terminated = self.move(action)
        return observation, reward, terminated, self.time >= self.horizon, {}

    def start(self) -> np.ndarray:
        raise NotImplementedError

    def move(self, action: Any) -> tuple[np.ndarray, float, bool]:
        raise NotImplementedError


class _Plane(_World):
    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-0.1, 0.1, (2,), np.float32)
    goal = np.array([0.3, -0.4])

    def start(self) -> np.ndarray:
        self.state = np.zeros(2)
        return self.state.astype(np.float32)

    def move(self, action: Any) -> tuple[np.ndarray, float, bool]:
        self.before = self.state
        self.state = self.state + np.clip(action, -0.1, 0.1)
        return self.state.astype(np.float32), self.reward(), self.arrived()

    def arrived(self) -> bool:
        return False

    def reward(self) -> float:
        raise NotImplementedError


class PointNavigation(_Plane):
    """As `PointNavigation-v0`."""

    def reward(self) -> float:
        return -float(np.linalg.norm(self.state - self.goal))

    def arrived(self) -> bool:
        return bool((np.abs(self.state - self.goal) < 0.01).all())


class PointCorner(_Plane):
    """As `PointCorner-v0`."""

    corners = np.array([[-2.0, -2.0], [2.0, -2.0], [-2.0, 2.0], [2.0, 2.0]])
    goal = corners[3]

    def reward(self) -> float:
        if np.abs(self.state).sum() < 0.5:
            return 0.0
        distance = np.linalg.norm(self.corners - self.state, axis=1)
        if distance.argmin() != 3:
            return 0.0
        return float(np.linalg.norm(self.before - self.goal) - distance[3])


class SparsePoint(_Plane):
    """As `SparsePointRobotVariBAD-v0`."""

    def reward(self) -> float:
        distance = float(np.linalg.norm(self.state - self.goal))
        return 1.0 - distance if distance <= 0.2 else 0.0


class ShortSparsePoint(SparsePoint):
    """As `SparsePointRobot-v0`."""

    horizon = 20


class BernoulliBandit(_World):
    """As `BernoulliBandit-v0`."""

    horizon = 10
    observation_space = gymnasium.spaces.Box(0.0, 0.0, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(5)

    def start(self) -> np.ndarray:
        self.arms = np.linspace(0.1, 0.9, 5)
        return np.zeros(1, np.float32)

    def move(self, action: Any) -> tuple[np.ndarray, float, bool]:
        return np.zeros(1, np.float32), self.pull(action), False

    def pull(self, action: Any) -> float:
        return float(self.np_random.random() < self.arms[action])


class GaussianBandit(BernoulliBandit):
    """As `GaussianBandit-v0`."""

    def pull(self, action: Any) -> float:
        return float(self.np_random.normal(self.arms[action], 1.0))


class TabularMDP(_World):
    """As `TabularMDP-v0`."""

    horizon = 10
    observation_space = gymnasium.spaces.Box(0.0, 1.0, (10,), np.float32)
    action_space = gymnasium.spaces.Discrete(5)

    def __init__(self) -> None:
        draws = np.random.default_rng(SEED)
        self.cumulative = draws.dirichlet(np.ones(10), (10, 5)).cumsum(axis=2)
        self.means = draws.normal(1.0, 1.0, (10, 5))
        self.one_hot = np.eye(10, dtype=np.float32)

    def start(self) -> np.ndarray:
        self.state = 0
        return self.one_hot[0].copy()

    def move(self, action: Any) -> tuple[np.ndarray, float, bool]:
        reward = float(self.np_random.normal(self.means[self.state, action], 1.0))
        row = self.cumulative[self.state, action]
        self.state = min(int(row.searchsorted(self.np_random.random())), 9)
        return self.one_hot[self.state].copy(), reward, False


class GridWorld(_World):
    """As `GridWorld-v0`."""

    horizon = 15
    observation_space = gymnasium.spaces.Box(0.0, 4.0, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(5)
    moves = np.array([[0, 0], [0, 1], [1, 0], [0, -1], [-1, 0]])

    def start(self) -> np.ndarray:
        self.state = np.zeros(2, dtype=np.int64)
        return self.state.astype(np.float32)

    def move(self, action: Any) -> tuple[np.ndarray, float, bool]:
        self.state = np.clip(self.state + self.moves[action], 0, 4)
        on_goal = self.state[0] == 3 and self.state[1] == 2
        return self.state.astype(np.float32), 1.0 if on_goal else -0.1, False


WORLDS: Mapping[str, str | Callable[[], gymnasium.Env]] = {
    "PointNavigation-v0": PointNavigation,
    "PointCorner-v0": PointCorner,
    "SparsePointRobot-v0": ShortSparsePoint,
    "SparsePointRobotVariBAD-v0": SparsePoint,
    "BernoulliBandit-v0": BernoulliBandit,
    "GaussianBandit-v0": GaussianBandit,
    "TabularMDP-v0": TabularMDP,
    "GridWorld-v0": GridWorld,
    **CLASSIC_CONTROL,
}
"""What each tensor family is compared with: a Gymnasium id, or an environment of this file."""


def world_peer(family: str, scale: Scale) -> Peer:
    """Gymnasium's SyncVectorEnv of one world, with the number of environments that suits it."""
    world = WORLDS[family]

    def make(size: int) -> Peer:
        if isinstance(world, str):
            with silenced():
                env: Any = gymnasium.make_vec(world, size, vectorization_mode="sync")
        else:
            env = gymnasium.vector.SyncVectorEnv([world] * size)
        name = world if isinstance(world, str) else world.__name__
        return Peer(f"Gymnasium sync {name}", env, size, scale)

    return fastest_peer(make, scale.sync_sizes)

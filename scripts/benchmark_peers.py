"""Other vector environments that `benchmark_sampling.py` compares with, each at its best size."""

import contextlib
import importlib
import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
from benchmark_tools import SEED, fastest, profiler, silenced


@dataclass(frozen=True)
class Scale:
    """How much is measured."""

    overrides: dict[str, object] = field(default_factory=dict)
    """Changes to the preset."""
    horizon: int = 200
    """Time steps of an episode, of ours and of all others."""
    robot_horizon: int = 100
    """The same where every robot is measured; a fallen humanoid is slow."""
    peer_seconds: float = 1.5
    """Shortest measurement of another vector environment; ours take 160 000 steps each."""
    sync_sizes: tuple[int, ...] = (8, 32)
    """Environments to try for Gymnasium's SyncVectorEnv."""
    async_factors: tuple[int, ...] = (1, 4, 16)
    """Environments per CPU to try for Gymnasium's AsyncVectorEnv."""
    async_limit: int = 64
    """Most processes of it, or one per CPU where there are more CPUs."""
    envpool_sizes: tuple[int, ...] = (64, 800)
    """Environments to try for EnvPool."""


QUICK = Scale(
    overrides={"tasks.tasks_per_iteration": 3, "tasks.episodes_per_task": 2},
    horizon=10,
    robot_horizon=10,
    peer_seconds=0.01,
    sync_sizes=(2,),
    async_factors=(1,),
    async_limit=1,
    envpool_sizes=(6,),
)
"""Only shows that everything runs."""


class Peer(contextlib.AbstractContextManager["Peer"]):
    """Another vector environment, with actions drawn beforehand: random ones until `act_as`."""

    def __init__(self, name: str, env: Any, size: int, scale: Scale):
        self.label = f"{name}, {size} environments"
        self.env, self.size, self._seconds = env, size, scale.peer_seconds
        space = gymnasium.vector.utils.batch_space(env_action_space(env), size)
        space.seed(SEED)
        self._actions = [space.sample() for _ in range(scale.horizon)]
        env.reset()

    def act_as(self, controls: Sequence[np.ndarray]) -> None:
        """Take other actions `[n, A]` in each time step: environment i those of row i modulo n.

        What a physics step costs depends on the motion, so a fair comparison has the same one.
        """
        rows = np.arange(self.size) % len(controls[0])
        self._actions = [values[rows].astype(np.float32) for values in controls]

    def rate(self) -> float:
        """Environment steps/s within episodes of our horizon; resets are not timed."""
        steps, seconds = 0, 0.0
        while seconds < self._seconds:
            self.env.reset()
            with profiler():
                started = time.perf_counter()
                for actions in self._actions:
                    self.env.step(actions)
            seconds += time.perf_counter() - started
            steps += self.size * len(self._actions)
        return steps / seconds

    def __exit__(self, *error: object) -> None:
        """End its threads or processes."""
        self.env.close()


def env_action_space(env: Any) -> gymnasium.Space:
    """The space of one environment's actions; EnvPool has no other."""
    return getattr(env, "single_action_space", env.action_space)


def gymnasium_peer(mode: str, sizes: Sequence[int], scale: Scale) -> Peer:
    """Gymnasium's HalfCheetah-v5 with the number of environments that suits it best."""

    def make(size: int) -> Peer:
        with silenced():
            env = gymnasium.make_vec("HalfCheetah-v5", size, vectorization_mode=mode)
            return Peer(f"Gymnasium {mode}", env, size, scale)

    return fastest_peer(make, sizes)


def async_sizes(scale: Scale, cpus: int) -> tuple[int, ...]:
    """Numbers of processes to try: few keep the caches warm, many hide the waiting."""
    limit = max(scale.async_limit, cpus)
    return tuple(sorted({min(factor * cpus, limit) for factor in scale.async_factors}))


def envpool_peer(scale: Scale, threads: int) -> Peer | None:
    """EnvPool's HalfCheetah, all environments in every step as for us; None where not installed."""
    if importlib.util.find_spec("envpool") is None:
        return None
    envpool: Any = importlib.import_module("envpool")
    known = envpool.list_all_envs()
    name = "HalfCheetah-v5" if "HalfCheetah-v5" in known else "HalfCheetah-v4"

    def make(size: int) -> Peer:
        with silenced():
            env = envpool.make(name, env_type="gymnasium", num_envs=size, num_threads=threads)
            return Peer(f"EnvPool {name}", env, size, scale)

    return fastest_peer(make, scale.envpool_sizes)


def fastest_peer(make: Callable[[int], Peer], sizes: Sequence[int]) -> Peer:
    """The peer of the fastest size; the others are closed."""
    peers = [make(size) for size in sizes]
    best = fastest(peers, Peer.rate)
    for peer in peers:
        if peer is not best:
            peer.env.close()
    return best

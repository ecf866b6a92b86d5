"""`Sampler`: rollouts of per-task policies, with named random streams."""

import itertools
import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from metarl.policies import Policy
from metarl.sampling.boundary import ActionBoundary
from metarl.sampling.normalization import ObservationNormalizer
from metarl.sampling.rollout import rollout
from metarl.sampling.trajectories import Trajectories
from metarl.simulation import TaskVectorEnv
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import Tasks, TaskStreams
from metarl.workers import Workers


class Sampler:
    """Collects episodes of K policies in K tasks, with streams named by (seed, iteration, task).

    Every call of `collect` is a further stage of the same iteration (before adaptation, after one
    step, ...) and has its own streams; `begin` starts an iteration over.

    The tasks may be spread over several environments, each of which a worker steps: while one
    runs Python, another runs physics. A task's numbers do not depend on how they are spread.

    Args:
        envs: one environment or several, of one family and number of episodes.
        policy: the policy of every task.
        boundary: from the policy's actions to the environment's.
        workers: threads for the environments.
        normalizer: from the environment's observations to the policy's; None: they are the same.
    """

    def __init__(
        self,
        envs: TaskVectorEnv | Sequence[TaskVectorEnv],
        policy: Policy,
        boundary: ActionBoundary,
        workers: Workers | None = None,
        normalizer: ObservationNormalizer | None = None,
    ):
        self.envs = (envs,) if isinstance(envs, TaskVectorEnv) else tuple(envs)
        self.policy = policy
        self.boundary = boundary
        self.normalizer = normalizer
        self.workers = workers or Workers()
        self.family = self.envs[0].family
        self.episodes = self.envs[0].episodes
        self.task_count = sum(env.task_count for env in self.envs)
        self.environment_steps = 0
        """Time steps taken since `begin`."""
        self.task_indices: Sequence[int] = range(self.task_count)
        """Which of a fixed set of training tasks these are; without one just 0 to K - 1."""
        self._purpose = ""
        self._seed = self._iteration = self._stage = 0
        self.tasks: Tasks | None = None
        """The tasks of this iteration; None before `begin`."""
        self._stream_numbers: Sequence[int] = range(self.task_count)

    @classmethod
    def of(
        cls,
        family: SimulatedFamily,
        tasks: int,
        episodes: int,
        policy: Policy,
        boundary: ActionBoundary,
        threads: int,
        normalizer: ObservationNormalizer | None = None,
    ) -> "Sampler":
        """A sampler of K tasks and N episodes that uses this many threads well."""
        # Where episodes end early, one shard is done before another: fewer, of two threads each.
        most = threads // 2 if family.ends_early else threads
        grain = _grain(policy, episodes)
        shards = max(1, min(family.max_shards, most, tasks // grain))
        envs = [
            TaskVectorEnv(family, len(part), episodes, _share(threads, shards, index))
            for index, part in enumerate(_parts(tasks, shards, grain))
        ]
        return cls(envs, policy, boundary, Workers(shards), normalizer)

    def begin(
        self,
        tasks: Tasks,
        purpose: str,
        seed: int,
        iteration: int,
        indices: Sequence[int] | None = None,
        streams: Sequence[int] | None = None,
    ) -> None:
        """Set the K tasks of an iteration; another `purpose` (train, test) has other streams.

        Args:
            tasks: K of them, or K * N, task-major, for episodes that have a task of their own.
            purpose: what the iteration is for.
            seed: of the run.
            iteration: its number.
            indices: which tasks of a fixed set they are, for learners that remember tasks.
            streams: number of the random stream of each of the K; those with the same number see
                the same random numbers. None: 0 to K - 1.
        """
        count = self.task_count
        if len(tasks) not in (count, count * self.episodes):
            raise ValueError(f"this sampler holds {count} tasks, got {len(tasks)}")
        each = len(tasks) // count
        for env, part in self._env_parts():
            env.set_tasks(tasks[part.start * each : part.stop * each])
        self.tasks = tasks
        self.task_indices = range(count) if indices is None else indices
        self._stream_numbers = range(count) if streams is None else streams
        self._purpose = purpose
        self._seed, self._iteration, self._stage = seed, iteration, 0
        self.environment_steps = 0

    def collect(
        self, parameters: Mapping[str, Tensor], memory: Tensor | None = None
    ) -> Trajectories:
        """One episode in each environment with stacked parameters `[K, ...]`.

        `memory` `[K, N, M]` is what a `MemoryPolicy` starts the episodes with, changed in place;
        None: zeros, dropped afterwards.
        """
        parameters = {name: value.detach().cpu() for name, value in parameters.items()}

        def collect_part(env_part: tuple[TaskVectorEnv, slice]) -> Trajectories:
            env, part = env_part
            return rollout(
                env,
                self.policy,
                self.boundary,
                {name: value[part] for name, value in parameters.items()},
                self._streams("reset", part),
                self._streams("actions", part),
                self.normalizer,
                None if memory is None else memory[part],
            )

        pieces = self.workers.map(collect_part, self._env_parts())
        trajectories = Trajectories.concatenate(pieces)
        self._stage += 1
        self.environment_steps += int(trajectories.mask.sum())
        return trajectories

    def generators(self, name: str) -> list[np.random.Generator]:
        """A random stream of each task for a learner's own draws: minibatches, latent variables.

        Another stage (number of `collect` calls) has other streams.
        """
        return list(self._streams(name, slice(0, self.task_count)).generators)

    def _env_parts(self) -> list[tuple[TaskVectorEnv, slice]]:
        parts, first = [], 0
        for env in self.envs:
            parts.append((env, slice(first, first + env.task_count)))
            first += env.task_count
        return parts

    def _streams(self, purpose: str, part: slice) -> TaskStreams:
        name = f"{self._purpose}/{purpose}/{self._stage}"
        numbers = self._stream_numbers[part]
        return TaskStreams.of(self._seed, name, self._iteration, numbers, self.episodes)


def _grain(policy: Policy, episodes: int) -> int:
    """The number of tasks in whole multiples of which the first task of a shard may be.

    The last bits of a batched matrix product depend on where in memory its pieces lie, modulo
    four numbers: those of a task must lie alike whichever tasks stand before it in the shard.
    """
    return max(4 // math.gcd(4, episodes * size) for size in policy.network.sizes[1:])


def _parts(count: int, parts: int, grain: int = 1) -> list[range]:
    """0..count-1 as consecutive ranges of nearly equal length, from multiples of `grain`."""
    edges = [count // grain * index // parts * grain for index in range(parts)]
    return [range(start, stop) for start, stop in itertools.pairwise([*edges, count])]


def _share(threads: int, shards: int, index: int) -> int:
    return len(_parts(threads, shards)[index])

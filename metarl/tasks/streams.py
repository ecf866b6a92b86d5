"""Counter-based random streams: randomness is an argument, never a global state.

Every (seed, purpose, iteration, task) names its own stream of numpy's Philox generator, so a draw
does not depend on the number of threads or processes, on how tasks are batched, or on what else
drew numbers.
"""

import zlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_WORD = 2**64


def stream(seed: int, purpose: str, iteration: int = 0, task: int = 0) -> np.random.Generator:
    """The stream of one (seed, purpose, iteration, task).

    Philox4x64 (Salmon et al. 2011) is keyed by seed and purpose; iteration and task are the upper
    words of its 256-bit counter, which leaves 2**128 blocks of four numbers to every stream.
    """
    key = np.array([seed % _WORD, zlib.crc32(purpose.encode())], dtype=np.uint64)
    counter = np.array([0, 0, task % _WORD, iteration % _WORD], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


class TaskStreams:
    """K streams side by side, one per task; a draw is task-major `[K * episodes, *shape]`.

    The numbers of task k depend on its own stream alone, not on the other tasks of the batch.
    """

    def __init__(self, generators: Sequence[np.random.Generator], episodes: int):
        self.generators = tuple(generators)
        self.episodes = episodes

    @classmethod
    def of(
        cls, seed: int, purpose: str, iteration: int, tasks: Sequence[int] | range, episodes: int
    ) -> "TaskStreams":
        """The streams of tasks with these indices at one iteration of a run."""
        generators = [stream(seed, purpose, iteration, task) for task in tasks]
        return cls(generators, episodes)

    def uniform(self, low: float, high: float, shape: Sequence[int] = ()) -> Tensor:
        """Uniform draws on [low, high), float64 `[K * episodes, *shape]`."""
        size = (self.episodes, *shape)
        return self._stack([generator.uniform(low, high, size) for generator in self.generators])

    def normal(self, scale: float = 1.0, shape: Sequence[int] = ()) -> Tensor:
        """Normal draws, mean 0, standard deviation `scale`, float64 `[K * episodes, *shape]`."""
        size = (self.episodes, *shape)
        return self._stack([generator.normal(0.0, scale, size) for generator in self.generators])

    def integers(self, count: int, shape: Sequence[int] = ()) -> Tensor:
        """Integers 0..count-1 with equal probability, int64 `[K * episodes, *shape]`."""
        size = (self.episodes, *shape)
        return self._stack([generator.integers(count, size=size) for generator in self.generators])

    @staticmethod
    def _stack(draws: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.concatenate(draws))

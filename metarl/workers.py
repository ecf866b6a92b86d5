"""Chunks of tasks on several CPU threads, with results that do not depend on their number."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def chunks(count: int, size: int) -> list[slice]:
    """0 to `count` - 1 as consecutive slices of `size`, the last one maybe shorter."""
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]


class Workers:
    """Maps a function over items on `threads` threads; results come in the order of the items.

    torch releases Python's lock inside its operators, so chunks truly run side by side. With one
    torch thread per worker (`torch.set_num_threads(1)`) every chunk is computed by one core alone:
    the results are then the same bits for any number of threads, small operators pay for no
    barrier, and a chunk stays in its core's cache.
    """

    def __init__(self, threads: int = 1):
        if threads < 1:
            raise ValueError(f"threads must be at least 1, got {threads}")
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def map(self, function: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
        """`[function(item) for item in items]`; the first error is raised."""
        if self._pool is None or len(items) < 2:
            return [function(item) for item in items]
        return list(self._pool.map(function, items))

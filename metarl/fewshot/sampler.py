"""`EpisodeSampler`: episodes of a split by one gather, each from its own random stream."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.config import SIZES
from metarl.fewshot.data.examples import Examples
from metarl.fewshot.episodes import Episodes, class_major_targets


class EpisodeSampler:
    """Draws N-way K-shot episodes with Q queries of each class.

    Args:
        examples: of a split; they stay on the device where they are.
        ways: N.
        shots: K.
        queries: Q.

    Raises UserError for a split with fewer than N classes, or a class with fewer than K + Q
    examples.
    """

    def __init__(self, examples: Examples, ways: int, shots: int, queries: int):
        require_enough(examples, ways, shots, queries)
        self.examples, self.ways, self.shots, self.queries = examples, ways, shots, queries
        counts = examples.counts.cpu().numpy()
        self._counts = counts
        self._starts = counts.cumsum() - counts
        # Every image in its four positions: four times the memory, but turning costs no time.
        inputs = examples.inputs
        self._inputs = _all_turns(inputs) if examples.rotations else inputs

    def sample(self, generators: Sequence[np.random.Generator]) -> Episodes:
        """One episode from each generator; it depends on that generator alone."""
        classes, rows, turns = self.draw(generators)
        device, count = self.examples.inputs.device, len(generators)
        shots, queries = self.shots, self.queries
        return Episodes(
            self._gather(rows[..., :shots], turns).flatten(1, 2),
            class_major_targets(count, self.ways, shots, device),
            self._gather(rows[..., shots:], turns).flatten(1, 2),
            class_major_targets(count, self.ways, queries, device),
            torch.from_numpy(classes).to(device),
        )

    def draw(
        self, generators: Sequence[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What B episodes are made of: classes `[B, N]`, rows of their examples `[B, N, K + Q]`
        and quarter turns `[B, N]` (0 where the examples are never turned)."""
        ways, each = self.ways, self.shots + self.queries
        # Equally many numbers from every stream, so that all episodes are drawn by one formula.
        sizes = [2 * ways, 2 * ways * each, ways]
        numbers = np.stack([generator.random(sum(sizes)) for generator in generators])
        of_classes, of_rows, of_turns = np.split(numbers, np.cumsum(sizes)[:-1], axis=1)
        classes = _without_replacement(of_classes, np.full(len(generators), len(self._counts)))
        counts = self._counts[classes]
        places = _without_replacement(of_rows.reshape(*counts.shape, 2 * each), counts)
        turns = (of_turns * (4 if self.examples.rotations else 0)).astype(np.int64)
        return classes, self._starts[classes][..., None] + places, turns

    def contents(self, generators: Sequence[np.random.Generator]) -> Iterator[bytes]:
        """What `sample` makes each episode of, for a hash: sizes, classes, rows and turns."""
        sizes = np.array([self.ways, self.shots, self.queries])
        for drawn in zip(*self.draw(generators), strict=True):
            # Little-endian on every machine.
            yield b"".join(array.astype("<i8").tobytes() for array in (sizes, *drawn))

    def examples_of_all(self, generator: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Inputs `[count, ...]` and classes `[count]` of examples of the whole split, with
        replacement; the classes of turned images are the classes of the upright ones."""
        rows = generator.integers(self._counts.sum(), size=count)
        turns = generator.integers(4 if self.examples.rotations else 1, size=count)
        classes = np.searchsorted(self._counts.cumsum(), rows, side="right")
        inputs = self._gather(rows[:, None], turns).squeeze(1)
        return inputs, torch.from_numpy(classes).to(inputs.device)

    def _gather(self, rows: np.ndarray, turns: np.ndarray) -> Tensor:
        """Inputs at `rows` `[..., k]`, the k turned alike; images as floats in [0, 1]."""
        rows = rows + turns[..., None] * len(self.examples.inputs)
        index = torch.from_numpy(rows.ravel()).to(self._inputs.device)
        # `index_select` copies whole rows; indexing with a tensor is ten times slower.
        inputs = self._inputs.index_select(0, index)
        if inputs.dtype == torch.uint8:
            inputs = inputs.float().div_(255.0)
        return inputs.view(*rows.shape, *inputs.shape[1:])


def require_enough(
    examples: Examples,
    ways: int,
    shots: int,
    queries: int,
    split: str = "",
    keys: Sequence[str] = SIZES,
) -> None:
    """UserError where no episodes of this size can be drawn.

    Args:
        examples: of a split.
        ways: N.
        shots: K.
        queries: Q.
        split: its name, for the message.
        keys: which settings of `episodes` say N, K and Q.
    """
    of_ways, of_shots, of_queries = (f"episodes.{key}" for key in keys)
    name = f"{split} classes" if split else "classes"
    if len(examples) < ways:
        raise UserError(
            f"{len(examples)} {name} are too few for {ways}-way episodes; lower {of_ways}"
        )
    fewest = int(examples.counts.argmin())
    count = int(examples.counts[fewest])
    if count < shots + queries:
        raise UserError(
            f"class {examples.names[fewest]} has {count} examples, too few for "
            f"{shots} shots and {queries} queries; lower {of_queries} or {of_shots}"
        )


def _without_replacement(numbers: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """k different integers below each of `counts`, in random order.

    Floyd's algorithm (Bentley and Floyd, CACM 30(9), 1987) draws the set, whatever the count, and
    a second random number for each of them the order.

    Args:
        numbers: uniform on [0, 1), `[..., 2 k]`.
        counts: k or more, `[...]`.

    Returns `[..., k]`.
    """
    drawing, ordering = np.split(numbers, 2, axis=-1)
    size = drawing.shape[-1]
    chosen = np.empty(drawing.shape, dtype=np.int64)
    for place in range(size):
        last = counts - size + place
        proposed = (drawing[..., place] * (last + 1)).astype(np.int64)
        taken = (chosen[..., :place] == proposed[..., None]).any(axis=-1)
        chosen[..., place] = np.where(taken, last, proposed)
    return np.take_along_axis(chosen, ordering.argsort(axis=-1), axis=-1)


def _all_turns(images: Tensor) -> Tensor:
    """Images `[n, c, H, W]` turned by 0, 1, 2 and 3 quarters, `[4 n, c, H, W]`."""
    return torch.cat([images.rot90(quarter, (-2, -1)) for quarter in range(4)])

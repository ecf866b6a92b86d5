"""`EpisodeSampler`: episodes of a split by one gather, each from its own random stream."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError
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
        self.examples, self.ways, self.shots, self.queries = examples, ways, shots, queries
        counts = examples.counts.cpu().numpy()
        if len(counts) < ways:
            raise UserError(
                f"{len(counts)} classes are too few for {ways}-way episodes; lower episodes.ways"
            )
        each, fewest = shots + queries, int(counts.argmin())
        if counts[fewest] < each:
            raise UserError(
                f"class {examples.names[fewest]} has {counts[fewest]} examples, too few for "
                f"{shots} shots and {queries} queries; lower episodes.queries or episodes.shots"
            )
        self._counts = counts
        self._starts = counts.cumsum() - counts

    def sample(self, generators: Sequence[np.random.Generator]) -> Episodes:
        """One episode from each generator."""
        drawn = [self._draw(generator) for generator in generators]
        classes, index, turns = (
            torch.from_numpy(np.stack(each)) for each in zip(*drawn, strict=True)
        )
        device = self.examples.inputs.device
        inputs = self._gather(index.to(device), turns.to(device))
        count = len(generators)
        support, query = inputs.split([self.shots, self.queries], dim=2)
        return Episodes(
            support.flatten(1, 2),
            class_major_targets(count, self.ways, self.shots, device),
            query.flatten(1, 2),
            class_major_targets(count, self.ways, self.queries, device),
            classes.to(device),
        )

    def examples_of_all(self, generator: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
        """Inputs `[count, ...]` and classes `[count]` of examples of the whole split, with
        replacement; the classes of turned images are the classes of the upright ones."""
        rows = torch.from_numpy(generator.integers(self._counts.sum(), size=count))
        ends = torch.from_numpy(self._counts.cumsum())
        classes = torch.searchsorted(ends, rows, right=True)
        turns = torch.from_numpy(generator.integers(4, size=count))
        device = self.examples.inputs.device
        turned = turns if self.examples.rotations else turns * 0
        inputs = self._gather(rows.view(-1, 1).to(device), turned.to(device))
        return inputs.squeeze(1), classes.to(device)

    def _draw(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Classes `[N]`, rows of their examples `[N, K + Q]`, quarter turns `[N]`."""
        classes = generator.choice(len(self._counts), self.ways, replace=False)
        each = self.shots + self.queries
        counts = self._counts[classes]
        # The places of the smallest random numbers are a draw without replacement.
        numbers = generator.random((self.ways, counts.max()))
        numbers[np.arange(counts.max()) >= counts[:, None]] = 2.0
        chosen = numbers.argsort(axis=1)[:, :each]
        turns = generator.integers(4, size=self.ways) if self.examples.rotations else counts * 0
        return classes, self._starts[classes][:, None] + chosen, turns

    def _gather(self, index: Tensor, turns: Tensor) -> Tensor:
        """Inputs at `index` `[..., k]`, the k turned alike; images as floats in [0, 1]."""
        inputs = self.examples.inputs[index]
        if inputs.dtype != torch.uint8:
            return inputs
        if self.examples.rotations:
            for quarter in range(1, 4):
                mask = turns == quarter
                inputs[mask] = inputs[mask].rot90(quarter, (-2, -1))
        return inputs.float() / 255.0

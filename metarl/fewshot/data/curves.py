"""Curves: regression problems, one function per episode."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from typing import Any, ClassVar

import numpy as np
import torch

from metarl.errors import UserError
from metarl.fewshot.data.options import made_of, require_arguments
from metarl.fewshot.episodes import Episodes


class Curves(ABC):
    """A distribution over functions of one number; every episode is a fresh draw from it."""

    name: ClassVar[str]
    protocol: str
    """The distribution in one sentence, printed with every result."""

    @abstractmethod
    def draw(self, generator: np.random.Generator, points: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y `[points]` of one function, in the order in which they are drawn."""

    def sample(
        self, generators: Sequence[np.random.Generator], shots: int, queries: int
    ) -> Episodes:
        """One function from each generator, `shots` support and `queries` query points."""
        drawn = [np.stack(self.draw(each, shots + queries)) for each in generators]
        points = torch.from_numpy(np.stack(drawn)).float().unsqueeze(-1)
        x, y = points[:, 0], points[:, 1]
        none = torch.empty(len(points), 0, dtype=torch.int64)
        return Episodes(x[:, :shots], y[:, :shots], x[:, shots:], y[:, shots:], none)


def reader_of(curves: type[Curves]) -> Callable[..., Curves]:
    """What `DATA_SETS` holds for curves, which have neither files nor splits. Options are what the
    class is made with: the fields of a dataclass are checked like the configuration."""

    def read(root: str | None, split: str, **options: Any) -> Curves:
        if split != "default":
            raise UserError(f"data.split: curves are drawn afresh; leave it out, got {split!r}")
        if is_dataclass(curves):
            return made_of(curves, options)
        require_arguments(curves, options, curves.name)
        return curves(**options)

    return read

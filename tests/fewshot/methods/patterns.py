"""A small classification problem whose features must be learned, and experiments on it.

Images of 4 x 4: the upper half is a pattern of the class with little noise, the lower half is noise
with the same spread, so that distances of pixels are right only now and then. Training classes are
in three groups.
"""

from typing import Any

import numpy as np
import pytest
import torch

from metarl.config import from_mapping
from metarl.fewshot.data import DATA_SETS, DataSet, Examples
from metarl.fewshot.experiment import FewShotExperiment
from metarl.tasks import stream

EACH = 12
"""Examples of a class."""
TOKENS = 9


def patterns(root: str | None = None, split: str = "default", groups: bool = True) -> DataSet:
    """The images."""
    sizes = {"train": 30, "validation": 10, "test": 20}
    splits = {name: _images(name, count, groups) for name, count in sizes.items()}
    return DataSet("patterns", "images", splits, "made for tests")


def phrases(root: str | None = None, split: str = "default") -> DataSet:
    """Texts of `TOKENS` words: three words of the class, in any place among common ones."""
    splits = {name: _texts(name) for name in ("train", "validation", "test")}
    vocabulary = tuple(str(number) for number in range(120))
    return DataSet("phrases", "texts", splits, "made for tests", vocabulary)


def _images(split: str, classes: int, groups: bool) -> Examples:
    generator = stream(0, f"patterns {split}")
    upper = generator.integers(0, 2, (classes, 1, 8)) * 120 + 60
    upper = upper + generator.normal(0.0, 12.0, (classes, EACH, 8))
    lower = generator.integers(0, 2, (classes, EACH, 8)) * 255
    pixels = np.concatenate([upper, lower], axis=-1).clip(0, 255).astype(np.uint8)
    return Examples(
        torch.from_numpy(pixels).reshape(-1, 1, 4, 4),
        torch.full((classes,), EACH),
        tuple(f"{split}{number}" for number in range(classes)),
        tuple(f"group{number % 3}" for number in range(classes)) if groups else (),
    )


def _texts(split: str, classes: int = 8) -> Examples:
    generator = stream(0, f"phrases {split}")
    texts = generator.integers(2, 22, (classes, EACH, TOKENS))
    for number in range(classes):
        for text in texts[number]:
            text[:3] = 22 + 3 * number + generator.integers(0, 3, 3)
            generator.shuffle(text)
    return Examples(
        torch.from_numpy(texts).reshape(-1, TOKENS),
        torch.full((classes,), EACH),
        tuple(f"{split}{number}" for number in range(classes)),
    )


def experiment(
    patch: pytest.MonkeyPatch,
    algorithm: dict[str, Any],
    normalization: str = "running",
    data: dict[str, Any] | None = None,
    **sections: dict[str, Any],
) -> FewShotExperiment:
    """5-way 1-shot on the patterns (or other data), with a small perceptron."""
    patch.setitem(DATA_SETS, "patterns", patterns)
    patch.setitem(DATA_SETS, "phrases", phrases)
    mapping = {
        "data": data or {"name": "patterns"},
        "algorithm": algorithm,
        "episodes": {"ways": 5, "shots": 1, "queries": 5, "per_batch": 4},
        "model": {"name": "mlp", "hidden_sizes": [32, 16], "normalization": normalization},
        "evaluation": {"episodes": 100, "steps": 5},
        "run": {"iterations": 4, "threads": 1, "device": "cpu"},
    }
    for name, values in sections.items():
        mapping[name] = {**mapping[name], **values}
    return FewShotExperiment.from_config(from_mapping(mapping, "test"))

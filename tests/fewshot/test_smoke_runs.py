"""Short trainings that must learn: on real data where METARL_DATA is set, else on generated."""

import os
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from metarl.config import load_config
from metarl.fewshot.run import evaluate_few_shot
from metarl.training.trainer import Trainer

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
REAL = bool(os.environ.get("METARL_DATA"))
IMAGES = "omniglot" if REAL else "glyphs"
SMALL: dict[str, Any] = {
    "episodes.queries": 5,
    "model.channels": 16,
    "evaluation.episodes": 40,
    "evaluation.steps": 1,
    "run.checkpoint_every": 100,
    "run.evaluate_every": 0,
    "run.threads": 1,
}


def accuracy(preset: str, folder: Path, **overrides: Any) -> float:
    """On test classes, of a preset's run with these changes."""
    changes = SMALL | {key.replace("__", "."): value for key, value in overrides.items()}
    changes["run.output"] = str(folder)
    Trainer.start(load_config(CONFIGS / f"{preset}.yaml", changes), Console(quiet=True)).train()
    return float(evaluate_few_shot(folder)[0].mean[-1])


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("prototypical", {"run__iterations": 40, "episodes__training_ways": 10}),
        ("maml", {"run__iterations": 150, "episodes__per_batch": 8}),
        ("logistic_regression", {"run__iterations": 60}),
    ],
)
def test_images_are_learned(method: str, changes: dict[str, Any], tmp_path: Path) -> None:
    # Five classes: chance is 0.2, with a standard error of some hundredths at most.
    assert accuracy(f"{IMAGES}/{method}", tmp_path / "run", **changes) > 0.3


@pytest.mark.skipif(not REAL, reason="METARL_DATA is not set")
@pytest.mark.parametrize("data", ["clinc150", "banking77"])
def test_texts_are_learned(data: str, tmp_path: Path) -> None:
    small = {"model__embedding": 64, "model__subwords": False, "run__iterations": 60}
    assert accuracy(f"{data}/prototypical", tmp_path / "run", **small) > 0.4

"""A configuration so small that a training takes a fraction of a second."""

from typing import Any

import pytest

from metarl.config import Config, from_mapping

_TINY = {
    "tasks": {"family": "PointNavigation-v0", "tasks_per_iteration": 3, "episodes_per_task": 2},
    "policy": {"hidden_sizes": [8], "normalize_observations": True},
    "algorithm": {"name": "maml_trpo", "tasks_per_chunk": 1},
    "evaluation": {"tasks": 3, "episodes": 2, "steps": 2},
    "run": {"iterations": 8, "checkpoint_every": 2, "threads": 1, "device": "cpu"},
}


class TinyConfig:
    """Call it with dotted overrides."""

    def __call__(self, **overrides: Any) -> Config:
        dotted = {key.replace("__", "."): value for key, value in overrides.items()}
        return from_mapping(_TINY, "tiny", dotted)


@pytest.fixture(scope="session")
def tiny() -> TinyConfig:
    """`tiny(run__iterations=3)` is the small configuration with `run.iterations` changed."""
    return TinyConfig()

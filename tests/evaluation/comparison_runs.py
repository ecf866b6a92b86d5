"""Run folders made by hand, as `metarl train` and `metarl evaluate` leave them, in no time."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from metarl.evaluation.curves import AdaptationCurve
from metarl.tasks import make

FAMILY = "PointNavigation-v0"
TASK_LIST = make(FAMILY).split("test")


def make_run(
    path: Path,
    returns: Any = None,
    *,
    algorithm: str = "maml_trpo",
    settings: dict[str, Any] | None = None,
    tasks: dict[str, Any] | None = None,
    seed: int = 1,
    iteration: int = 5,
    family: str = FAMILY,
    options: dict[str, Any] | None = None,
    mujoco: str = "4.0.0",
    training_steps: int = 1000,
    environment_steps: Any = None,
    metrics: bool = True,
    **details: Any,
) -> Path:
    """A run folder with its test evaluation; `returns` is `[tasks, steps + 1]`."""
    returns = np.array([[0.0, 1.0], [0.0, 3.0]] if returns is None else returns, dtype=float)
    if environment_steps is None:
        environment_steps = 100.0 * np.arange(returns.shape[1])
    (path / "evaluation").mkdir(parents=True)
    (path / "checkpoints").mkdir()
    (path / "checkpoints" / f"{iteration:06d}.pt").touch()
    config = {
        "tasks": {"family": family, "options": options or {}, **(tasks or {})},
        "algorithm": {"name": algorithm, **(settings or {})},
        "run": {"seed": seed, "iterations": iteration},
    }
    (path / "config.yaml").write_text(json.dumps(config))  # JSON is YAML
    versions = {"metarl": "0.1.0", "mujoco": mujoco, "torch": "2.13.0"}
    (path / "versions.json").write_text(json.dumps(versions))
    if metrics:
        header = "iteration,train/environment_steps,train/return_pre,train/return_post\n"
        rows = [f"{i},{i * training_steps / iteration},-9,{-9 + i}\n" for i in range(1, iteration)]
        (path / "metrics.csv").write_text(header + "".join(rows))
    facts = {
        "family": family,
        "horizon": 100,
        "split": "test",
        "split_hash": TASK_LIST.content_hash(),
        "episodes": 20,
        "evaluation_seed": 0,
        "inner_learning_rates": None,
        "tasks": json.loads(TASK_LIST.cycle(len(returns)).to_json()),
        "iteration": iteration,
        "training_environment_steps": training_steps,
        "versions": {"mujoco": mujoco},
    }
    curve = AdaptationCurve(returns, environment_steps, facts | details)
    (path / "evaluation" / "test.json").write_text(curve.to_json())
    return path


def noisy(level: float, gain: float = 5.0, tasks: int = 10, steps: int = 3, seed: int = 0) -> Any:
    """Returns `[tasks, steps + 1]` that rise from `level` by `gain` in the first step."""
    noise = np.random.default_rng(seed).normal(size=(tasks, steps + 1))
    return level + gain * np.minimum(np.arange(steps + 1), 1.0) + noise

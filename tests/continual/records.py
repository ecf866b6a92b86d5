"""Records of continual runs that were never run: plausible numbers, made in milliseconds."""

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metarl.config import to_yaml
from metarl.continual.config import (
    ContinualConfig,
    ContinualEvaluationConfig,
    ContinualPPOConfig,
    SequenceConfig,
)
from metarl.continual.record import ContinualRecord, Row, SequenceRecord, TaskRecord

FOUR = ("hugefoot", "moon", "carry_stuff", "rainfall")
# How well a method keeps a task over a stage, how fast it learns; grows with the strength.
KEEPING = {
    "fine_tuning": (0.35, 0.0),
    "from_scratch": (0.15, 0.0),
    "l2": (0.4, 0.5),
    "l2_accumulating": (0.4, 0.55),
    "ewc": (0.4, 0.55),
    "online_ewc": (0.4, 0.5),
    "si": (0.38, 0.4),
    "mas": (0.4, 0.5),
    "distillation": (0.45, 0.45),
    "packnet": (0.97, 0.0),
    "a_gem": (0.5, 0.0),
}
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0)
TEN = {
    "fine_tuning": (),
    "from_scratch": (),
    "multi_task": (),
    **dict.fromkeys(("l2", "ewc", "mas", "si", "distillation"), STRENGTHS),
    "packnet": (),
    "a_gem": (),
}


def make_config(
    methods: Mapping[str, tuple[float, ...]] = TEN,
    tasks: Sequence[str] = FOUR,
    repetitions: int = 1,
    seeds: int = 5,
    iterations: int = 40,
    held_out: str | None = "normal",
    **algorithm: Any,
) -> ContinualConfig:
    """A configuration whose record `make_record` makes."""
    return ContinualConfig(
        sequence=SequenceConfig(
            family="HalfCheetahDynamics-v0",
            tasks=tuple(tasks),
            held_out=held_out,
            repetitions=repetitions,
            iterations=iterations,
        ),
        algorithm=ContinualPPOConfig(methods=dict(methods), seeds=seeds, **algorithm),
        evaluation=ContinualEvaluationConfig(evaluate_every=10, adaptation_steps=5),
    )


def make_record(
    config: ContinualConfig | None = None, iteration=None, **changes
) -> ContinualRecord:
    """What a run of `config` might have measured until `iteration`; its end by default."""
    config = config or make_config()
    settings, algorithm = config.sequence, config.algorithm
    names = list(dict.fromkeys(map(str, settings.tasks)))
    stages = tuple(names.index(str(task)) for task in settings.tasks) * settings.repetitions
    rows = tuple(
        Row(method, strength, seed)
        for method, strengths in algorithm.methods.items()
        for strength in strengths or (None,)
        for seed in range(algorithm.seeds)
    )
    generator = np.random.default_rng(config.run.seed)
    scale = 300.0 * np.arange(1, len(names) + 1)
    inner, last = settings.iterations, len(stages) * settings.iterations
    moments = np.arange(0, last + 1, 10)
    curve = np.stack([_curve(row, stages, len(names), inner, generator) for row in rows])
    offset = -50.0
    returns = offset + curve * scale
    order = np.repeat(stages, inner)
    iteration = last if iteration is None else iteration
    reached = np.arange(last + 1) <= iteration
    returns = np.where(reached[:, None], returns, np.nan)
    matrix = returns[:, ::inner]
    steps = config.evaluation.adaptation_steps + 1 if settings.held_out else 0
    rise = 1.0 - np.exp(-np.arange(steps) / 3.0)
    start = np.nanmean(curve, axis=2)[:, ::inner, None] * 200.0
    noise = generator.normal(0.0, 8.0, (len(rows), len(stages) + 1, steps))
    adaptation = start + 120.0 * rise + noise + 0.0 * matrix[..., :1]
    stage = np.arange(len(stages) + 1)
    wobble = generator.normal(0.0, 1.0, (3, len(rows), len(stages) + 1)) + 0.0 * matrix[..., 0]
    fields = {
        "sequence": SequenceRecord(
            family=settings.family,
            tasks=tuple(TaskRecord(name, {"gravity": 9.81, "friction": 0.4}) for name in names),
            stages=stages,
            held_out=TaskRecord(str(settings.held_out), {"gravity": 5.0})
            if settings.held_out
            else None,
            iterations=inner,
            episodes=settings.episodes,
            horizon=settings.horizon or 1000,
            hash=_hash(names, stages),
        ),
        "algorithm": json.loads(json.dumps(dataclasses.asdict(algorithm))),
        "seed": config.run.seed,
        "evaluation_episodes": config.evaluation.episodes,
        "rows": rows,
        "matrix": matrix,
        "training_returns": np.take_along_axis(
            returns[:, 1:], np.broadcast_to(order[None, :, None], (len(rows), last, 1)), axis=2
        )[..., 0],
        "curve_iterations": moments,
        "curve_returns": returns[:, moments],
        "adaptation": adaptation,
        "plasticity": {
            "dormant_units": np.clip(0.02 + 0.03 * stage + 0.01 * wobble[0], 0.0, 1.0),
            "stable_rank": 12.0 - 1.1 * stage + 0.6 * wobble[1],
            "weight_norm": 10.0 + 2.0 * stage + 0.5 * wobble[2],
        },
        "random": np.full(len(names), offset),
        "iteration": iteration,
        "environment_steps": len(rows) * iteration * settings.episodes * 1000,
        "versions": {"metarl": "0.1.0", "mujoco": "4.0.0", "torch": "2.13.0"},
    }
    return ContinualRecord(**(fields | changes))


def make_run(folder: Path, config: ContinualConfig | None = None, **changes) -> Path:
    """A run folder with a configuration, an evaluation and the last checkpoint's name."""
    config = config or make_config()
    record = make_record(config, **changes)
    (folder / "evaluation").mkdir(parents=True)
    (folder / "config.yaml").write_text(to_yaml(config))
    (folder / "versions.json").write_text(json.dumps(record.versions))
    record.save(folder / "evaluation" / "continual.json")
    return folder


def _hash(names, stages) -> str:
    return hashlib.sha256(repr((names, stages)).encode()).hexdigest()[:16]


def _curve(row, stages, tasks, inner, generator) -> np.ndarray:
    """Normalised performance on every task before the first and after every iteration."""
    keeping, gain = KEEPING.get(row.method, (1.0, 0.0))
    strength = 0.0 if row.strength is None else row.strength / (1.0 + row.strength)
    keeping, reach = keeping + gain * strength, 1.0 - 0.35 * strength**4
    level = generator.normal(0.05, 0.03, tasks)
    found = [level.copy()]
    for task in stages:
        if row.method == "from_scratch":
            level = found[0].copy()
        for _ in range(inner):
            target = reach * (1.0 + 0.05 * generator.normal())
            forgotten = level * keeping ** (1.0 / inner)
            others = np.arange(tasks) != task
            learned = level + (target - level) * 0.11
            if row.method == "multi_task":
                level = level + (0.9 - level) * 0.02
            else:
                level = np.where(others, forgotten, learned)
            found.append(level + generator.normal(0.0, 0.015, tasks))
    return np.array(found)

"""A continual record small enough to compute its metrics by hand: two tasks, one stage each."""

from typing import Any

import numpy as np

from metarl.continual.record import ContinualRecord, Row, SequenceRecord, TaskRecord

SEQUENCE = SequenceRecord(
    family="Line-v0",
    tasks=(TaskRecord("left", {"goal": [-1.0, 0.0]}), TaskRecord("right", {"goal": [1.0, 0.0]})),
    stages=(0, 1),
    held_out=TaskRecord("up", {"goal": [0.0, 1.0]}),
    iterations=2,
    episodes=3,
    horizon=7,
    hash="0123456789abcdef",
)
# Random actions get 0 and 10. From-scratch learners get 100 on the left and 60 on the right, each
# after its own stage, so that p = R / 100 on the left and (R - 10) / 50 on the right.
SCRATCH = [
    [[5.0, 7.0], [90.0, 0.0], [3.0, 50.0]],
    [[5.0, 7.0], [110.0, 0.0], [3.0, 70.0]],
]
SCRATCH_TRAINING = [[20.0, 60.0, 20.0, 40.0], [40.0, 80.0, 30.0, 50.0]]
"""Normalised means of the stages: .4 and .4 of seed 0, .6 and .6 of seed 1."""
FINE_TUNING = [
    [[5.0, 7.0], [100.0, 20.0], [0.0, 60.0]],
    [[5.0, 7.0], [80.0, 10.0], [20.0, 35.0]],
]
FINE_TUNING_TRAINING = [[20.0, 60.0, 40.0, 50.0], [40.0, 80.0, 10.0, 20.0]]


def make_record(
    learners: dict[tuple[str, float | None], Any],
    training: dict[tuple[str, float | None], Any] | None = None,
    **changes: Any,
) -> ContinualRecord:
    """Learners `[seeds, 3, 2]` by method and strength; training returns `[seeds, 4]`, 0 if none."""
    rows = tuple(Row(*key, seed) for key, each in learners.items() for seed in range(len(each)))
    count = len(rows)
    returns = [
        (training or {}).get(key, np.zeros((len(each), 4))) for key, each in learners.items()
    ]
    stages = np.arange(3.0) * np.ones((count, 1))
    fields: dict[str, Any] = {
        "sequence": SEQUENCE,
        "algorithm": {"name": "continual_ppo", "identity": "hidden", "ppo": {"clip": 0.2}},
        "seed": 1,
        "evaluation_episodes": 10,
        "rows": rows,
        "matrix": np.concatenate([np.asarray(each) for each in learners.values()]),
        "training_returns": np.concatenate([np.asarray(each) for each in returns]),
        "curve_iterations": [0, 4],
        "curve_returns": np.zeros((count, 2, 2)),
        "adaptation": np.ones((count, 3, 1)) * np.array([1.0, 2.0, 5.0]),
        "plasticity": {
            "dormant_units": 0.1 * stages,
            "stable_rank": 5.0 - stages,
            "weight_norm": 8.0 + stages,
        },
        "random": [0.0, 10.0],
        "iteration": 4,
        "environment_steps": 1234,
        "versions": {"metarl": "0.1.0"},
    }
    return ContinualRecord(**(fields | changes))


def both() -> ContinualRecord:
    """Fine-tuning and its reference, two seeds each."""
    return make_record(
        {("fine_tuning", None): FINE_TUNING, ("from_scratch", None): SCRATCH},
        {("fine_tuning", None): FINE_TUNING_TRAINING, ("from_scratch", None): SCRATCH_TRAINING},
    )

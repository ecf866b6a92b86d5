"""States of robots by hand, for rewards that a person can recompute."""

from typing import Any

import torch

from metarl.simulation import MujocoFamily, MujocoState
from metarl.tasks import Tasks, make


def state(family: MujocoFamily, qpos: dict[int, float] | None = None, **fields: Any) -> MujocoState:
    """One environment's state: zero but for some positions, and for what `fields` give.

    Sensors of the family are given by their names.
    """
    model = family.model
    positions = torch.zeros(1, model.nq, dtype=torch.float64)
    for index, value in (qpos or {}).items():
        positions[0, index] = value
    known = {"qpos": positions, "qvel": torch.zeros(1, model.nv, dtype=torch.float64)}
    slices, readings = {}, []
    for index, name in enumerate(family.sensors):
        slices[name] = slice(3 * index, 3 * index + 3)
        readings.append(torch.tensor([fields.pop(name, [0.0, 0.0, 0.0])], dtype=torch.float64))
    if readings:
        known["sensordata"] = torch.cat(readings, dim=1)
    return MujocoState({**known, **fields}, slices)


def reward(
    name: str, task: dict[str, Any], before: MujocoState, after: MujocoState, action: list[float]
) -> float:
    """The reward of one step of one environment."""
    family: Any = make(name)
    tasks = Tasks({key: [value] for key, value in task.items()})
    return float(family.reward(before, after, torch.tensor([action]), tasks)[0])

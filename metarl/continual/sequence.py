"""`TaskSequence`: distinct tasks, and the order in which they are trained on."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from metarl.continual.config import SequenceConfig
from metarl.errors import UserError
from metarl.simulation.engine import SimulatedFamily
from metarl.tasks import Tasks


@dataclass(frozen=True)
class TaskSequence:
    """J distinct tasks and the S stages that train on one of them each."""

    family: SimulatedFamily
    names: tuple[str, ...]
    """Of the distinct tasks."""
    tasks: Tasks
    """The J distinct tasks, in the order of their first stages."""
    stages: tuple[int, ...]
    """Which of the tasks each stage trains on."""
    held_out_name: str | None
    held_out: Tasks | None
    """A task that is never trained on, as a batch of one."""

    @classmethod
    def of(cls, family: SimulatedFamily, config: SequenceConfig) -> "TaskSequence":
        """The sequence that a configuration names; UserError for tasks that the family lacks."""
        given = [
            _named(family, task, f"sequence.tasks[{i}]") for i, task in enumerate(config.tasks)
        ]
        distinct: dict[str, tuple[str, Tasks]] = {}
        for name, task in given:
            distinct.setdefault(task.to_json(), (name, task))
        order = list(distinct)
        stages = tuple(order.index(task.to_json()) for _, task in given) * config.repetitions
        name = held_out = None
        if config.held_out is not None:
            name, held_out = _named(family, config.held_out, "sequence.held_out")
            if held_out.to_json() in distinct:
                raise UserError(f"sequence.held_out: {name} is trained on; choose another task")
        names = tuple(name for name, _ in distinct.values())
        if len(set(names)) < len(names):
            raise UserError("sequence.tasks: two different tasks have one name; rename them")
        tasks = Tasks.stack([_values(task) for _, task in distinct.values()])
        return cls(family, names, tasks, stages, name, held_out)

    def __len__(self) -> int:
        return len(self.stages)

    def describe(self) -> dict[str, Any]:
        """Names, parameters and order, as JSON has them."""
        parameters = json.loads(self.tasks.to_json())
        held_out = None
        if self.held_out is not None:
            (values,) = json.loads(self.held_out.to_json())
            held_out = {"name": self.held_out_name, "parameters": values}
        return {
            "family": self.family.name,
            "horizon": self.family.horizon,
            "tasks": [
                {"name": name, "parameters": values}
                for name, values in zip(self.names, parameters, strict=True)
            ],
            "stages": list(self.stages),
            "held_out": held_out,
        }

    def content_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of `describe` as JSON."""
        return hashlib.sha256(json.dumps(self.describe()).encode()).hexdigest()[:16]


def _named(family: SimulatedFamily, task: object, key: str) -> tuple[str, Tasks]:
    try:
        if isinstance(task, str):
            return task, family.named_task(task)
        if not isinstance(task, Mapping):
            raise UserError(f"must be a name or a mapping from parameter to value, got {task!r}")
        made = family.task(task)
    except UserError as error:
        raise UserError(f"{key}: {error}") from error
    return " ".join(f"{name} {_short(value)}" for name, value in task.items()), made


def _values(task: Tasks) -> dict[str, Any]:
    return {name: task[name][0].numpy() for name in task.names}


def _short(value: Any) -> str:
    if isinstance(value, list | tuple):
        return "(" + ", ".join(map(_short, value)) + ")"
    return f"{value:g}" if isinstance(value, int | float) else str(value)

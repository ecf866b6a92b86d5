"""`Tasks`: a batch of K tasks, one tensor per parameter."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, overload

import numpy as np
import torch
from torch import Tensor

from metarl.errors import UserError


class Tasks:
    """A batch of K tasks of one family: `tasks["velocity"]` is a tensor `[K, ...]`.

    Integer, slice and mask indices select tasks and give `Tasks` again. Values are float64 or int64
    and survive JSON exactly.
    """

    def __init__(self, values: Mapping[str, Any]):
        self._values = {name: _as_tensor(value) for name, value in values.items()}
        lengths = {name: len(value) for name, value in self._values.items()}
        if not lengths or len(set(lengths.values())) != 1:
            raise ValueError(f"the parameters of a batch of tasks need one length, got {lengths}")

    @classmethod
    def stack(cls, tasks: Sequence[Mapping[str, Any]]) -> "Tasks":
        """A batch from single tasks, each a mapping from parameter to value."""
        if not tasks:
            raise ValueError("a batch needs at least one task")
        return cls({name: np.stack([np.asarray(t[name]) for t in tasks]) for name in tasks[0]})

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the family's order."""
        return tuple(self._values)

    def __len__(self) -> int:
        return len(next(iter(self._values.values())))

    @overload
    def __getitem__(self, key: str) -> Tensor: ...
    @overload
    def __getitem__(self, key: int | slice | Sequence[int] | Tensor) -> "Tasks": ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key not in self._values:
                raise KeyError(f"no task parameter {key!r}; there are {', '.join(self.names)}")
            return self._values[key]
        if isinstance(key, int | np.integer):
            index = range(len(self))[int(key)]
            key = slice(index, index + 1)
        return Tasks({name: value[key] for name, value in self._values.items()})

    def __iter__(self) -> Iterator["Tasks"]:
        return (self[index] for index in range(len(self)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tasks) or self.names != other.names:
            return False
        pairs = ((self[name], other[name]) for name in self.names)
        return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)

    __hash__ = None  # pyright: ignore[reportAssignmentType]

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}{list(value.shape)}" for name, value in self._values.items())
        return f"Tasks({shown})"

    def repeat_each(self, count: int) -> "Tasks":
        """`[K, ...]` to task-major `[K * count, ...]`, one row per environment."""
        repeated = {n: v.repeat_interleave(count, dim=0) for n, v in self._values.items()}
        return Tasks(repeated)

    def cycle(self, count: int) -> "Tasks":
        """The first `count` tasks, starting again from the first where there are fewer."""
        return self[torch.arange(count) % len(self)]

    def to(self, device: torch.device | str) -> "Tasks":
        """The same tasks with their tensors on another device."""
        return Tasks({name: value.to(device) for name, value in self._values.items()})

    def to_json(self) -> str:
        """One JSON object per task in a list; numbers round-trip exactly."""
        columns = {name: value.tolist() for name, value in self._values.items()}
        return json.dumps([{n: c[i] for n, c in columns.items()} for i in range(len(self))])

    @classmethod
    def from_json(cls, text: str) -> "Tasks":
        """The inverse of `to_json`; UserError when the text is not a list of equal objects."""
        try:
            records = json.loads(text)
            if not isinstance(records, list) or not all(isinstance(r, dict) for r in records):
                raise ValueError("not a list of objects")
            if any(r.keys() != records[0].keys() for r in records):
                raise ValueError("not all objects have the same keys")
            return cls.stack(records)
        except (ValueError, AttributeError, TypeError, KeyError) as error:
            raise UserError(
                f'these are no tasks: {error}; expected e.g. [{{"velocity": 1.5}}]'
            ) from error

    def content_hash(self) -> str:
        """First 16 hex digits of the SHA-256 of the JSON text: names the exact list of tasks."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def _as_tensor(value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else _from_numpy(np.array(value))
    if tensor.dim() == 0:
        raise ValueError("a parameter of a batch of tasks needs a leading task axis")
    if tensor.dtype == torch.bool or tensor.is_floating_point():
        return tensor.to(torch.float64)
    return tensor.to(torch.int64)


def _from_numpy(value: np.ndarray) -> Tensor:
    if value.dtype.kind not in "biuf":
        raise ValueError(f"parameters must be numbers, got {value.tolist()!s:.60}")
    return torch.from_numpy(value)

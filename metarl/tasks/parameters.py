"""The kinds of task parameters: a range, and how one value is drawn from it."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


class Parameter(ABC):
    """One parameter of a task distribution; a value is an array of `shape` (often a scalar)."""

    shape: tuple[int, ...] = ()

    @abstractmethod
    def draw(self, generator: np.random.Generator) -> np.ndarray:
        """One value, an array of `self.shape`."""

    @abstractmethod
    def contains(self, value: np.ndarray) -> bool:
        """Whether the value (of `self.shape`) can be drawn."""

    def support(self) -> list[Any] | None:
        """All values where they are finitely many, else None."""
        return None


def _check_range(low: float, high: float) -> None:
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"a range needs finite low < high, got low={low}, high={high}")


@dataclass(frozen=True)
class Uniform(Parameter):
    """Uniform on [low, high), elementwise and independent for a `shape`."""

    low: float
    high: float
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        return np.asarray(generator.uniform(self.low, self.high, self.shape))

    def contains(self, value: np.ndarray) -> bool:
        return bool(np.all((value >= self.low) & (value <= self.high)))

    def __str__(self) -> str:
        return f"U[{self.low:g}, {self.high:g}]" + _shape_suffix(self.shape)


@dataclass(frozen=True)
class LogUniform(Parameter):
    """exp(U[log low, log high)): equal probability per factor, elementwise for a `shape`."""

    low: float
    high: float
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        _check_range(self.low, self.high)
        if self.low <= 0:
            raise ValueError(f"a log-uniform range must be positive, got low={self.low}")

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        logarithm = generator.uniform(math.log(self.low), math.log(self.high), self.shape)
        return np.asarray(np.clip(np.exp(logarithm), self.low, self.high))

    def contains(self, value: np.ndarray) -> bool:
        return bool(np.all((value >= self.low) & (value <= self.high)))

    def __str__(self) -> str:
        return f"logU[{self.low:g}, {self.high:g}]" + _shape_suffix(self.shape)


@dataclass(frozen=True)
class Choice(Parameter):
    """One of finitely many values (numbers, or arrays of one shape), with equal probability."""

    values: tuple[Any, ...]

    def __init__(self, values: Sequence[Any]):
        object.__setattr__(self, "values", tuple(values))
        if not self.values:
            raise ValueError("a choice needs at least one value")
        shapes = {np.shape(value) for value in self.values}
        if len(shapes) > 1:
            raise ValueError(f"the values of a choice must have one shape, got {sorted(shapes)}")

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return np.shape(self.values[0])

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        return np.asarray(self.values[int(generator.integers(len(self.values)))])

    def contains(self, value: np.ndarray) -> bool:
        return any(np.array_equal(value, candidate) for candidate in self.values)

    def support(self) -> list[Any]:
        return list(self.values)

    def __str__(self) -> str:
        return "{" + ", ".join(str(value) for value in self.values) + "}"


@dataclass(frozen=True)
class UniformDisc(Parameter):
    """Uniform over the area between two circles around the origin: `[2]`, in units of `radius`."""

    radius: float
    inner_radius: float = 0.0
    shape: tuple[int, ...] = (2,)

    def __post_init__(self) -> None:
        _check_range(self.inner_radius, self.radius)
        if self.inner_radius < 0 or self.shape != (2,):
            raise ValueError("a disc needs inner_radius >= 0 and has shape (2,)")

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        # Equal areas need equal steps of the squared radius.
        squared = generator.uniform(self.inner_radius**2, self.radius**2)
        angle = generator.uniform(0.0, 2.0 * math.pi)
        return math.sqrt(squared) * np.array([math.cos(angle), math.sin(angle)])

    def contains(self, value: np.ndarray) -> bool:
        distance = float(np.linalg.norm(value))
        return self.inner_radius - 1e-9 <= distance <= self.radius + 1e-9

    def __str__(self) -> str:
        if self.inner_radius == 0:
            return f"disc of radius {self.radius:g}"
        return f"ring of radii {self.inner_radius:g} to {self.radius:g}"


@dataclass(frozen=True)
class UnitVector(Parameter):
    """A direction, uniform on the unit sphere in `dimension` dimensions: `[dimension]`."""

    dimension: int = 2

    def __post_init__(self) -> None:
        if self.dimension < 1:
            raise ValueError(f"a unit vector needs dimension >= 1, got {self.dimension}")

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (self.dimension,)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        direction = generator.standard_normal(self.dimension)
        return direction / np.linalg.norm(direction)

    def contains(self, value: np.ndarray) -> bool:
        return abs(float(np.linalg.norm(value)) - 1.0) < 1e-9

    def __str__(self) -> str:
        return f"unit vector in {self.dimension}D"


def _shape_suffix(shape: tuple[int, ...]) -> str:
    return f"^{'x'.join(map(str, shape))}" if shape else ""

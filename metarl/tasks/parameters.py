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
        # Rounded to single precision: the last bits of numpy's exp differ from CPU to CPU, and
        # fixed lists must not.
        value = np.exp(logarithm).astype(np.float32).astype(np.float64)
        return np.asarray(np.clip(value, self.low, self.high))

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
        if len(self.values) > 8:
            return f"one of {len(self.values)} values"
        return "{" + ", ".join(str(value) for value in self.values) + "}"


@dataclass(frozen=True)
class ElementwiseChoice(Parameter):
    """Every element of an array one of finitely many numbers, independent of the others.

    For masks and signs: `ElementwiseChoice((0.0, 1.0), (17,), (0.2, 0.8))` keeps each of 17
    elements with probability 0.8.
    """

    values: tuple[float, ...]
    shape: tuple[int, ...] = ()
    probabilities: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.shape or not self.values or len(self.values) != len(self.probabilities):
            raise ValueError("an elementwise choice needs a shape, and a probability per value")
        if min(self.probabilities) < 0 or abs(sum(self.probabilities) - 1.0) > 1e-9:
            raise ValueError(f"probabilities must be >= 0 and sum to 1, got {self.probabilities}")

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        return generator.choice(self.values, self.shape, p=self.probabilities)

    def contains(self, value: np.ndarray) -> bool:
        possible = [v for v, p in zip(self.values, self.probabilities, strict=True) if p > 0]
        return bool(np.isin(value, possible).all())

    def __str__(self) -> str:
        return (
            "{" + ", ".join(f"{value:g}" for value in self.values) + "}" + _shape_suffix(self.shape)
        )


@dataclass(frozen=True)
class Normal(Parameter):
    """Normal with this mean and standard deviation, elementwise and independent for a `shape`."""

    mean: float
    std: float
    shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.mean) and 0 < self.std < math.inf):
            raise ValueError(f"a normal needs a finite mean and std > 0, got {self}")

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        return np.asarray(generator.normal(self.mean, self.std, self.shape))

    def contains(self, value: np.ndarray) -> bool:
        # Any number could be drawn; beyond seven standard deviations none ever is.
        return bool(np.all(np.abs(value - self.mean) <= 7.0 * self.std))

    def __str__(self) -> str:
        return f"N({self.mean:g}, {self.std**2:g})" + _shape_suffix(self.shape)


@dataclass(frozen=True)
class Dirichlet(Parameter):
    """Probability vectors of `size` numbers, symmetric Dirichlet, independent for each of `rows`.

    `concentration` 1 is uniform over all such vectors. A value has shape `[*rows, size]`.
    """

    size: int
    rows: tuple[int, ...] = ()
    concentration: float = 1.0

    def __post_init__(self) -> None:
        if self.size < 2 or not 0 < self.concentration < math.inf:
            raise ValueError(f"a Dirichlet needs size >= 2 and concentration > 0, got {self}")

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (*self.rows, self.size)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        return generator.dirichlet(np.full(self.size, self.concentration), self.rows)

    def contains(self, value: np.ndarray) -> bool:
        # With a finite concentration, a probability of exactly zero has probability zero.
        return bool(np.all(value > 0) and np.allclose(value.sum(axis=-1), 1.0))

    def __str__(self) -> str:
        return f"Dirichlet({self.concentration:g}) over {self.size}" + _shape_suffix(self.rows)


@dataclass(frozen=True)
class OneHot(Parameter):
    """One of `size` things, as a vector of one 1 among 0s; independent for each of `rows`."""

    size: int
    rows: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if self.size < 2:
            raise ValueError(f"one-hot vectors need size >= 2, got {self.size}")

    @property
    def shape(self) -> tuple[int, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (*self.rows, self.size)

    def draw(self, generator: np.random.Generator) -> np.ndarray:
        return np.eye(self.size)[generator.integers(self.size, size=self.rows)]

    def contains(self, value: np.ndarray) -> bool:
        return bool(np.isin(value, (0.0, 1.0)).all() and np.all(value.sum(axis=-1) == 1.0))

    def __str__(self) -> str:
        return f"one-hot over {self.size}" + _shape_suffix(self.rows)


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
        # Not by `norm`, whose last bit depends on the CPU.
        return direction / math.sqrt(math.fsum(direction * direction))

    def contains(self, value: np.ndarray) -> bool:
        return abs(float(np.linalg.norm(value)) - 1.0) < 1e-9

    def __str__(self) -> str:
        return f"unit vector in {self.dimension}D"


def _shape_suffix(shape: tuple[int, ...]) -> str:
    return f"^{'x'.join(map(str, shape))}" if shape else ""

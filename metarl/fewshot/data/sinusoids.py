"""Sinusoids: the regression problem of the MAML paper."""

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from metarl.fewshot.data.curves import Curves
from metarl.validation import require_at_least


@dataclass(eq=False)
class Sinusoids(Curves):
    """y = A sin(x - phi): A uniform on [0.1, 5], phi on [0, pi], x on [-5, 5].

    Finn et al. 2017, "Model-Agnostic Meta-Learning", section 5.1; the sign of phi and the absence
    of noise are the authors' code's. Raises InvalidValue for negative noise.
    """

    noise: float = 0.0
    """Standard deviation of Gaussian noise on every y; 0 in the paper."""

    name: ClassVar[str] = "sinusoids"
    amplitudes: ClassVar[tuple[float, float]] = (0.1, 5.0)
    phases: ClassVar[tuple[float, float]] = (0.0, math.pi)
    inputs: ClassVar[tuple[float, float]] = (-5.0, 5.0)

    def __post_init__(self) -> None:
        require_at_least(0, self, "noise")
        self.protocol = (
            "y = A sin(x - phi), A in [0.1, 5], phi in [0, pi], x in [-5, 5], all uniform, "
            + (f"noise {self.noise:g} on y" if self.noise else "no noise")
        )

    def draw(self, generator: np.random.Generator, points: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y `[points]` of one sinusoid."""
        amplitude, phase = generator.uniform(*self.amplitudes), generator.uniform(*self.phases)
        x = generator.uniform(*self.inputs, points)
        y = amplitude * np.sin(x - phase)
        return x, y + self.noise * generator.standard_normal(points) if self.noise else y

"""Sinusoids: the regression problem of the MAML paper."""

import math
from typing import ClassVar

import numpy as np

from metarl.errors import UserError
from metarl.fewshot.data.curves import Curves


class Sinusoids(Curves):
    """y = A sin(x - phi): A uniform on [0.1, 5], phi on [0, pi], x on [-5, 5].

    Finn et al. 2017, "Model-Agnostic Meta-Learning", section 5.1; the sign of phi and the absence
    of noise are the authors' code's.

    Args:
        noise: standard deviation of Gaussian noise on every y; 0 in the paper.

    Raises UserError for negative noise.
    """

    name: ClassVar[str] = "sinusoids"
    amplitudes = (0.1, 5.0)
    phases = (0.0, math.pi)
    inputs = (-5.0, 5.0)

    def __init__(self, noise: float = 0.0):
        if not noise >= 0.0:
            raise UserError(f"data.options.noise must be at least 0, got {noise}")
        self.noise = noise
        self.protocol = (
            "y = A sin(x - phi), A in [0.1, 5], phi in [0, pi], x in [-5, 5], all uniform, "
            + (f"noise {noise:g} on y" if noise else "no noise")
        )

    def draw(self, generator: np.random.Generator, points: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y `[points]` of one sinusoid."""
        amplitude, phase = generator.uniform(*self.amplitudes), generator.uniform(*self.phases)
        x = generator.uniform(*self.inputs, points)
        y = amplitude * np.sin(x - phase)
        return x, y + self.noise * generator.standard_normal(points) if self.noise else y

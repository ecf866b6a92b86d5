"""Curves drawn from a Gaussian process: the regression problem of Conditional Neural Processes."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from metarl.fewshot.data.curves import Curves
from metarl.validation import require_at_least, require_positive

_JITTER = 1e-10
"""Added to the variance of every point: the kernel of close points is singular in float64."""


@dataclass(eq=False)
class GaussianProcess(Curves):
    """Functions of a Gaussian process with a squared-exponential kernel; x uniform on [-2, 2].

    k(x, x') = scale^2 exp(-(x - x')^2 / (2 length^2)), and noise^2 more for a point with itself.
    Drawn exactly: y = L z with the Cholesky factor L of the covariance of the points. The defaults
    are those of the authors' notebook for Garnelo et al. 2018, "Conditional Neural Processes".
    Raises InvalidValue for a length or scale that is not positive, and for negative noise.
    """

    length: float = 0.4
    """Length scale l."""
    scale: float = 1.0
    """Standard deviation of y, sigma."""
    noise: float = 0.02
    """Standard deviation of the noise on every y."""

    name: ClassVar[str] = "gaussian_process"
    inputs: ClassVar[tuple[float, float]] = (-2.0, 2.0)

    def __post_init__(self) -> None:
        require_positive(self, "length", "scale")
        require_at_least(0, self, "noise")
        self.protocol = (
            f"Gaussian process with a squared-exponential kernel, length {self.length:g}, "
            f"sigma {self.scale:g}, noise {self.noise:g}, x uniform in [-2, 2]"
        )

    def covariance(self, x: np.ndarray) -> np.ndarray:
        """Covariance `[points, points]` of y at x `[points]`, noise included."""
        distance = (x[:, None] - x[None, :]) / self.length
        kernel = self.scale**2 * np.exp(-0.5 * distance**2)
        return kernel + self.noise**2 * np.eye(len(x))

    def draw(self, generator: np.random.Generator, points: int) -> tuple[np.ndarray, np.ndarray]:
        """x and y `[points]` of one function."""
        x = generator.uniform(*self.inputs, points)
        jitter = _JITTER * self.scale**2 * np.eye(points)
        factor = np.linalg.cholesky(self.covariance(x) + jitter)
        return x, factor @ generator.standard_normal(points)

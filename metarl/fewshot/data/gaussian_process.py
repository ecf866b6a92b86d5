"""Curves drawn from a Gaussian process: the regression problem of Conditional Neural Processes."""

from typing import ClassVar

import numpy as np

from metarl.errors import UserError
from metarl.fewshot.data.curves import Curves

_JITTER = 1e-10
"""Added to the variance of every point: the kernel of close points is singular in float64."""


class GaussianProcess(Curves):
    """Functions of a Gaussian process with a squared-exponential kernel; x uniform on [-2, 2].

    k(x, x') = scale^2 exp(-(x - x')^2 / (2 length^2)), and noise^2 more for a point with itself.
    Drawn exactly: y = L z with the Cholesky factor L of the covariance of the points. The defaults
    are those of the authors' notebook for Garnelo et al. 2018, "Conditional Neural Processes".

    Args:
        length: length scale l.
        scale: standard deviation of y, sigma.
        noise: standard deviation of the noise on every y.

    Raises UserError for a length or scale that is not positive, and for negative noise.
    """

    name: ClassVar[str] = "gaussian_process"
    inputs = (-2.0, 2.0)

    def __init__(self, length: float = 0.4, scale: float = 1.0, noise: float = 0.02):
        for key, value in (("length", length), ("scale", scale)):
            if not value > 0.0:
                raise UserError(f"data.options.{key} must be greater than 0, got {value}")
        if not noise >= 0.0:
            raise UserError(f"data.options.noise must be at least 0, got {noise}")
        self.length, self.scale, self.noise = length, scale, noise
        self.protocol = (
            "Gaussian process with a squared-exponential kernel, "
            f"length {length:g}, sigma {scale:g}, noise {noise:g}, x uniform in [-2, 2]"
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

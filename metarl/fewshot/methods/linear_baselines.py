"""Linear regression of every curve by itself: what a method that learns across curves must beat.

y = w . f(x) + noise with features f: a constant, a constant and x, or the features of a random
network. The weights' prior and the noise are learned across curves by maximum likelihood of the
queries, and the weights of a curve follow from its support set in closed form (Bishop 2006,
"Pattern Recognition and Machine Learning", equations 3.50, 3.51, 3.58 and 3.59).
"""

import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import copied
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Prediction, TrainingSource, log_density
from metarl.fewshot.methods import register_method
from metarl.policies import Parameters
from metarl.validation import require_positive


@dataclass(frozen=True)
class LinearConfig:
    """Settings of all of them."""

    name: str = ""
    """The method."""
    learning_rate: float = 1e-2
    """Step size of Adam for the prior and the noise."""

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate")


class BayesianLinear(FewShotLearner):
    """Bayesian linear regression of each curve, with a prior that is learned from all."""

    kinds = ("regression",)

    @abstractmethod
    def features(self, x: Tensor) -> Tensor:
        """f(x) `[B, n, D]`, float64, of x `[B, n, 1]`."""

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Mean and log standard deviation `[D]` of the weights' prior, and log of the noise's."""
        size = self.size
        return {
            "mean": torch.zeros(size),
            # Predictions of D independent weights then have variance 1 for features of size 1.
            "log_std": torch.full((size,), -0.5 * math.log(size)),
            "log_noise": torch.tensor(0.0),
        }

    @property
    @abstractmethod
    def size(self) -> int:
        """Features, D."""

    def losses(self, episodes: Episodes, source: TrainingSource) -> dict[str, Tensor]:
        """Negative log-likelihood and squared error of the queries."""
        mean, std = self.distribution(episodes)
        targets = episodes.query_targets
        density = log_density(targets.double(), mean, std)
        error = (mean - targets).square().mean(dim=(1, 2))
        return {"total": -density.mean(dim=(1, 2)), "mse": error}

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """One prediction: it is solved, not iterated."""
        with torch.no_grad():
            mean, std = self.distribution(episodes)
        yield Prediction(mean=mean.float(), std=std.float())

    def distribution(self, episodes: Episodes) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation `[B, m, 1]` of the queries' y, float64."""
        prior = self.parameters["mean"].double().unsqueeze(-1)
        std, noise = (self.parameters[n].double().exp() for n in ("log_std", "log_noise"))
        support, query = (
            self.features(episodes.support_inputs),
            self.features(episodes.query_inputs),
        )
        # In units of the prior's standard deviations: the matrix below is then never singular.
        scaled, scaled_query = support * std / noise, query * std
        residual = (episodes.support_targets.double() - support @ prior) / noise
        precision = scaled.transpose(1, 2) @ scaled
        precision = precision + torch.eye(self.size, dtype=torch.float64, device=self.device)
        factor = torch.linalg.cholesky(precision)
        weights = torch.cholesky_solve(scaled.transpose(1, 2) @ residual, factor)
        spread = torch.linalg.solve_triangular(factor, scaled_query.transpose(1, 2), upper=False)
        variance = spread.square().sum(dim=1).unsqueeze(-1) + noise.square()
        return query @ prior + scaled_query @ weights, variance.sqrt()


@dataclass(frozen=True)
class ConstantConfig(LinearConfig):
    """Settings of the constant."""

    name: Literal["constant"] = "constant"
    """The method."""


@register_method("constant", ConstantConfig)
class Constant(BayesianLinear):
    """Every curve as a constant, drawn towards the mean of all curves."""

    config_class = ConstantConfig

    @property
    def size(self) -> int:
        """1."""
        return 1

    def features(self, x: Tensor) -> Tensor:
        """1."""
        return torch.ones_like(x, dtype=torch.float64)


@dataclass(frozen=True)
class LinearRegressionConfig(LinearConfig):
    """Settings of the straight line."""

    name: Literal["linear_regression"] = "linear_regression"
    """The method."""


@register_method("linear_regression", LinearRegressionConfig)
class LinearRegression(BayesianLinear):
    """Every curve as a straight line."""

    config_class = LinearRegressionConfig

    @property
    def size(self) -> int:
        """2."""
        return 2

    def features(self, x: Tensor) -> Tensor:
        """1 and x."""
        return torch.cat([torch.ones_like(x), x], dim=-1).double()


@dataclass(frozen=True)
class RandomFeaturesConfig(LinearConfig):
    """Settings of random features."""

    name: Literal["random_features"] = "random_features"
    """The method."""


@register_method("random_features", RandomFeaturesConfig)
class RandomFeatures(BayesianLinear):
    """Linear regression on the features of a network that stays as it was drawn."""

    config_class = RandomFeaturesConfig

    @property
    def size(self) -> int:
        """A constant, and the model's features."""
        return self.problem.encoder.features + 1

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """As of the others; the network is none of what is learned."""
        drawn = self.problem.encoder.initial_parameters(generator)
        # Zero biases would put the kinks of all ReLUs at x = 0.
        self.network = {
            name: value
            if value.dim() > 1
            else torch.from_numpy(generator.uniform(-1, 1, len(value)))
            for name, value in drawn.items()
        }
        self.network = {n: v.float().to(self.device) for n, v in self.network.items()}
        return super().initial_parameters(generator)

    def features(self, x: Tensor) -> Tensor:
        """1 and the network's features."""
        with torch.no_grad():
            found, _ = self.problem.encoder(self.network, x)
        return torch.cat([torch.ones_like(x), found], dim=-1).double()

    def state_dict(self) -> dict[str, Any]:
        """The network too, so that no later version of numpy draws another one."""
        return {**super().state_dict(), "network": copied(self.network)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        super().load_state_dict(state)
        self.network = {n: v.to(self.device) for n, v in state["network"].items()}

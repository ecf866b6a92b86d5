"""Meta-SGD: MAML that learns the inner learning rate of every parameter too.

Li et al. 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning":
theta' = theta - alpha * grad L(theta), elementwise, with theta and alpha meta-learned together. An
alpha may become negative: the paper learns the direction of the update, not only its length.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.algorithms.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.policies import Parameters
from metarl.validation import require, require_positive

RATE = "rate."
"""What stands before a parameter's name in the name of its inner learning rates."""


@dataclass(frozen=True)
class MetaSGDConfig(MAMLTRPOConfig):
    """Settings of Meta-SGD, with TRPO outside; all rates start at `inner_learning_rate`.

    Rates of an evaluation that differ from it scale the learned ones in proportion.
    """

    name: Literal["meta_sgd"] = "meta_sgd"  # pyright: ignore[reportIncompatibleVariableOverride]
    """The learner."""
    initial_rate_range: tuple[float, ...] | None = None
    """Draw the value at which all rates start uniformly between these two numbers; null: it is
    inner_learning_rate."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "initial_rate_range")
        bounds = self.initial_rate_range
        if bounds is not None:
            ordered = len(bounds) == 2 and bounds[0] < bounds[1]
            message = f"must be two numbers, the smaller first, got {list(bounds)}"
            require(ordered, "initial_rate_range", message)


class MetaSGD(MAMLTRPO):
    """MAML-TRPO with a meta-learned inner learning rate for every number; see `MAML`.

    The rates of parameter `weight0` are the meta-learned parameter `rate.weight0`, shaped alike.
    """

    config: MetaSGDConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The policy's parameters, and their rates, which all start alike."""
        parameters = super().initial_parameters(generator)
        bounds, rate = self.config.initial_rate_range, self.config.inner_learning_rate
        if bounds is not None:
            rate = float(generator.uniform(bounds[0], bounds[1]))
        rates = {RATE + name: torch.full_like(value, rate) for name, value in parameters.items()}
        return parameters | rates

    def adapts(self, name: str) -> bool:
        """The policy's parameters adapt, their rates do not."""
        return not name.startswith(RATE)

    def step(self, parameters: Parameters, gradients: Parameters, rate: float) -> Parameters:
        """theta - alpha * gradient, elementwise.

        A `rate` other than the inner learning rate, in an evaluation, scales all alphas alike: half
        of it makes a step half as long.
        """
        factor = rate / self.config.inner_learning_rate
        return parameters | {
            name: parameters[name] - factor * parameters[RATE + name] * gradient
            for name, gradient in gradients.items()
        }

    def policy_metrics(self) -> Metrics:
        """Also the mean of all rates, and which share of them is negative."""
        rates = torch.cat([value.flatten() for value in self._rates()])
        return {
            **super().policy_metrics(),
            "train/inner_learning_rate": float(rates.mean()),
            "train/negative_rates": float((rates < 0).float().mean()),
        }

    def _rates(self) -> list[Tensor]:
        return [value for name, value in self.parameters.items() if not self.adapts(name)]

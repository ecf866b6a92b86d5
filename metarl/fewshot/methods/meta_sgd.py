"""Meta-SGD: MAML that learns the inner learning rate of every parameter too.

Li, Zhou, Chen & Li 2017, "Meta-SGD: Learning to Learn Quickly for Few-Shot Learning", eq. 3:
theta' = theta - alpha * grad L(theta), elementwise, with theta and alpha meta-learned together. An
alpha may become negative: the direction of the step is learned too, not only its length.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from metarl.algorithms.learner import Metrics
from metarl.fewshot.learner import TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.maml import MAML
from metarl.policies import Parameters
from metarl.validation import require, require_at_least, require_positive

RATE = "rate."
"""What stands before a parameter's name in the name of its inner learning rates."""


@dataclass(frozen=True)
class MetaSGDConfig:
    """Settings; the defaults are the paper's (section 4)."""

    name: Literal["meta_sgd"] = "meta_sgd"
    """The method."""
    inner_steps: int = 1
    """Gradient steps that the meta-objective looks through; at test `evaluation.steps`."""
    initial_rate_range: tuple[float, ...] = (0.005, 0.1)
    """All inner learning rates start at one value, drawn uniformly between these two."""
    first_order: bool = False
    """Take inner gradients as constant in the meta-gradient; rates are learned all the same."""
    learning_rate: float = 1e-3
    """Adam's step size in the outer loop, for parameters and rates."""
    episodes_per_chunk: int | None = None
    """Episodes differentiated at once: bounds memory and changes no result but by rounding; null:
    on the CPU 1 to 8 by their size, but of curves and on a GPU all."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "inner_steps", "episodes_per_chunk")
        require_positive(self, "initial_rate_range", "learning_rate")
        bounds = self.initial_rate_range
        message = f"must be two numbers, the smaller first, got {list(bounds)}"
        require(len(bounds) == 2 and bounds[0] <= bounds[1], "initial_rate_range", message)


@register_method("meta_sgd", MetaSGDConfig)
class MetaSGD(MAML):
    """MAML that learns the inner learning rate of every parameter too.

    The rates of parameter `head.bias` are the meta-learned parameter `rate.head.bias`.
    """

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """MAML's, and the rates of those that adapt."""
        parameters = super().initial_parameters(generator)
        rate = float(generator.uniform(*self.config.initial_rate_range))
        rates = {
            RATE + name: torch.full_like(value, rate)
            for name, value in parameters.items()
            if self.adapts(name)
        }
        return parameters | rates

    def adapts(self, name: str) -> bool:
        """The parameters adapt, their rates do not."""
        return not name.startswith(RATE) and super().adapts(name)

    def inner_step(self, parameters: Parameters, gradients: Parameters) -> Parameters:
        """theta - alpha * gradient, elementwise."""
        return parameters | {
            name: parameters[name] - parameters[RATE + name] * gradient
            for name, gradient in gradients.items()
        }

    def update(self, source: TrainingSource) -> Metrics:
        """As MAML's; also the mean of all rates, and which share of them is negative."""
        metrics = super().update(source)
        named = self.parameters.items()
        rates = torch.cat([v.detach().flatten() for n, v in named if n.startswith(RATE)])
        return {
            **metrics,
            "train/inner_learning_rate": float(rates.mean()),
            "train/negative_rates": float((rates < 0).float().mean()),
        }

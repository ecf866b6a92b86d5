"""Quadratic penalties: lambda sum_i importance_i (theta_i - anchor_i)^2, and the plain L2 ones."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.ppo import Samples
from metarl.continual.methods.method import Method, Setting
from metarl.policies import Parameters


class QuadraticPenalty(Method):
    """Holds parameters near an anchor; a subclass says where it is and how much each one matters.

    Nothing is held in the first stage, and never a parameter outside `algorithm.penalized`.

    The penalty acts in one of two ways (`algorithm.penalty_step`):

    - *proximal*: after every step of the optimiser, which knows the PPO loss alone,
      theta <- argmin_x (x - theta)^T D (x - theta) / (2 eta) + lambda sum_i w_i (x_i - a_i)^2
      = a + (theta - a) / (1 + 2 eta lambda w / D), with eta the learning rate and D the optimiser's
      metric: sqrt(v) + eps for Adam, 1 for plain gradient descent (proximal gradient method in a
      diagonal metric; Parikh & Boyd 2014, section 4.2). Its fixed points are those of the
      penalised objective; it is stable for every lambda, is fine-tuning for lambda = 0 and freezes
      what matters as lambda grows without bound.
    - *gradient*: 2 lambda w (theta - a) is added to the gradient before it is clipped, as Continual
      World does.
    """

    has_strength: ClassVar[bool] = True

    def __init__(self, setting: Setting, parameters: Parameters, strengths: Tensor):
        super().__init__(setting, parameters, strengths)
        held = [name for name in parameters if setting.is_penalized(name)]
        self.importance = {name: torch.zeros_like(parameters[name]) for name in held}
        """w, stacked `[k, ...]`."""
        self.anchor = {name: parameters[name].detach().clone() for name in held}
        """a, stacked `[k, ...]`."""

    def gradients(self, gradients: Parameters, parameters: Parameters, rows: slice) -> Parameters:
        if self.setting.config.penalty_step != "gradient":
            return gradients
        held = {
            name: gradients[name] + 2.0 * self._pull(name, rows) * (parameters[name] - anchor[rows])
            for name, anchor in self.anchor.items()
        }
        return {**gradients, **held}

    @torch.no_grad()
    def after_step(
        self, parameters: Parameters, optimizer: torch.optim.Optimizer, rows: slice
    ) -> None:
        if self.setting.config.penalty_step != "proximal":
            return
        for name, anchor in self.anchor.items():
            value, held = parameters[name], anchor[rows]
            pull = 2.0 * self._pull(name, rows) * step_sizes(optimizer, value)
            # In this form nothing is lost to rounding, neither without a pull nor under a huge one.
            moved = torch.where(pull > 0, held + (value - held) / (1.0 + pull), value)
            value.copy_(moved)

    def _pull(self, name: str, rows: slice) -> Tensor:
        """lambda w, `[k, ...]`."""
        weights = self.importance[name][rows]
        return self.strengths[rows].view(-1, *[1] * (weights.dim() - 1)) * weights

    def memory(self) -> dict[str, Any]:
        return {"importance": self.importance, "anchor": self.anchor}

    def held(self, parameters: Parameters) -> Parameters:
        """Copies of the parameters that the penalty may hold."""
        return {name: parameters[name].detach().clone() for name in self.anchor}


class L2(QuadraticPenalty):
    """lambda ||theta - theta_{i-1}||^2, with the same lambda in all stages."""

    def end_stage(
        self,
        stage: int,
        parameters: Parameters,
        samples: Samples,
        generators: Sequence[np.random.Generator],
    ) -> None:
        self.anchor = self.held(parameters)
        self.importance = {
            n: torch.full_like(w, self.weight(stage)) for n, w in self.anchor.items()
        }

    def weight(self, stage: int) -> float:
        """Importance of every parameter after a stage."""
        return 1.0


class L2Accumulating(L2):
    """Continual World's L2: the weight grows by lambda with every task, the anchor is the last."""

    def weight(self, stage: int) -> float:
        return float(stage + 1)


def step_sizes(optimizer: torch.optim.Optimizer, parameter: Tensor) -> Tensor | float:
    """eta / D of each number in a parameter: how far the optimiser's step goes per unit gradient.

    For Adam D = sqrt(v / (1 - beta_2^t)) + eps (Kingma & Ba 2015, algorithm 1); otherwise 1.
    """
    group = optimizer.param_groups[0]
    if not isinstance(optimizer, torch.optim.Adam):
        return group["lr"]
    state = optimizer.state[parameter]
    unbiased = state["exp_avg_sq"] / (1.0 - group["betas"][1] ** float(state["step"]))
    return group["lr"] / (unbiased.sqrt() + group["eps"])

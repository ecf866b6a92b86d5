"""Synaptic Intelligence: what a parameter's way through training has earned it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.ppo import Samples
from metarl.continual.methods.method import Setting
from metarl.continual.methods.quadratic import QuadraticPenalty
from metarl.policies import Parameters


class SI(QuadraticPenalty):
    """lambda sum_i Omega_i (theta_i - theta*_i)^2 (Zenke et al. 2017, eq. 3 to 5).

    While a task is learned, every step adds to a parameter's omega how much it lowered the loss:

        omega_i -= g_i * (change of theta_i),

    with g the gradient of the whole PPO loss on the minibatch, neither clipped nor penalised, and
    the change as it came out: optimiser, clipping and the penalty's proximal step together. At the
    end of a stage

        Omega_i += max(omega_i, 0) / ((theta_i(end) - theta_i(start))^2 + xi),

    xi = `algorithm.si_damping`, theta* <- theta(end), omega <- 0. The paper does not say what
    becomes of a negative omega; here it counts as 0, task by task, because a negative Omega would
    push a parameter away from its anchor (the authors' code cuts the accumulated Omega at 0).
    """

    def __init__(self, setting: Setting, parameters: Parameters, strengths: Tensor):
        super().__init__(setting, parameters, strengths)
        self.path = {name: torch.zeros_like(value) for name, value in self.anchor.items()}
        """omega, stacked `[k, ...]`."""
        self._before: dict[int, tuple[Parameters, Parameters]] = {}
        """Gradient and position before the present step, by the first of the rows it is for: each
        thread has its own."""

    def gradients(self, gradients: Parameters, parameters: Parameters, rows: slice) -> Parameters:
        slope = {name: gradients[name] for name in self.anchor}
        self._before[rows.start] = slope, self.held(parameters)
        return super().gradients(gradients, parameters, rows)

    @torch.no_grad()
    def after_step(
        self, parameters: Parameters, optimizer: torch.optim.Optimizer, rows: slice
    ) -> None:
        super().after_step(parameters, optimizer, rows)
        gradients, start = self._before.pop(rows.start)
        for name, path in self.path.items():
            path[rows] -= gradients[name] * (parameters[name] - start[name])

    def end_stage(
        self,
        stage: int,
        parameters: Parameters,
        samples: Samples,
        generators: Sequence[np.random.Generator],
    ) -> None:
        damping, end = self.setting.config.si_damping, self.held(parameters)
        for name, path in self.path.items():
            moved = end[name] - self.anchor[name]  # the anchor is where the stage began
            self.importance[name] += path.clamp(min=0.0) / (moved.square() + damping)
            path.zero_()
        self.anchor = end

    def memory(self) -> dict[str, Any]:
        return {**super().memory(), "path": self.path}

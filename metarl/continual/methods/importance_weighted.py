"""Quadratic penalties weighted by what matters to a policy's actions: EWC, online EWC, MAS."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import numpy as np
import torch

from metarl.algorithms.ppo import Samples
from metarl.continual.importance import (
    fisher,
    output_sensitivity,
    value_fisher,
    value_sensitivity,
)
from metarl.continual.methods.quadratic import QuadraticPenalty
from metarl.policies import Parameters
from metarl.policies.value import PREFIX

Importances = Callable[..., Parameters]


class ImportanceWeighted(QuadraticPenalty, ABC):
    """Measures importances at the end of every stage, on samples of its task alone.

    Those of a stage are at least `algorithm.importance_floor`. Each subclass says how they are
    measured and how they join the earlier ones.
    """

    of_policy: ClassVar[Importances]
    """Importances of the policy's parameters."""
    of_value: ClassVar[Importances]
    """Importances of the value network's."""

    def end_stage(
        self,
        stage: int,
        parameters: Parameters,
        samples: Samples,
        generators: Sequence[np.random.Generator],
    ) -> None:
        self.remember(self.held(parameters), self.measure(parameters, samples))

    @abstractmethod
    def remember(self, values: Parameters, importance: Parameters) -> None:
        """Join the held parameters of the stage that has ended and how much each one matters."""

    def measure(self, parameters: Parameters, samples: Samples) -> Parameters:
        """How much the held parameters matter to what these samples ask for, `[k, ...]`."""
        actor_critic, weights = self.setting.actor_critic, samples.weights
        inputs = samples.inputs[..., :-1]  # without t / T, which only the value network reads
        found = self.of_policy(actor_critic.policy, parameters, inputs, weights)
        if any(name.startswith(PREFIX) for name in self.anchor):
            found |= self.of_value(actor_critic.value, parameters, samples.inputs, weights)
        floor = self.setting.config.importance_floor
        return {name: found[name].clamp(min=floor) for name in self.anchor}


class EWC(ImportanceWeighted):
    """Elastic Weight Consolidation: sum_k lambda sum_i F_{k,i} (theta_i - theta*_{k,i})^2.

    One penalty for each earlier task k, with the diagonal Fisher information F_k of its actions at
    its own final parameters theta*_k (Kirkpatrick et al. 2017, eq. 3), exact at every sample, where
    theirs has lambda / 2: without the factor 1/2 as in Continual World, whose lambdas these are.
    The sum of the penalties is, up to a constant, one quadratic, which is all that is kept:
    importance sum_k F_k, anchor sum_k F_k theta*_k / sum_k F_k.
    """

    of_policy = staticmethod(fisher)
    of_value = staticmethod(value_fisher)

    def remember(self, values: Parameters, importance: Parameters) -> None:
        for name, added in importance.items():
            total = self.importance[name] + added
            # Where nothing has mattered yet, the anchor is the last value.
            share = torch.where(total > 0, added / total, 1.0)
            self.anchor[name] = torch.lerp(self.anchor[name], values[name], share)
            self.importance[name] = total


class OnlineEWC(ImportanceWeighted):
    """Online EWC: lambda sum_i F*_i (theta_i - theta*_i)^2, F* <- gamma F* + F after every task.

    One anchor, the parameters after the last task, and importances that fade (Schwarz et al. 2018,
    "Progress & Compress", online EWC). gamma is `algorithm.online_decay`; with 1 this is what
    Continual World calls EWC.
    """

    of_policy = staticmethod(fisher)
    of_value = staticmethod(value_fisher)

    def remember(self, values: Parameters, importance: Parameters) -> None:
        decay = self.setting.config.online_decay
        self.importance = {n: decay * self.importance[n] + f for n, f in importance.items()}
        self.anchor = values


class MAS(ImportanceWeighted):
    """Memory Aware Synapses: lambda sum_i Omega_i (theta_i - theta*_i)^2.

    Omega is the sum over tasks of how strongly the squared norm of the policy's outputs depends on
    each parameter, theta* the parameters after the last one (Aljundi et al. 2018, eq. 3).
    """

    of_policy = staticmethod(output_sensitivity)
    of_value = staticmethod(value_sensitivity)

    def remember(self, values: Parameters, importance: Parameters) -> None:
        self.importance = {n: self.importance[n] + omega for n, omega in importance.items()}
        self.anchor = values

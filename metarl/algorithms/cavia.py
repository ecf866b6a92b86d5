"""CAVIA: only a context vector adapts to a task (Zintgraf et al. 2019).

"Fast Context Adaptation via Meta-Learning": the policy reads a context vector beside the
observation. It is 0 before adaptation, the inner step changes nothing else, and the outer step
changes everything else.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch

from metarl.algorithms.maml_trpo import MAMLTRPO, MAMLTRPOConfig
from metarl.policies import ContextPolicy, Parameters, Policy
from metarl.policies.context import CONTEXT
from metarl.simulation.engine import SimulatedFamily
from metarl.validation import require_at_least


@dataclass(frozen=True)
class CAVIAConfig(MAMLTRPOConfig):
    """Settings of CAVIA, with TRPO outside; the defaults are those of the authors' RL code."""

    name: Literal["cavia"] = "cavia"  # pyright: ignore[reportIncompatibleVariableOverride]
    """The learner."""
    context_size: int = 50
    """Numbers in the context vector; the authors take 5 for 2D navigation."""
    inner_learning_rate: float = 1.0
    """Step size of the inner policy gradient, in the context vector."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "context_size")


class CAVIA(MAMLTRPO):
    """MAML-TRPO whose inner step changes the context vector alone; see `MAML`."""

    config: CAVIAConfig  # pyright: ignore[reportIncompatibleVariableOverride]

    @classmethod
    def policy_for(cls, policy: Policy, family: SimulatedFamily, config: Any) -> Policy:
        """The policy with a context vector."""
        return ContextPolicy(policy, config.context_size)

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Everything but the context vector, which is not learned: it starts at 0."""
        parameters = super().initial_parameters(generator)
        return {name: value for name, value in parameters.items() if not self.adapts(name)}

    def start(self, parameters: Parameters, tasks: int) -> Parameters:
        """The shared parameters and a context vector of each task."""
        like = parameters["context_weight"]
        context = torch.zeros(
            tasks,
            self.config.context_size,
            dtype=like.dtype,
            device=like.device,
            requires_grad=like.requires_grad,
        )
        return {**super().start(parameters, tasks), CONTEXT: context}

    def adapts(self, name: str) -> bool:
        """The context vector adapts, nothing else."""
        return name == CONTEXT

"""Policies as pure functions of a dict of tensors, which may carry a leading task axis."""

from metarl.policies.conditioned import ConditionedPolicy
from metarl.policies.context import ContextPolicy
from metarl.policies.distributions import Categorical, Gaussian
from metarl.policies.mlp import MLP, Parameters, stack
from metarl.policies.multi_head import MultiHeadPolicy
from metarl.policies.policy import (
    CategoricalPolicy,
    GaussianPolicy,
    MemoryActor,
    MemoryPolicy,
    Policy,
    make_policy,
)

__all__ = [
    "MLP",
    "Categorical",
    "CategoricalPolicy",
    "ConditionedPolicy",
    "ContextPolicy",
    "Gaussian",
    "GaussianPolicy",
    "MemoryActor",
    "MemoryPolicy",
    "MultiHeadPolicy",
    "Parameters",
    "Policy",
    "make_policy",
    "stack",
]

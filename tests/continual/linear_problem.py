"""A linear policy and value function of one number, whose importances a person can work out."""

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from metarl.algorithms.ppo import ActorCritic, PPOConfig, Samples
from metarl.continual.config import ContinualPPOConfig
from metarl.continual.methods.method import Setting
from metarl.policies import MLP, GaussianPolicy, Parameters


def configured(setting: Setting, **values: Any) -> Setting:
    """The same with other settings of the continual learners."""
    return replace(setting, config=replace(setting.config, **values))


def linear_setting(**values: Any) -> Setting:
    """mu = weight0 o + bias0, V = value.weight0 (o, t) + value.bias0; two stages."""
    config = ContinualPPOConfig(methods={"fine_tuning": ()}, **values)
    policy = GaussianPolicy(MLP((1, 1)))
    return Setting(ActorCritic(policy, PPOConfig()), config, (0, 1), 1)


def linear_parameters(learners: int = 1) -> Parameters:
    """mu = 3 o - 4, sigma = 1/2; V = 3 o - 2 t - 4."""
    values = {
        "weight0": [[3.0]],
        "bias0": [-4.0],
        "log_std": [math.log(0.5)],
        "value.weight0": [[3.0], [-2.0]],
        "value.bias0": [-4.0],
    }
    return {n: torch.tensor([v] * learners, dtype=torch.float64) for n, v in values.items()}


def samples(*inputs: tuple[float, float], weights: list[float] | None = None) -> Samples:
    """Of one learner, at pairs of observation and t."""
    count = len(inputs)
    nothing = torch.zeros(1, count, dtype=torch.float64)
    told = torch.ones(1, count) if weights is None else torch.tensor([weights])
    return Samples(
        inputs=torch.tensor([inputs], dtype=torch.float64),
        actions=nothing.unsqueeze(-1),
        advantages=nothing,
        targets=nothing,
        weights=told.double(),
        log_probs=nothing,
    )


def numbers(parameters: Parameters) -> dict[str, list[float]]:
    """As lists, to be compared with `pytest.approx`."""
    return {name: value.flatten().tolist() for name, value in parameters.items()}


def strengths(*values: float) -> Tensor:
    """lambda of each learner."""
    return torch.tensor(values, dtype=torch.float64)

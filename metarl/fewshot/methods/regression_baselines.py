"""Baselines of the MAML paper for curves: pre-training on all tasks, and averaged parameters.

Finn et al. 2017, section 5.1 and appendix C ("multi-task baselines", table 2). Both give initial
parameters that gradient steps on the support set then fine-tune.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics, copied
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Prediction, TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.models.layers import linear, linear_parameters
from metarl.policies import Parameters, stack
from metarl.validation import require_at_least, require_positive


@dataclass(frozen=True)
class FineTuningConfig:
    """Settings of what is fine-tuned at test."""

    name: str = ""
    """The method."""
    learning_rate: float = 1e-3
    """Step size of Adam in training."""
    fine_tuning_rate: float = 0.002
    """Step size of gradient descent on the support set at test."""

    def __post_init__(self) -> None:
        require_positive(self, "learning_rate", "fine_tuning_rate")


class FineTuned(FewShotLearner):
    """A network with one linear output, fine-tuned on the support set at test."""

    kinds = ("regression",)
    has_steps = True

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """Of the model, and `head.*`."""
        network = self.problem.encoder.initial_parameters(generator)
        return network | linear_parameters(generator, "head", self.problem.encoder.features, 1)

    def outputs(self, network: Parameters, x: Tensor) -> Tensor:
        """Values `[B, n, 1]` of one network, or of one for each episode, at x `[B, n, 1]`."""
        return linear(network, "head", self.problem.encoder(network, x)[0])

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """After 0, 1, ... steps of gradient descent on the mean squared error."""
        network = stack(self.parameters, len(episodes.query_inputs))
        for step in range(steps + 1):
            if step > 0:
                network = self._fine_tuned(network, episodes)
            with torch.no_grad():
                mean = self.outputs(network, episodes.query_inputs)
            yield Prediction(mean=mean)

    @torch.enable_grad()
    def _fine_tuned(self, network: Parameters, episodes: Episodes) -> Parameters:
        start = {name: value.detach().requires_grad_() for name, value in network.items()}
        outputs = self.outputs(start, episodes.support_inputs)
        loss = _squared_error(outputs, episodes.support_targets).sum()
        gradients = torch.autograd.grad(loss, tuple(start.values()))
        rate = self.config.fine_tuning_rate
        pairs = zip(start.items(), gradients, strict=True)
        return {name: value.detach() - rate * gradient for (name, value), gradient in pairs}


@dataclass(frozen=True)
class RegressionPretrainingConfig(FineTuningConfig):
    """Settings of pre-training."""

    name: Literal["regression_pretraining"] = "regression_pretraining"
    """The method."""


@register_method("regression_pretraining", RegressionPretrainingConfig)
class RegressionPretraining(FineTuned):
    """One network for the points of all curves, then fine-tuning."""

    config_class = RegressionPretrainingConfig

    def losses(self, episodes: Episodes, source: TrainingSource) -> dict[str, Tensor]:
        """Squared error of all points of the episodes, support and queries alike."""
        x, y = _points(episodes)
        return {"total": _squared_error(self.outputs(self.parameters, x), y)}


@dataclass(frozen=True)
class ParameterAveragingConfig(FineTuningConfig):
    """Settings of parameter averaging."""

    name: Literal["parameter_averaging"] = "parameter_averaging"
    """The method."""
    learning_rate: float = 1e-2
    """Step size of Adam for the network of a single curve."""
    steps_per_task: int = 1000
    """Steps of Adam, each on all points of the curve."""
    regularization: Literal["none", "l2", "l2_to_mean"] = "none"
    """Penalty on a network's parameters: none, their square, or the square of their distance to the
    mean of all networks before."""
    regularization_strength: float = 1e-3
    """Weight of that penalty beside the mean squared error."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(1, self, "steps_per_task")
        require_at_least(0, self, "regularization_strength")


@register_method("parameter_averaging", ParameterAveragingConfig)
class ParameterAveraging(FineTuned):
    """The mean of networks that were trained on a curve each, then fine-tuning.

    Every iteration trains the networks of a meta-batch side by side, each from its own random
    start, and adds them to the mean. The paper trains 500 one after another; with
    `episodes.per_batch` 1 `l2_to_mean` is its very procedure.
    """

    config_class = ParameterAveragingConfig

    def set_up(self) -> None:
        """How many networks are in the mean; there is no optimiser of it."""
        self.trained = 0

    def update(self, source: TrainingSource) -> Metrics:
        """Train the networks of a meta-batch; `loss/total` is their mean error in the end."""
        x, y = _points(source.episodes())
        generators = source.generators("initial networks", len(x))
        starts = [self.initial_parameters(each) for each in generators]
        networks = {
            name: torch.stack([start[name] for start in starts]).to(self.device).requires_grad_()
            for name in self.parameters
        }
        optimizer = torch.optim.Adam(networks.values(), lr=self.config.learning_rate)
        for _ in range(self.config.steps_per_task):
            error = _squared_error(self.outputs(networks, x), y).sum()
            optimizer.zero_grad()
            # The networks share nothing: the gradient of the sum holds that of each.
            (error + self._penalty(networks)).backward()
            optimizer.step()
        self._add(networks)
        with torch.no_grad():
            error = _squared_error(self.outputs(networks, x), y).mean()
        return {"loss/total": float(error), "train/networks": float(self.trained)}

    def state_dict(self) -> dict[str, Any]:
        """The mean, and of how many networks it is."""
        return copied({"parameters": self.parameters, "trained": self.trained})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.trained = state["trained"]
        with torch.no_grad():
            for name, value in self.parameters.items():
                value.copy_(state["parameters"][name])

    def _penalty(self, networks: Parameters) -> Tensor:
        kind, strength = self.config.regularization, self.config.regularization_strength
        to_mean = kind == "l2_to_mean"
        if kind == "none" or (to_mean and self.trained == 0):
            return torch.zeros((), device=self.device)
        distances = (
            (value - self.parameters[name].detach() if to_mean else value).square().sum()
            for name, value in networks.items()
        )
        return strength * torch.stack(list(distances)).sum()

    @torch.no_grad()
    def _add(self, networks: Parameters) -> None:
        count = len(next(iter(networks.values())))
        for name, mean in self.parameters.items():
            # The first networks replace the start, which is not of the mean.
            total = mean * self.trained + networks[name].sum(dim=0)
            mean.copy_(total / (self.trained + count))
        self.trained += count


def _points(episodes: Episodes) -> tuple[Tensor, Tensor]:
    """x and y `[B, n + m, 1]` of all points."""
    x = torch.cat([episodes.support_inputs, episodes.query_inputs], dim=1)
    return x, torch.cat([episodes.support_targets, episodes.query_targets], dim=1)


def _squared_error(outputs: Tensor, y: Tensor) -> Tensor:
    """Mean over points, `[B]`."""
    return (outputs - y).square().mean(dim=(1, 2))

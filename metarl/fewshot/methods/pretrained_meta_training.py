"""Pre-train, then meta-train: a classifier of all training classes gives a method its encoder.

The two stages of Chen et al. 2021, "Meta-Baseline: Exploring Simple Meta-Learning for Few-Shot
Learning", in one run: `pretraining_iterations` updates of cross-entropy over all training classes,
then updates of a meta-learner that starts from the encoder and its running statistics.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
import torch

from metarl.algorithms.learner import Metrics
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import FewShotLearner, Prediction, TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.frozen_features import NearestCentroid, NearestCentroidConfig
from metarl.fewshot.methods.maml import MAML, MAMLConfig
from metarl.fewshot.methods.pretraining import HEAD
from metarl.fewshot.methods.prototypical import Prototypical, PrototypicalConfig
from metarl.fewshot.normalization import RunningStatistics
from metarl.policies import Parameters
from metarl.validation import require_at_least


@dataclass(frozen=True)
class TwoStageConfig:
    """Settings that both pre-trained meta-learners have."""

    name: str = ""
    """The method."""
    pretraining_iterations: int = 2000
    """Updates of the classifier, before those of the meta-learner."""
    pretraining: NearestCentroidConfig = field(default_factory=NearestCentroidConfig)
    """Settings of the classifier."""

    def __post_init__(self) -> None:
        require_at_least(1, self, "pretraining_iterations")


@dataclass(frozen=True)
class PretrainedPrototypicalConfig(TwoStageConfig):
    """Settings of Prototypical Networks from a pre-trained encoder."""

    name: Literal["pretrained_prototypical"] = "pretrained_prototypical"
    """The method."""
    meta_training: PrototypicalConfig = field(default_factory=PrototypicalConfig)
    """Settings of the meta-learner."""


@dataclass(frozen=True)
class PretrainedMAMLConfig(TwoStageConfig):
    """Settings of MAML from a pre-trained encoder."""

    name: Literal["pretrained_maml"] = "pretrained_maml"
    """The method."""
    meta_training: MAMLConfig = field(default_factory=MAMLConfig)
    """Settings of the meta-learner."""


class TwoStages(FewShotLearner):
    """A classifier's training, then a meta-learner's. The meta-learner predicts from the start: in
    the first stage with the encoder that it began with."""

    config: Any
    meta_learner: ClassVar[type[FewShotLearner]]

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The meta-learner's."""
        common = (generator, self.device, self.workers)
        self.classifier = NearestCentroid(self.problem, self.config.pretraining, *common)
        self.learner = self.meta_learner(self.problem, self.config.meta_training, *common)
        return self.learner.parameters

    def set_up(self) -> None:
        """A counter of updates; the stages have their optimisers."""
        self.updates = 0

    def update(self, source: TrainingSource) -> Metrics:
        """One update of the stage that it is in."""
        first_stage = self.updates < self.config.pretraining_iterations
        self.updates += 1
        learner = self.classifier if first_stage else self.learner
        metrics = learner.update(source)
        if self.updates == self.config.pretraining_iterations:
            self._hand_over()
        return {name: metrics[name] for name in ("loss/total", "train/accuracy")}

    @property
    def missing_stage(self) -> str:
        """Meta-training, before its first update."""
        begun = self.updates > self.config.pretraining_iterations
        return "" if begun else "meta-training did not begin"

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """The meta-learner's predictions."""
        return self.learner.predict(episodes, steps)

    @torch.no_grad()
    def _hand_over(self) -> None:
        """Copy the encoder and its running statistics."""
        for name, value in self.classifier.parameters.items():
            if name not in HEAD:
                self.learner.parameters[name].copy_(value)
        averages = self.classifier.running.state_dict()
        self._running().load_state_dict(averages, self.device)

    def _running(self) -> RunningStatistics:
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Of both stages."""
        stages = {"classifier": self.classifier, "learner": self.learner}
        return {"updates": self.updates, **{n: each.state_dict() for n, each in stages.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.updates = state["updates"]
        self.classifier.load_state_dict(state["classifier"])
        self.learner.load_state_dict(state["learner"])


@register_method("pretrained_prototypical", PretrainedPrototypicalConfig)
class PretrainedPrototypical(TwoStages):
    """Prototypical Networks that start from a pre-trained encoder."""

    meta_learner = Prototypical
    learner: Prototypical

    def _running(self) -> RunningStatistics:
        return self.learner.running["encoder"]


@register_method("pretrained_maml", PretrainedMAMLConfig)
class PretrainedMAML(TwoStages):
    """MAML that starts from a pre-trained encoder."""

    meta_learner = MAML
    has_steps: ClassVar[bool] = True
    fixed_ways: ClassVar[bool] = True
    learner: MAML

    def _running(self) -> RunningStatistics:
        return self.learner.running

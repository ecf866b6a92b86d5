"""Domain adaptation: pre-training with features that look alike in every alphabet or domain.

For CORAL and MMD each batch's groups (alphabets, domains) are parted into two halves at random, and
the distributions of the halves' features are aligned: over many batches every group with every
other. CORAL (Sun & Saenko 2016, "Deep CORAL", eqs. 1 to 3) aligns their covariances,
||C_1 - C_2||_F^2 / (4 d^2); MMD (Gretton et al. 2012, eq. 5, with several Gaussian kernels as in
Long et al. 2015) their means in a reproducing kernel Hilbert space. Gradient reversal (Ganin &
Lempitsky 2015, "Unsupervised Domain Adaptation by Backpropagation", eqs. 9 and 10) trains a linear
classifier of groups, and the encoder against it. All groups have labels, so that it is adaptation
among the sources, for a test group not yet seen (domain generalisation).
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from metarl.errors import UserError
from metarl.fewshot.learner import TrainingSource
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.classifiers import squared_distances
from metarl.fewshot.methods.frozen_features import RegressionOnFeatures, RegressionSettings
from metarl.fewshot.models.layers import linear, linear_parameters
from metarl.policies import Parameters
from metarl.validation import require_at_least

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Of MMD's kernels, in mean squared distances."""
GROUPS = "groups"
"""The layer that tells groups apart, for gradient reversal."""


@dataclass(frozen=True)
class DomainAdaptationConfig(RegressionSettings):
    """Settings of pre-training with aligned groups; new tasks get a logistic regression."""

    name: Literal["domain_adaptation"] = "domain_adaptation"
    """The method."""
    alignment: Literal["coral", "mmd", "adversarial"] = "coral"
    """What must be alike: covariances of two halves of the groups, or their means of kernel
    features; or (adversarial) all groups to a classifier, by gradient reversal."""
    alignment_weight: float = 1.0
    """Weight of the difference, or of the reversed gradient, beside the cross-entropy."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(0, self, "alignment_weight")


@register_method("domain_adaptation", DomainAdaptationConfig)
class DomainAdaptation(RegressionOnFeatures):
    """Pre-training that aligns the features of alphabets or domains, then logistic regression."""

    config: DomainAdaptationConfig

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """The classifier's; UserError without at least two groups."""
        self.groups = torch.tensor(self.problem.training_groups, device=self.device)
        if len(self.groups.unique()) < 2:
            raise UserError(
                "algorithm.name: domain_adaptation aligns groups of classes (alphabets, domains), "
                "and these training classes are in fewer than two"
            )
        parameters = super().initial_parameters(generator)
        if self.config.alignment == "adversarial":
            features, groups = self.problem.encoder.features, int(self.groups.max()) + 1
            parameters |= linear_parameters(generator, GROUPS, features, groups)
        return parameters

    def penalty(self, features: Tensor, classes: Tensor, source: TrainingSource) -> Tensor:
        """The weighted difference of two random halves of the batch's groups; or the groups'
        cross-entropy, whose gradient is reversed on its way to the features."""
        if self.config.alignment == "adversarial":
            against = reversed_gradient(features, self.config.alignment_weight)
            return F.cross_entropy(linear(self.parameters, GROUPS, against), self.groups[classes])
        groups, own = self.groups[classes].unique(return_inverse=True)
        order = source.generators("halves", 1)[0].permutation(len(groups))
        second = torch.from_numpy(order).to(self.device)[own] < len(groups) // 2
        halves = features[~second], features[second]
        if min(len(half) for half in halves) < 2:
            return features.new_zeros(())
        difference = coral if self.config.alignment == "coral" else mmd
        return self.config.alignment_weight * difference(*halves)


def coral(one: Tensor, other: Tensor) -> Tensor:
    """||C_1 - C_2||_F^2 / (4 d^2) of features `[n, d]` and `[m, d]`."""
    difference = one.T.cov() - other.T.cov()
    return difference.square().sum() / (4.0 * one.shape[1] ** 2)


def mmd(one: Tensor, other: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of `[n, d]` and `[m, d]`: mean k(x, x') + mean k(y, y')
    - 2 mean k(x, y), where k is the mean of Gaussian kernels."""
    both = torch.cat([one, other]).unsqueeze(0)
    distances = squared_distances(both, both).squeeze(0)
    scale = distances.detach().mean().clamp(min=1e-12)
    kernels = [(-distances / (width * scale)).exp() for width in BANDWIDTHS]
    kernel = torch.stack(kernels).mean(dim=0)
    n = len(one)
    return kernel[:n, :n].mean() + kernel[n:, n:].mean() - 2.0 * kernel[:n, n:].mean()


def reversed_gradient(values: Tensor, weight: float) -> Tensor:
    """The values as they are; their gradient is multiplied by -weight."""
    found: Any = _Reversed.apply(values, weight)
    return found


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: float) -> Tensor:
        ctx.weight = weight
        return values.view_as(values)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return -ctx.weight * gradients[0], None

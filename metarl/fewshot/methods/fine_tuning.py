"""Transfer by fine-tuning: pre-train a classifier; a new task trains all of it further."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import Prediction
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.metric import ways_of
from metarl.fewshot.methods.pretraining import HEAD, PretrainedClassifier, PretrainingConfig
from metarl.fewshot.models.encoder import Statistics
from metarl.policies import Parameters, stack
from metarl.validation import require_positive


@dataclass(frozen=True)
class FineTuningSettings(PretrainingConfig):
    """How a new task trains the pre-trained network further."""

    adaptation_rate: float = 1e-2
    """Step size of the new task's Adam; one step is one pass over its support set."""
    layers: Literal["all", "head"] = "all"
    """What a new task trains: the whole network, or the new last layer only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "adaptation_rate")


@dataclass(frozen=True)
class FineTuningConfig(FineTuningSettings):
    """Settings of fine-tuning."""

    name: Literal["fine_tuning"] = "fine_tuning"
    """The method."""


@register_method("fine_tuning", FineTuningConfig)
class FineTuning(PretrainedClassifier):
    """Pre-train on all training classes, then train on the support set with a new last layer.

    Yosinski et al. 2014, "How transferable are features in deep neural networks?"; as a few-shot
    baseline in Vinyals et al. 2016 (section 4.1, baseline classifier with fine-tuning) and Chen et
    al. 2019. The new layer starts at zero, so that step 0 knows nothing: accuracy 1 / N.
    """

    config: Any  # a FineTuningSettings
    has_steps: ClassVar[bool] = True

    def predict(self, episodes: Episodes, steps: int) -> Iterator[Prediction]:
        """Predictions after 0, 1, ..., `steps` passes over the support set."""

        def curve(some: Episodes) -> list[Tensor]:
            return list(self._tune(some, steps))

        pieces = self.map_episodes(curve, episodes)
        for step in range(steps + 1):
            yield Prediction(torch.cat([piece[step] for piece in pieces]))

    def start(self, episodes: Episodes) -> Parameters:
        """Where the network of each episode starts, `[B, ...]`, with a last layer of zeros."""
        return self.with_new_head(self.parameters, episodes)

    def with_new_head(self, shared: Parameters, episodes: Episodes) -> Parameters:
        """Copies of an encoder's parameters, and a last layer of zeros, for each episode; what no
        episode changes (`Encoder.fixed`) stays shared."""
        count, ways = len(episodes.support_targets), ways_of(episodes)
        weight = torch.zeros(count, self.problem.encoder.features, ways, device=self.device)
        encoder = {name: v.detach() for name, v in shared.items() if name not in HEAD}
        own = {n: v for n, v in encoder.items() if n not in self.problem.encoder.fixed}
        copies = {name: value.clone() for name, value in stack(own, count).items()}
        return {**encoder, **copies, HEAD[0]: weight, HEAD[1]: weight.new_zeros(count, ways)}

    def pull(self, parameters: Parameters) -> Tensor | float:
        """What the episodes' losses add, summed over episodes; here nothing."""
        return 0.0

    def _tune(self, episodes: Episodes, steps: int) -> Iterator[Tensor]:
        parameters = self.start(episodes)
        stays = self.problem.encoder.fixed
        all_layers = self.config.layers == "all"
        trained = [n for n in parameters if n in HEAD or (all_layers and n not in stays)]
        for name in trained:
            parameters[name].requires_grad_()
        optimizer = torch.optim.Adam(
            [parameters[name] for name in trained], lr=self.config.adaptation_rate
        )
        yield self._log_probs(parameters, episodes)
        for _ in range(steps):
            with torch.enable_grad():
                # Episodes share no parameters: the sum's gradient is that of each one's loss.
                logits, _ = self._logits(parameters, episodes.support_inputs, self._averages())
                each = F.cross_entropy(
                    logits.transpose(1, 2), episodes.support_targets, reduction="none"
                )
                loss = each.mean(dim=1).sum() + self.pull(parameters)
            gradients = torch.autograd.grad(loss, [parameters[name] for name in trained])
            for name, gradient in zip(trained, gradients, strict=True):
                parameters[name].grad = gradient
            optimizer.step()
            yield self._log_probs(parameters, episodes)

    def _log_probs(self, parameters: Parameters, episodes: Episodes) -> Tensor:
        """`[B, m, N]`, normalised as the problem's mode says."""
        given = self._averages()
        if given is None and self.problem.normalization != "transductive":
            _, given = self._logits(parameters, episodes.support_inputs, None)
        logits, _ = self._logits(parameters, episodes.query_inputs, given)
        return logits.log_softmax(dim=-1)

    def _averages(self) -> Statistics | None:
        return self.running.values if self.problem.normalization == "running" else None

    def _logits(
        self, parameters: Parameters, inputs: Tensor, statistics: Statistics | None
    ) -> tuple[Tensor, Any]:
        features, used = self.problem.encoder(parameters, inputs, statistics)
        return torch.baddbmm(parameters[HEAD[1]].unsqueeze(1), features, parameters[HEAD[0]]), used

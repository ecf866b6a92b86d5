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
    """Step size of the new task's Adam for its new last layer; one step is one pass over the
    support set."""
    encoder_rate: float = 1e-3
    """Step size for the other layers: Adam moves every weight by about as much in each step, and
    what pre-training found is gone after ten steps of the size that a new layer needs."""
    layers: Literal["all", "head"] = "all"
    """What a new task trains: the whole network, or the new last layer only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_positive(self, "adaptation_rate", "encoder_rate")


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
        head = [parameters[name].requires_grad_() for name in HEAD]
        groups: list[dict[str, Any]] = [{"params": head, "lr": self.config.adaptation_rate}]
        frozen = None
        if self.config.layers == "all":
            stays = {*HEAD, *self.problem.encoder.fixed}
            rest = [value.requires_grad_() for n, value in parameters.items() if n not in stays]
            if rest:
                groups.append({"params": rest, "lr": self.config.encoder_rate})
        else:  # one pass through the encoder does for all steps
            frozen = self._support(parameters, episodes), self._queries(parameters, episodes)
        trained = [value for group in groups for value in group["params"]]
        optimizer = torch.optim.Adam(groups)
        for step in range(steps + 1):
            queries = frozen[1] if frozen else self._queries(parameters, episodes)
            yield _logits(parameters, queries).log_softmax(dim=-1)
            if step == steps:
                return
            with torch.enable_grad():
                support = frozen[0] if frozen else self._support(parameters, episodes)
                # Episodes share no parameters: the sum's gradient is that of each one's loss.
                logits = _logits(parameters, support).transpose(1, 2)
                each = F.cross_entropy(logits, episodes.support_targets, reduction="none")
                loss = each.mean(dim=1).sum() + self.pull(parameters)
            gradients = torch.autograd.grad(loss, trained)
            for value, gradient in zip(trained, gradients, strict=True):
                value.grad = gradient
            optimizer.step()

    def _support(self, parameters: Parameters, episodes: Episodes) -> Tensor:
        """Features `[B, n, F]`, normalised by the running averages or by themselves."""
        return self.problem.encoder(parameters, episodes.support_inputs, self._averages())[0]

    def _queries(self, parameters: Parameters, episodes: Episodes) -> Tensor:
        """Features `[B, m, F]`, normalised as the problem's mode says."""
        encoder, given = self.problem.encoder, self._averages()
        if given is None and self.problem.normalization != "transductive":
            _, given = encoder(parameters, episodes.support_inputs)
        return encoder(parameters, episodes.query_inputs, given)[0]

    def _averages(self) -> Statistics | None:
        return self.running.values if self.problem.normalization == "running" else None


def _logits(parameters: Parameters, features: Tensor) -> Tensor:
    """`[B, n, N]` of features `[B, n, F]`, each episode by its own last layer."""
    return torch.baddbmm(parameters[HEAD[1]].unsqueeze(1), features, parameters[HEAD[0]])

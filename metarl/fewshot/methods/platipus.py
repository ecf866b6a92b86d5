"""PLATIPUS: MAML over a Gaussian of initial parameters, for problems that few examples leave open.

Finn, Xu & Levine 2018, "Probabilistic Model-Agnostic Meta-Learning", algorithms 1 (training) and 2
(test). Theta ~ N(mu, sigma^2) are initial parameters, phi what gradient steps on the support set
make of them:

    q(theta | query)   = N(mu - gamma_q grad L(mu, query), v_q)        the approximate posterior
    p(theta | support) = N(mu - gamma_p grad L(mu, support), sigma^2)  the learned prior
    minimise  E_q[L(phi, query)] + KL(q || p)  over mu, sigma^2, v_q, gamma_p and gamma_q

The authors' code is not public; inner steps, rates and the weight of KL are those of a
reimplementation (cnguyen10/few_shot_meta_learning), which also trains MAML first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.learner import Prediction, TrainingSource, log_density
from metarl.fewshot.methods import register_method
from metarl.fewshot.methods.chunked import ChunkedLearner, Found, mixture, named, part
from metarl.fewshot.methods.maml import score
from metarl.fewshot.models.encoder import Statistics
from metarl.fewshot.models.layers import linear, linear_parameters
from metarl.policies import Parameters, stack
from metarl.tasks import stream
from metarl.validation import require_at_least, require_positive

_GAUSSIANS = ("posterior", "prior")


@dataclass(frozen=True)
class PlatipusConfig:
    """Settings; see the module for where the defaults are from."""

    name: Literal["platipus"] = "platipus"
    """The method."""
    learning_rate: float = 1e-3
    """Step size of Adam."""
    inner_steps: int = 5
    """Gradient steps on the support set that training looks through."""
    inner_learning_rate: float = 0.01
    """Step size of them, alpha."""
    first_order: bool = True
    """Take inner gradients as constants in the outer gradient."""
    samples: int = 2
    """Initial parameters drawn for each episode in training."""
    test_samples: int = 10
    """Initial parameters drawn for each episode at test; predictions are their mixture."""
    kl_weight: float = 1e-6
    """Weight of KL(q || p), which sums over parameters, beside the mean loss of a query."""
    initial_std: float = 0.02
    """Standard deviation of every initial parameter, of prior and posterior, at the start."""
    initial_rate: float = 0.01
    """gamma_p and gamma_q at the start."""
    maml_iterations: int = 0
    """So many iterations train mu alone (of curves also the standard deviation of y given phi),
    as MAML does, on the same likelihood: without noise and KL."""

    def __post_init__(self) -> None:
        keys = ("learning_rate", "inner_learning_rate", "initial_std", "initial_rate")
        require_positive(self, *keys)
        require_at_least(1, self, "inner_steps", "samples", "test_samples")
        require_at_least(0, self, "kl_weight", "maml_iterations")


@register_method("platipus", PlatipusConfig)
class Platipus(ChunkedLearner):
    """PLATIPUS: a learned Gaussian over initial parameters, adapted by gradient steps."""

    config_class = PlatipusConfig
    kinds = ("classification", "regression")
    has_steps = True
    fixed_ways = True

    def initial_parameters(self, generator: np.random.Generator) -> Parameters:
        """`mean.*`, `prior.*` and `posterior.*` (log standard deviations) of the network, the two
        rates' logarithms and, for curves, that of the standard deviation of y given phi.

        What no inner loop changes (`Encoder.fixed`) is one `fixed.*` for all episodes.
        """
        config, encoder = self.config, self.problem.encoder
        network = encoder.initial_parameters(generator)
        fixed = {name: network.pop(name) for name in list(network) if name in encoder.fixed}
        network |= linear_parameters(generator, "head", encoder.features, self.problem.ways)
        log_std = {n: torch.full_like(v, math.log(config.initial_std)) for n, v in network.items()}
        log_rates = {
            name: torch.tensor(math.log(config.initial_rate))
            for name in ("log_prior_rate", "log_posterior_rate")
        }
        spreads = {
            **named("prior", log_std),
            **named("posterior", {n: v.clone() for n, v in log_std.items()}),
        }
        noise = {"log_noise": torch.tensor(0.0)} if self.problem.kind == "regression" else {}
        shared = {**named("fixed", fixed), **named("mean", network)}
        return {**shared, **spreads, **log_rates, **noise}

    # The network and its losses -----------------------------------------------------------------

    def outputs(
        self, network: Parameters, inputs: Tensor, statistics: Statistics | None = None
    ) -> tuple[Tensor, Statistics]:
        """Logits `[B, n, N]` or values `[B, n, 1]` of a network of each episode, `[B, ...]`."""
        everything = {**part(self.parameters, "fixed"), **network}
        features, used = self.problem.encoder(everything, inputs, statistics)
        return linear(network, "head", features), used

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """What the gradient steps go down, L `[B]`: cross-entropy, or squared error."""
        if self.problem.kind == "regression":
            return (outputs - targets).square().mean(dim=(1, 2))
        return cross_entropy(outputs.transpose(1, 2), targets, reduction="none").mean(dim=1)

    def negative_log_likelihood(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Of the queries given phi, a mean over them `[B]`."""
        if self.problem.kind == "classification":
            return self.loss(outputs, targets)
        density = log_density(targets, outputs, self.parameters["log_noise"].exp())
        return -density.mean(dim=(1, 2))

    # The inner loop -----------------------------------------------------------------------------

    def gradient(
        self, network: Parameters, inputs: Tensor, targets: Tensor, place: "_Place"
    ) -> Parameters:
        """Gradient of L for the network of each episode, `[B, ...]`."""
        with torch.enable_grad():
            if not place.second_order:
                network = {n: v.detach().requires_grad_() for n, v in network.items()}
            outputs, _ = self.outputs(network, inputs, place.averages)
            loss = self.loss(outputs, targets).sum()
            values = tuple(network.values())
            found = torch.autograd.grad(loss, values, create_graph=place.second_order)
        return dict(zip(network, found, strict=True))

    def adapt(self, network: Parameters, episodes: Episodes, place: "_Place") -> Parameters:
        """phi - alpha grad L(phi, support)."""
        support = episodes.support_inputs, episodes.support_targets
        gradient = self.gradient(network, *support, place)
        rate = self.config.inner_learning_rate
        return {name: value - rate * gradient[name] for name, value in network.items()}

    def means(self, inputs: Tensor, targets: Tensor, rate: str, place: "_Place") -> Parameters:
        """mu - gamma grad L(mu), `[B, ...]`: the mean of prior or posterior."""
        start = stack(part(self.parameters, "mean"), len(inputs))
        gradient = self.gradient(start, inputs, targets, place)
        factor = self.parameters[f"log_{rate}_rate"].exp()
        return {name: value - factor * gradient[name] for name, value in start.items()}

    def answer(
        self, network: Parameters, episodes: Episodes, place: "_Place"
    ) -> tuple[Tensor, Statistics]:
        """Outputs `[B, m, ...]` for the queries, and what normalised them."""
        statistics = place.averages
        if self.problem.normalization == "support" or place.untrained:
            _, statistics = self.outputs(network, episodes.support_inputs)
        return self.outputs(network, episodes.query_inputs, statistics)

    # Training (algorithm 1) ---------------------------------------------------------------------

    def draw(self, episodes: Episodes, source: TrainingSource) -> tuple[Tensor, ...]:
        """Standard normal numbers `[B, L, P]` for the L samples of all P parameters; none while mu
        is trained alone."""
        if self._is_maml:
            return ()
        generators = source.generators("initial parameters", len(episodes.query_targets))
        noise = [self._noise(each, self.config.samples) for each in generators]
        return (torch.stack(noise).to(self.device),)

    @property
    def _is_maml(self) -> bool:
        return self.updates < self.config.maml_iterations

    @property
    def missing_stage(self) -> str:
        """The spread of initial parameters, while mu is trained alone."""
        begun = self.updates > self.config.maml_iterations or not self.config.maml_iterations
        return "" if begun else "the spread of initial parameters was not trained"

    def judge(self, episodes: Episodes, drawn: tuple[Tensor, ...]) -> Found:
        """E_q[L(phi, query)] + weight KL(q || p) of each episode, `[B]`."""
        place = _Place(second_order=not self.config.first_order)
        if self._is_maml:
            start = stack(part(self.parameters, "mean"), len(episodes.query_targets))
            found, statistics = self._answered(start, episodes, place)
            return {**found, "kl": torch.zeros_like(found["total"])}, statistics
        query = episodes.query_inputs, episodes.query_targets
        support = episodes.support_inputs, episodes.support_targets
        posterior = self.means(*query, "posterior", place)
        prior = self.means(*support, "prior", place)
        count, samples = drawn[0].shape[:2]
        theta = self._sampled(posterior, "posterior", drawn[0])
        of_samples, statistics = self._answered(theta, _repeated(episodes, samples), place)
        found = {n: each.view(count, samples).mean(dim=1) for n, each in of_samples.items()}
        divergence = self.divergence(posterior, prior)
        found["total"] = found["total"] + self.config.kl_weight * divergence
        return {**found, "kl": divergence.detach()}, statistics

    def divergence(self, posterior: Parameters, prior: Parameters) -> Tensor:
        """KL(q || p) of the diagonal Gaussians with these means, summed over parameters `[B]`."""
        total = torch.zeros(len(next(iter(prior.values()))), device=self.device)
        for name, mean in posterior.items():
            log_q, log_p = (self.parameters[f"{which}.{name}"] for which in _GAUSSIANS)
            distance = (mean - prior[name]).square()
            terms = log_p - log_q + 0.5 * (distance + (2 * log_q).exp()) * (-2 * log_p).exp() - 0.5
            total = total + terms.flatten(1).sum(dim=1)
        return total

    def _answered(self, network: Parameters, episodes: Episodes, place: "_Place") -> Found:
        """Loss of the queries after the gradient steps, and how right the answers are."""
        for _ in range(self.config.inner_steps):
            network = self.adapt(network, episodes, place)
        outputs, statistics = self.answer(network, episodes, place)
        targets = episodes.query_targets
        found = {"total": self.negative_log_likelihood(outputs, targets)}
        measured = "mse" if self.problem.kind == "regression" else "accuracy"
        return {**found, measured: score(outputs.detach(), targets)}, statistics

    # Test (algorithm 2) -------------------------------------------------------------------------

    def predictions(self, episodes: Episodes, steps: int) -> Sequence[Prediction]:
        """Mixtures over samples of the prior, after 0, 1, ... steps; for curves with the mean and
        the standard deviation of the mixture. All episodes share the random numbers."""
        averages = self.running.values if self.problem.normalization == "running" else None
        untrained = self.problem.normalization == "running" and averages is None
        place = _Place(False, averages, untrained)
        mean = self.means(episodes.support_inputs, episodes.support_targets, "prior", place)
        mean = {name: value.detach() for name, value in mean.items()}
        count, samples = len(episodes.query_targets), self.config.test_samples
        noise = self._noise(stream(0, "initial parameters at test"), samples).to(self.device)
        network = self._sampled(mean, "prior", noise.expand(count, -1, -1))
        repeated, found = _repeated(episodes, samples), []
        for step in range(steps + 1):
            if step > 0:
                adapted = self.adapt(network, repeated, place)
                network = {name: value.detach() for name, value in adapted.items()}
            outputs, _ = self.answer(network, repeated, place)
            found.append(self._mixture(outputs.unflatten(0, (count, samples))))
        return found

    def _mixture(self, outputs: Tensor) -> Prediction:
        """Of outputs `[B, L, m, ...]`."""
        if self.problem.kind == "classification":
            return Prediction(log_probs=mixture(outputs.log_softmax(dim=-1), dim=1))
        variance = outputs.var(dim=1, correction=0) + (2 * self.parameters["log_noise"]).exp()
        return Prediction(mean=outputs.mean(dim=1), std=variance.sqrt())

    def _sampled(self, means: Parameters, which: str, noise: Tensor) -> Parameters:
        """theta ~ N(mean, std^2) `[B L, ...]`, the L samples of an episode side by side, from means
        `[B, ...]` and standard normal numbers `[B, L, P]`."""
        pieces = noise.split([value[0].numel() for value in means.values()], dim=2)
        found: Parameters = {}
        for (name, mean), each in zip(means.items(), pieces, strict=True):
            spread = self.parameters[f"{which}.{name}"].exp()
            drawn = each.unflatten(2, spread.shape) * spread
            found[name] = (mean.unsqueeze(1) + drawn).flatten(0, 1)
        return found

    def _noise(self, generator: np.random.Generator, samples: int) -> Tensor:
        size = sum(value.numel() for value in part(self.parameters, "mean").values())
        return torch.from_numpy(generator.standard_normal((samples, size), dtype=np.float32))


def _repeated(episodes: Episodes, samples: int) -> Episodes:
    """Every episode `samples` times, side by side: all samples adapt in one pass."""
    return Episodes(*(value.repeat_interleave(samples, 0) for value in vars(episodes).values()))


@dataclass(frozen=True)
class _Place:
    """How networks are called and differentiated, here and now."""

    second_order: bool
    averages: Statistics | None = None
    """Running averages that normalise everything, at test in mode `running`."""
    untrained: bool = False
    """Whether there should be averages and are none; the support set's statistics then serve."""

"""Small problems for methods that adapt by gradients."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.fewshot.data.sinusoids import Sinusoids
from metarl.fewshot.episodes import Episodes, class_major_targets
from metarl.fewshot.learner import FewShotLearner, Problem
from metarl.fewshot.methods import METHODS
from metarl.fewshot.models.conv4 import Conv4
from metarl.fewshot.models.encoder import Encoder, Statistics
from metarl.fewshot.models.perceptron import Perceptron
from metarl.fewshot.models.text import BagOfNgrams, TextCNN, TextEncoder, TextGRU
from metarl.tasks import stream
from metarl.workers import Workers

WAYS, SHOTS, QUERIES = 3, 2, 2
ENCODERS: dict[str, Encoder] = {
    "strided": Conv4((1, 7, 6), 2, pool=False),
    "pooled": Conv4((1, 16, 17), 2, pool=True),
    "bare": Conv4((1, 7, 6), 2, pool=False, batch_norm=False),
    "perceptron": Perceptron(12, (5, 4), batch_norm=True),
    "curves": Perceptron(1, (6, 5), batch_norm=False),
    "ngrams": BagOfNgrams(9, 4, (4, 3)),
    "text_cnn": TextCNN(9, 4, (4, 3)),
    "text_gru": TextGRU(9, 4, (4, 3)),
}


class Identity(Encoder):
    """The inputs are the features; only the head has parameters."""

    features = 1

    def initial_parameters(self, generator: np.random.Generator) -> dict[str, Tensor]:
        return {}

    def __call__(
        self,
        parameters: Mapping[str, Tensor],
        inputs: Tensor,
        statistics: Statistics | None = None,
    ) -> tuple[Tensor, Statistics]:
        return inputs, ()


def make_problem(encoder: Encoder, normalization: Any = "transductive") -> Problem:
    curves = isinstance(encoder, Identity) or (
        isinstance(encoder, Perceptron) and encoder.inputs == 1
    )
    mode = normalization if encoder.normalizes else "none"
    if curves:
        return Problem("regression", encoder, 1, 5, 3, 0, (), mode)
    return Problem("classification", encoder, WAYS, SHOTS, QUERIES, 9, (), mode)


def make_learner(
    name: str,
    encoder: Encoder,
    normalization: Any = "transductive",
    threads: int = 1,
    **settings: Any,
) -> Any:
    method = METHODS[name]
    learner: FewShotLearner = method.learner(
        make_problem(encoder, normalization),
        method.config(**settings),
        stream(3, "initial parameters"),
        "cpu",
        Workers(threads),
    )
    return learner


def doubled(learner: Any) -> Any:
    """The same learner in double precision, with noise that no symmetry of the start survives."""
    noise = np.random.default_rng(8)
    learner.parameters = {
        name: (value.detach() + 0.2 * torch.from_numpy(noise.standard_normal(value.shape)))
        .double()
        .requires_grad_()
        for name, value in learner.parameters.items()
    }
    return learner


def make_episodes(encoder: Encoder, count: int = 3, seed: int = 0) -> Episodes:
    """Random examples, in double precision where they are not words."""
    if make_problem(encoder).kind == "regression":
        generators = [stream(seed, "episodes", 0, index) for index in range(count)]
        drawn = Sinusoids().sample(generators, 5, 3)
        return Episodes(*(_double(each) for each in vars(drawn).values()))
    generator = np.random.default_rng(seed)
    sizes = WAYS * SHOTS, WAYS * QUERIES
    if isinstance(encoder, TextEncoder):
        inputs = [generator.integers(1, 9, (count, n, 5)) for n in sizes]
    else:
        shape = encoder.image if isinstance(encoder, Conv4) else (12,)
        inputs = [generator.standard_normal((count, n, *shape)) for n in sizes]
    device = torch.device("cpu")
    return Episodes(
        torch.from_numpy(inputs[0]),
        class_major_targets(count, WAYS, SHOTS, device),
        torch.from_numpy(inputs[1]),
        class_major_targets(count, WAYS, QUERIES, device),
        torch.arange(WAYS).expand(count, -1),
    )


def single(episodes: Episodes) -> Episodes:
    """In the precision of training."""
    tensors = vars(episodes).values()
    return Episodes(*(each.float() if each.is_floating_point() else each for each in tensors))


def _double(values: Tensor) -> Tensor:
    return values.double() if values.is_floating_point() else values


class Source:
    """Episodes of one iteration, as `TrainingSource`."""

    def __init__(self, encoder: Encoder, iteration: int = 1, count: int = 5):
        self.encoder, self.iteration, self.count = encoder, iteration, count

    def episodes(self) -> Episodes:
        return single(make_episodes(self.encoder, self.count, self.iteration))

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        raise AssertionError("no method here pre-trains")

    def all_examples(self) -> tuple[Tensor, Tensor]:
        raise AssertionError("no method here pre-trains")

    def generators(self, name: str, count: int) -> Sequence[np.random.Generator]:
        return [stream(5, name, self.iteration, index) for index in range(count)]


def slope(learner: Any, episodes: Episodes, seed: int, width: float = 1e-6) -> tuple[float, float]:
    """The loss's change along a random direction: by its gradient, and by finite differences."""
    generator = np.random.default_rng(seed)
    parameters = learner.parameters
    direction = {
        name: torch.from_numpy(generator.standard_normal(value.shape))
        for name, value in parameters.items()
    }
    loss = learner.losses(episodes, None)["total"].sum()
    values = list(parameters.values())
    gradients = torch.autograd.grad(loss, values, materialize_grads=True)
    pairs = zip(gradients, direction.values(), strict=True)
    by_gradient = sum(float((gradient * part).sum()) for gradient, part in pairs)
    ends = []
    for sign in (1.0, -1.0):
        learner.parameters = {
            name: (value.detach() + sign * width * direction[name]).requires_grad_()
            for name, value in parameters.items()
        }
        ends.append(float(learner.losses(episodes, None)["total"].detach().sum()))
    learner.parameters = parameters
    return by_gradient, (ends[0] - ends[1]) / (2.0 * width)

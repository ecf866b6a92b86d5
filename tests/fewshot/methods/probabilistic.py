"""Small problems for probabilistic methods: fast enough for tests, real enough to learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from metarl.fewshot.data.sinusoids import Sinusoids
from metarl.fewshot.episodes import Episodes, class_major_targets
from metarl.fewshot.learner import FewShotLearner, Problem
from metarl.fewshot.methods import METHODS
from metarl.fewshot.models.perceptron import Perceptron
from metarl.tasks import stream

WAYS, SHOTS, QUERIES = 3, 2, 4


class Source:
    """Episodes of one iteration, as `TrainingSource`."""

    def __init__(self, kind: str, iteration: int = 1, count: int = 4):
        self.kind, self.iteration, self.count = kind, iteration, count

    def episodes(self) -> Episodes:
        return make_episodes(self.kind, self.count, self.iteration)

    def examples(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("no method here pre-trains")

    def all_examples(self) -> tuple[torch.Tensor, torch.Tensor]:
        raise AssertionError("no method here pre-trains")

    def generators(self, name: str, count: int) -> Sequence[np.random.Generator]:
        return [stream(5, name, self.iteration, index) for index in range(count)]


def make_episodes(kind: str, count: int = 4, seed: int = 0) -> Episodes:
    """Sinusoids, or points of the plane around a centre for each class."""
    generators = [stream(seed, "episodes", 0, index) for index in range(count)]
    if kind == "regression":
        return Sinusoids().sample(generators, 10, 5)
    found = []
    for generator in generators:
        centres = 3.0 * generator.standard_normal((WAYS, 1, 2))
        found.append(centres + generator.standard_normal((WAYS, SHOTS + QUERIES, 2)))
    inputs = torch.from_numpy(np.stack(found)).float()
    support, queries = inputs.split([SHOTS, QUERIES], dim=2)
    device = torch.device("cpu")
    return Episodes(
        support.flatten(1, 2),
        class_major_targets(count, WAYS, SHOTS, device),
        queries.flatten(1, 2),
        class_major_targets(count, WAYS, QUERIES, device),
        torch.arange(WAYS).expand(count, -1),
    )


def make_problem(kind: Any, normalization: Any = "none") -> Problem:
    batch_norm = normalization != "none"
    encoder = Perceptron(1 if kind == "regression" else 2, (8, 6), batch_norm)
    ways = 1 if kind == "regression" else WAYS
    return Problem(kind, encoder, ways, SHOTS, QUERIES, 0, (), normalization)


def make_learner(
    name: str, kind: str, normalization: str = "none", **settings: Any
) -> FewShotLearner:
    method = METHODS[name]
    problem = make_problem(kind, normalization)
    return method.learner(problem, method.config(**settings), stream(0, "parameters"))


def queries_replaced(episodes: Episodes, after: int) -> Episodes:
    """The same with other query inputs from index `after` on."""
    changed = episodes.query_inputs.clone()
    changed[:, after:] += 7.0
    values = vars(episodes) | {"query_inputs": changed}
    return Episodes(**values)

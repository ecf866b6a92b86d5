"""`FewShotExperiment`: data, episodes, a model and a method that fit each other."""

import copy
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms.learner import Metrics
from metarl.errors import UserError
from metarl.fewshot.config import SIZES, FewShotConfig
from metarl.fewshot.data import Curves, DataSet, load_data
from metarl.fewshot.episodes import Episodes
from metarl.fewshot.evaluate import EpisodeDrawer, evaluate
from metarl.fewshot.learner import FewShotLearner, Problem
from metarl.fewshot.memory import keep_freed_memory
from metarl.fewshot.methods import find_method
from metarl.fewshot.models import make_encoder
from metarl.fewshot.sampler import EpisodeSampler, require_enough
from metarl.simulation.cpus import usable_cpus
from metarl.tasks import stream
from metarl.training.devices import resolve_device
from metarl.training.trainable import Trainable
from metarl.workers import Workers


class FewShotExperiment(Trainable):
    """Trains one method on episodes (or batches) of the training classes.

    Args:
        config: all settings.
        training: whether it will be trained; else only what testing needs is checked.
    """

    def __init__(self, config: FewShotConfig, training: bool = True):
        torch.set_num_threads(1)  # parallelism is over episodes, see `Workers`
        keep_freed_memory()
        self.config = config
        self.environment_steps = 0
        self.device = resolve_device(config.run.device)
        self.data = load_data(config.data)
        self._refuse_too_few(training)
        threads = config.run.threads or usable_cpus()
        workers = Workers(threads if self.device.type == "cpu" else 1)
        self.problem = _problem(config, self.data)
        self._prepared = self.problem.encoder.prepare(self.data)
        method = find_method(config.algorithm.name)
        if self.problem.kind not in method.learner.kinds:
            raise UserError(
                f"{config.algorithm.name} does no {self.problem.kind}, and {self.data.name} is one"
            )
        if training:
            self._refuse_other_ways(method.learner)
        generator = stream(config.run.seed, "initial parameters")
        self.learner: FewShotLearner = method.learner(
            self.problem, config.algorithm, generator, self.device, workers
        )
        self._training = self.drawer("train", *self._training_size)
        self.best: dict[str, Any] | None = None
        """Where `evaluation.checkpoint` asks for it: `iteration`, validation `score` and `learner`,
        its state, of the best validation so far."""

    @classmethod
    def from_config(cls, config: FewShotConfig) -> "FewShotExperiment":
        """Build everything; UserError for data, a method or a device that is not there."""
        return cls(config)

    @property
    def place(self) -> tuple[str, str]:
        """Data set and method."""
        return self.data.name, self.config.algorithm.name

    @property
    def iterations(self) -> int:
        """The last iteration."""
        return self.config.run.iterations

    def is_budget_spent(self) -> bool:
        """Never: iterations are all there is."""
        return False

    def start(self) -> None:
        """Nothing."""

    def drawer(self, split: str, ways: int, shots: int, queries: int) -> EpisodeDrawer:
        """Episodes of a split's classes; of fresh functions, for curves."""
        if isinstance(self._prepared, Curves):
            return _CurveDrawer(self._prepared, shots, queries, self.device)
        examples = self._prepared.splits[split].to(self.device)
        return EpisodeSampler(examples, ways, shots, queries)

    def test_drawer(self, split: str) -> EpisodeDrawer:
        """Episodes of the size that is evaluated."""
        size = self.config.episodes
        return self.drawer(split, size.ways, size.shots, size.queries)

    @property
    def _training_size(self) -> tuple[int, int, int]:
        """Ways, shots and queries of an episode in training."""
        size = self.config.episodes
        return (
            size.training_ways or size.ways,
            size.training_shots or size.shots,
            size.training_queries or size.queries,
        )

    def _refuse_too_few(self, training: bool) -> None:
        """UserError where a split cannot give its episodes: now, not after hours of training."""
        if isinstance(self.data, Curves):
            return
        size, splits = self.config.episodes, self.data.splits
        keys = [f"training_{name}" if getattr(size, f"training_{name}") else name for name in SIZES]
        require_enough(splits["train"], *self._training_size, "training", keys)
        tested = [self.config.evaluation.split]
        validates = self.config.run.evaluate_every and not self.config.data.train_on_validation
        if training and validates:
            tested.append("validation")
        for split in tested:
            require_enough(splits[split], size.ways, size.shots, size.queries, split)

    def _refuse_other_ways(self, learner: type[FewShotLearner]) -> None:
        """UserError where training has more or fewer classes than parameters are for."""
        (trained, *_), ways = self._training_size, self.problem.ways
        if learner.fixed_ways and self.problem.kind == "classification" and trained != ways:
            raise UserError(
                f"{self.config.algorithm.name} learns parameters for {ways} classes and cannot "
                f"train on {trained}; set episodes.training_ways to null"
            )

    def iterate(self, iteration: int) -> Metrics:
        """One update of the method; with validation where it is due."""
        started = time.perf_counter()
        source = _Source(self, iteration)
        metrics = self.learner.update(source)
        if not math.isfinite(metrics.get("loss/total", 0.0)):
            names = ("learning_rate", "inner_learning_rate")
            rates = [f"algorithm.{n}" for n in names if hasattr(self.config.algorithm, n)]
            raise FloatingPointError(f"the loss is not finite; lower {' or '.join(rates)}")
        return {
            **metrics,
            **self._validate(iteration),
            "time/sampling_s": source.seconds,
            "time/iteration_s": time.perf_counter() - started,
        }

    def _validate(self, iteration: int) -> Metrics:
        every = self.config.run.evaluate_every
        if not every:
            return {}
        names = ("validation/first", "validation/last")
        if iteration % every or self.config.data.train_on_validation:
            return dict.fromkeys(names, float("nan"))
        result = evaluate(self, "validation", min(self.config.evaluation.episodes, 200))
        score = result.scores.mean(axis=0)
        self._remember_best(iteration, float(score[-1]))
        return dict(zip(names, (float(score[0]), float(score[-1])), strict=True))

    def _remember_best(self, iteration: int, score: float) -> None:
        wanted = self.config.evaluation.checkpoint == "best" and not self.learner.missing_stage
        if not wanted or not math.isfinite(score):
            return
        sign = 1.0 if self.problem.kind == "classification" else -1.0
        if self.best is None or sign * score > sign * self.best["score"]:
            learner = copy.deepcopy(self.learner.state_dict())
            self.best = {"iteration": iteration, "score": score, "learner": learner}

    def use_best(self) -> int:
        """Take the parameters that validated best; their iteration.

        Raises UserError where none were remembered.
        """
        if self.best is None:
            raise UserError(
                "no validation score was remembered in this run: train with evaluation.checkpoint "
                "best, into the method's last stage and to a multiple of run.evaluate_every; where "
                "scores are not finite with fewer evaluation.steps; or evaluate with "
                "--evaluation.checkpoint last"
            )
        self.learner.load_state_dict(self.best["learner"])
        return self.best["iteration"]

    def state_dict(self) -> dict[str, Any]:
        """What training changes, and the best of it."""
        state: dict[str, Any] = {"learner": self.learner.state_dict()}
        return state if self.best is None else state | {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.learner.load_state_dict(state["learner"])
        self.best = state.get("best")

    def describe(self) -> dict[str, Any]:
        """What pins the exact data."""
        described = {"data": self.data.name, "protocol": self.data.protocol}
        if isinstance(self.data, Curves):
            return described
        hashes = {name: split.content_hash() for name, split in self.data.splits.items()}
        return {**described, "splits": hashes}

    def refuse_other_data(self, recorded: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """UserError where the examples of a split have changed."""
        found = now.get("splits", {})
        for split, content in recorded.get("splits", {}).items():
            if found.get(split, content) != content:
                raise UserError(
                    f"the {split} examples of {self.data.name} have changed since the run was "
                    f"trained ({content}, now {found[split]}); go on with the data that trained it"
                )


@dataclass
class _Source:
    """Training examples of one iteration; see `TrainingSource`."""

    experiment: FewShotExperiment
    iteration: int
    calls: int = 0
    seconds: float = 0.0
    """Spent on drawing."""

    def episodes(self) -> Episodes:
        started = time.perf_counter()
        count = self.experiment.config.episodes.per_batch
        drawn = self.experiment._training.sample(self.generators("episodes", count))
        self.seconds += time.perf_counter() - started
        return drawn

    def examples(self, count: int) -> tuple[Tensor, Tensor]:
        started = time.perf_counter()
        drawer = self.experiment._training
        if not isinstance(drawer, EpisodeSampler):
            raise UserError(f"{self.experiment.data.name} has no classes to pre-train on")
        drawn = drawer.examples_of_all(self.generators("examples", 1)[0], count)
        self.seconds += time.perf_counter() - started
        return drawn

    def all_examples(self) -> tuple[Tensor, Tensor]:
        drawer = self.experiment._training
        if not isinstance(drawer, EpisodeSampler):
            raise UserError(f"{self.experiment.data.name} has no classes")
        examples = drawer.examples
        classes = torch.arange(len(examples), device=examples.counts.device)
        return examples.inputs, classes.repeat_interleave(examples.counts)

    def generators(self, name: str, count: int) -> Sequence[np.random.Generator]:
        self.calls += 1
        purpose = f"few-shot {name} {self.calls}"
        seed = self.experiment.config.run.seed
        return [stream(seed, purpose, self.iteration, index) for index in range(count)]


@dataclass(frozen=True)
class _CurveDrawer:
    curves: Curves
    shots: int
    queries: int
    device: torch.device

    def sample(self, generators: Sequence[np.random.Generator]) -> Episodes:
        return self.curves.sample(generators, self.shots, self.queries).to(self.device)

    def contents(self, generators: Sequence[np.random.Generator]) -> Iterator[bytes]:
        drawn = self.curves.sample(generators, self.shots, self.queries)
        sizes = np.array([self.shots, self.queries])
        support = torch.cat([drawn.support_inputs, drawn.support_targets], dim=-1)
        queries = torch.cat([drawn.query_inputs, drawn.query_targets], dim=-1)
        for points in torch.cat([support, queries], dim=1).double().numpy():
            # Thousandths: the last bits of a sine or a root are another machine's own.
            numbers = np.concatenate([sizes, np.rint(1000.0 * points.ravel())])
            yield numbers.astype("<i8").tobytes()


def _problem(config: FewShotConfig, data: DataSet | Curves) -> Problem:
    encoder, size = make_encoder(config.model, data), config.episodes
    normalization = config.model.normalization if encoder.normalizes else "none"
    if isinstance(data, Curves):
        return Problem("regression", encoder, 1, size.shots, size.queries, 0, (), normalization)
    train = data.splits["train"]
    numbers = {group: index for index, group in enumerate(dict.fromkeys(train.groups))}
    groups = tuple(numbers[group] for group in train.groups)
    return Problem(
        "classification",
        encoder,
        size.ways,
        size.shots,
        size.queries,
        len(train),
        groups,
        normalization,
    )

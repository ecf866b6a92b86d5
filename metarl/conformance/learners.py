"""Conformance checks of learners: what the trainer, resuming and the evaluation rely on."""

import dataclasses
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from metarl.algorithms import Metrics
from metarl.config import Config, from_mapping
from metarl.conformance.probes import CheckFailed
from metarl.conformance.runner import Result
from metarl.errors import UserError
from metarl.sampling import Sampler, Trajectories
from metarl.training.checkpoints import Checkpoints
from metarl.training.experiment import Experiment

WORLDS: Mapping[str, Mapping[str, Any]] = {
    "continuous": {"family": "PointNavigation-v0", "horizon": 5},
    "discrete": {"family": "BernoulliBandit-v0", "horizon": 5, "options": {"arms": 3}},
}
"""Where a learner is tried: one world with continuous actions, one with discrete ones."""
TASKS, EPISODES, STEPS = 3, 2, 2
METRICS = ("return_pre", "return_post", "adaptation_gain", "failed_episodes")
"""What every learner reports of an iteration, `train/...`."""


def tiny_config(name: str, world: str = "continuous", **settings: Any) -> Config:
    """A run of K = 3 tasks, N = 2 episodes and T = 5 time steps, with a policy of 4 hidden units.

    Args:
        name: of the learner, which may be `module:name`.
        world: a key of `WORLDS`.
        settings: further ones by dotted key, `{"algorithm.inner_updates": 1}`.
    """
    sizes = {"tasks_per_iteration": TASKS, "episodes_per_task": EPISODES}
    mapping = {
        "tasks": {**WORLDS[world], **sizes},
        "policy": {"hidden_sizes": [4]},
        "algorithm": {"name": name},
        "evaluation": {"tasks": TASKS, "episodes": EPISODES, "steps": STEPS},
        "run": {"threads": 1, "device": "cpu"},
    }
    return from_mapping(mapping, f"the tiny {world} run", settings)


def check_metrics(config: Config) -> None:
    """A meta-update gives the metrics that every learner reports, and finite ones."""
    for metrics in _train(config, 2).metrics:
        missing = [name for name in METRICS if f"train/{name}" not in metrics]
        _require(not missing, f"meta_update must report train/{', train/'.join(missing)}")
        names = (f"train/{name}" for name in METRICS)
        strange = [name for name in names if not np.isfinite(metrics[name])]
        _require(not strange, f"{', '.join(strange)} must be finite")
        types = {type(value) for value in metrics.values()} - {float}
        _require(not types, f"metrics must be plain floats, got {types}")


def check_learning(config: Config) -> None:
    """A meta-update changes the state. (Baselines that learn nothing across tasks need not.)"""
    before = _flat(_begin(config).learner.state_dict())
    after = _flat(_train(config, 1).learner.state_dict())
    _require(not _same(before, after), "meta_update left the state as it was")


def check_state(config: Config) -> None:
    """The state is finite, is a copy, and fits into a checkpoint."""
    trained = _train(config, 1)
    state = trained.learner.state_dict()
    flat = _flat(state)
    wild = [name for name, value in flat.items() if not _is_finite(value)]
    _require(not wild, f"not finite: {', '.join(wild)}")
    kept = {n: v.clone() if isinstance(v, Tensor) else v for n, v in flat.items()}
    trained.update(2)
    _require(
        _same(flat, kept), "the next meta_update changed a state that was handed out: give copies"
    )
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder))
        try:
            checkpoints.save(1, state)
        except TypeError as error:
            raise CheckFailed(f"{error}; use tensors, numbers, text, lists and dicts") from error
        _, loaded = checkpoints.load_latest()  # with weights_only
    _require(_same(_flat(loaded), kept), "a checkpoint gives back another state")


def check_resume(config: Config) -> None:
    """A fresh learner that loads the state goes on with the same bits."""
    first = _train(config, 2)
    second = _begin(config)
    second.learner.load_state_dict(_train(config, 1).learner.state_dict())
    second.update(2)
    _same_outcome(first, second, "after load_state_dict, the next meta_update differs")


def check_threads(config: Config) -> None:
    """The number of threads changes no bit."""
    several = dataclasses.replace(config, run=dataclasses.replace(config.run, threads=3))
    first, second = _train(config, 2), _train(several, 2)
    _same_outcome(first, second, "three threads give other numbers than one")
    for one, other in zip(_adapt(first), _adapt(second), strict=True):
        fields = dataclasses.fields(Trajectories)
        same = all(torch.equal(getattr(one, f.name), getattr(other, f.name)) for f in fields)
        _require(same, "adaptation with three threads gives other episodes than with one")


def check_adaptation(config: Config) -> None:
    """Adaptation yields steps + 1 points of K tasks and N episodes, from `collect`."""
    trained = _train(config, 1)
    points = _adapt(trained)
    _require(len(points) == STEPS + 1, f"{STEPS} steps make {STEPS + 1} points, got {len(points)}")
    horizon = trained.experiment.family.horizon
    for point in points:
        shape = tuple(point.rewards.shape)
        expected = (TASKS, EPISODES, horizon)
        _require(shape == expected, f"rewards must be [K, N, T] = {expected}, got {shape}")
        finite = point.observations.isfinite().all() and point.rewards.isfinite().all()
        _require(bool(finite), "observations and rewards must be finite")
    _require(not torch.equal(points[0].actions, points[1].actions), "a point was given twice")


def check_adaptation_leaves(config: Config) -> None:
    """Adaptation leaves the learner as it is, and can be repeated."""
    trained = _train(config, 1)
    before = {
        name: value.clone() if isinstance(value, Tensor) else value
        for name, value in _flat(trained.learner.state_dict()).items()
    }
    first, second = _adapt(trained), _adapt(trained)
    _require(_same(before, _flat(trained.learner.state_dict())), "adaptation changed the state")
    same = all(torch.equal(a.rewards, b.rewards) for a, b in zip(first, second, strict=True))
    _require(same, "adapting again to the same tasks with the same seed gave other episodes")


LEARNER_CHECKS: Mapping[str, Callable[[Config], None]] = {
    "meta-update reports its returns": check_metrics,
    "meta-update changes the state": check_learning,
    "state is finite, a copy, and fits into a checkpoint": check_state,
    "a loaded state goes on with the same bits": check_resume,
    "the number of threads changes no bit": check_threads,
    "adaptation yields steps + 1 points": check_adaptation,
    "adaptation leaves the learner as it is": check_adaptation_leaves,
}


def check_learner(name: str, world: str = "continuous", **settings: Any) -> Iterator[Result]:
    """Every check of `LEARNER_CHECKS` in turn, on the run of `tiny_config` with its arguments.

    Raises UserError for a learner that is not known, or settings that it does not take.
    """
    config = tiny_config(name, world, **settings)
    for check, function in LEARNER_CHECKS.items():
        start = time.perf_counter()
        try:
            function(config)
            message, ok = "", True
        except (CheckFailed, UserError) as error:
            message, ok = str(error), False
        except Exception as error:  # whatever the learner's code raises
            message, ok = f"{type(error).__name__}: {error}", False
        yield Result(check, ok, " ".join(message.split()), time.perf_counter() - start)


# Parts of a training --------------------------------------------------------------------------


class _Training(NamedTuple):
    """A learner, the sampler of its iterations, and what they reported."""

    experiment: Experiment
    sampler: Sampler
    metrics: list[Metrics]

    @property
    def learner(self) -> Any:
        return self.experiment.learner

    def update(self, iteration: int) -> None:
        """One meta-iteration, counted from 1."""
        self.experiment.begin(self.sampler, iteration)
        self.metrics.append(self.learner.meta_update(self.sampler))


def _begin(config: Config) -> _Training:
    experiment = Experiment.from_config(config)
    return _Training(experiment, experiment.sampler(TASKS, EPISODES), [])


def _train(config: Config, iterations: int) -> _Training:
    training = _begin(config)
    for iteration in range(1, iterations + 1):
        training.update(iteration)
    return training


def _adapt(training: _Training) -> list[Trajectories]:
    """Adaptation to the first test tasks, by a sampler of its own."""
    experiment = training.experiment
    sampler = experiment.sampler(TASKS, EPISODES)
    sampler.begin(experiment.family.split("test").cycle(TASKS), "conformance", 0, 0)
    return list(training.learner.adaptation(sampler, STEPS))


def _same_outcome(first: _Training, second: _Training, message: str) -> None:
    states = (_flat(each.learner.state_dict()) for each in (first, second))
    _require(_same(*states), f"{message}: another state")
    own, others = first.metrics[-1], second.metrics[-1]
    timeless = [name for name in own if not name.startswith("time/")]
    same = all(np.array_equal(own[n], others[n], equal_nan=True) for n in timeless)
    _require(same, f"{message}: other metrics")


def _flat(state: Any, name: str = "state") -> dict[str, Any]:
    """The leaves of nested dicts and lists by their path."""
    if isinstance(state, dict):
        items = [(f"{name}[{key!r}]", value) for key, value in state.items()]
    elif isinstance(state, list | tuple):
        items = [(f"{name}[{index}]", value) for index, value in enumerate(state)]
    else:
        return {name: state}
    return {path: leaf for key, value in items for path, leaf in _flat(value, key).items()}


def _same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(map(_equal, first.values(), second.values()))


def _equal(first: Any, second: Any) -> bool:
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.equal(first, second)
    return type(first) is type(second) and first == second


def _is_finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return bool(value.isfinite().all())
    return not isinstance(value, float) or bool(np.isfinite(value))


def _require(ok: bool, message: str) -> None:
    if not ok:
        raise CheckFailed(message)

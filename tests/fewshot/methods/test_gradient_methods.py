"""What MAML, ANIL, Meta-SGD and Reptile have in common."""

import dataclasses
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from metarl.config import from_mapping
from metarl.fewshot.experiment import FewShotExperiment
from metarl.fewshot.methods import METHODS
from tests.fewshot.methods.gradient_problems import (
    ENCODERS,
    Source,
    doubled,
    make_episodes,
    make_learner,
)

NAMES = ["maml", "anil", "meta_sgd", "reptile"]
STRIDED = ENCODERS["strided"]


def equal(one, other) -> bool:
    """Whether two states hold the same bits."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


def trained(name: str, normalization: str = "transductive", **settings):
    learner = make_learner(name, STRIDED, normalization, **settings)
    learner.update(Source(STRIDED))
    return learner


@pytest.mark.parametrize("name", NAMES)
def test_threads_change_no_bit(name: str) -> None:
    """Five episodes are three chunks."""
    one, three = (trained(name, "running", threads=n, episodes_per_chunk=2) for n in (1, 3))
    assert equal(one.state_dict(), three.state_dict())
    episodes = Source(STRIDED, 2).episodes()
    for a, b in zip(one.predict(episodes, 2), three.predict(episodes, 2), strict=True):
        assert torch.equal(a.log_probs, b.log_probs)


@pytest.mark.parametrize("name", NAMES)
def test_chunks_change_nothing_but_rounding(name: str) -> None:
    two, all_at_once = (trained(name, "running", episodes_per_chunk=size) for size in (2, 5))
    for ours, theirs in zip(two.parameters.values(), all_at_once.parameters.values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-4)
    assert two.running.values is not None
    for ours, theirs in zip(two.running.values, all_at_once.running.values, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-2, atol=2e-3)


@pytest.mark.parametrize("name", ["maml", "anil", "meta_sgd"])
@pytest.mark.parametrize("mode", ["transductive", "support", "running"])
def test_an_update_follows_the_gradient_of_the_mean_loss(name: str, mode: str) -> None:
    """Of all chunks and threads, in its full length, which Adam's first step would hide."""
    settings = {"threads": 3, "episodes_per_chunk": 2, "inner_steps": 2}
    learner = doubled(make_learner(name, STRIDED, mode, **settings))
    source, taken = Source(STRIDED), []
    source.episodes = lambda: make_episodes(STRIDED, 5)
    learner.step = taken.extend
    learner.update(source)
    total = learner.losses(source.episodes(), source)["total"].mean()
    values = list(learner.parameters.values())
    wanted = torch.autograd.grad(total, values, materialize_grads=True)
    for found, expected in zip(taken, wanted, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["transductive", "support", "running"])
def test_queries_see_each_other_only_where_the_mode_says_so(name: str, mode: str) -> None:
    learner = trained(name, mode)
    episodes = Source(STRIDED, 2).episodes()
    inputs = episodes.query_inputs.clone()
    inputs[:, 1:] += 1.0
    changed = dataclasses.replace(episodes, query_inputs=inputs)
    pairs = zip(learner.predict(episodes, 2), learner.predict(changed, 2), strict=True)
    for step, (before, after) in enumerate(pairs):
        first = before.log_probs[:, 0], after.log_probs[:, 0]
        assert torch.equal(*first) == (mode != "transductive"), step


@pytest.mark.parametrize("name", NAMES)
def test_without_averages_queries_do_not_see_each_other_either(name: str) -> None:
    learner = make_learner(name, STRIDED, "running")
    episodes = Source(STRIDED, 2).episodes()
    inputs = episodes.query_inputs.clone()
    inputs[:, 1:] += 1.0
    changed = dataclasses.replace(episodes, query_inputs=inputs)
    for before, after in zip(
        learner.predict(episodes, 2), learner.predict(changed, 2), strict=True
    ):
        assert torch.equal(before.log_probs[:, 0], after.log_probs[:, 0])
        assert not torch.equal(before.log_probs[:, 1], after.log_probs[:, 1])


@pytest.mark.parametrize("name", NAMES)
def test_running_averages_are_used_at_test(name: str) -> None:
    learner = trained(name, "running")
    episodes = Source(STRIDED, 2).episodes()
    before = next(learner.predict(episodes, 0)).log_probs
    mean, variance = learner.running.values[0]
    learner.running.values = ((mean + 1.0, variance), *learner.running.values[1:])
    assert not torch.allclose(before, next(learner.predict(episodes, 0)).log_probs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["transductive", "running"])
def test_prediction_changes_nothing(name: str, mode: str) -> None:
    learner = trained(name, mode)
    before = learner.state_dict()
    predictions = list(learner.predict(Source(STRIDED, 2).episodes(), 3))
    assert len(predictions) == 4
    assert equal(before, learner.state_dict())
    sums = predictions[-1].log_probs.exp().sum(dim=-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    for before_step, after_step in itertools.pairwise(predictions):
        assert not torch.equal(before_step.log_probs, after_step.log_probs)


@pytest.mark.parametrize("name", NAMES)
def test_query_targets_are_not_read(name: str) -> None:
    learner = trained(name)
    episodes = Source(STRIDED, 2).episodes()
    other = dataclasses.replace(episodes, query_targets=episodes.query_targets.flip(1))
    for a, b in zip(learner.predict(episodes, 1), learner.predict(other, 1), strict=True):
        assert torch.equal(a.log_probs, b.log_probs)


@pytest.mark.parametrize("name", NAMES)
def test_regression_is_learned(name: str) -> None:
    encoder = ENCODERS["curves"]
    settings: dict[str, Any] = {"inner_learning_rate": 0.01} if name in ("maml", "anil") else {}
    learner = make_learner(name, encoder, **settings)
    metrics = learner.update(Source(encoder))
    assert metrics["train/mse"] > 0
    predictions = list(learner.predict(Source(encoder, 2).episodes(), 2))
    assert [each.mean.shape for each in predictions] == [(5, 3, 1)] * 3


def small(name: str, mode: str, iterations: int) -> FewShotExperiment:
    content = {
        "data": {
            "name": "glyphs",
            "options": {
                "training_classes": 8,
                "validation_classes": 5,
                "test_classes": 5,
                "examples": 6,
                "image_size": 8,
            },
        },
        "algorithm": {"name": name},
        "model": {"channels": 4, "downsampling": "stride", "normalization": mode},
        "episodes": {"ways": 3, "shots": 2, "queries": 2, "per_batch": 5},
        "run": {"iterations": iterations, "threads": 1, "device": "cpu"},
    }
    return FewShotExperiment.from_config(from_mapping(content, "test"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("mode", ["transductive", "running"])
def test_a_resumed_run_repeats_an_uninterrupted_one(name: str, mode: str, tmp_path: Path) -> None:
    whole, first, second = (small(name, mode, 4) for _ in range(3))
    for iteration in (1, 2, 3):
        metrics = whole.iterate(iteration)
    first.iterate(1)
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for iteration in (2, 3):
        resumed = second.iterate(iteration)
    assert equal(whole.state_dict(), second.state_dict())
    timeless = [{k: v for k, v in each.items() if "time/" not in k} for each in (metrics, resumed)]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("name", NAMES)
def test_each_has_a_line_about_it(name: str) -> None:
    assert METHODS[name].summary
    assert METHODS[name].learner.has_steps

"""Meta-SGD: an inner learning rate for every number, learned."""

import pytest
import torch

from metarl.validation import InvalidValue
from tests.fewshot.methods.gradient_problems import (
    ENCODERS,
    Source,
    doubled,
    make_episodes,
    make_learner,
    slope,
)


@pytest.mark.parametrize("name", ["strided", "ngrams"])
def test_the_meta_gradient_is_that_of_finite_differences(name) -> None:
    encoder = ENCODERS[name]
    learner = doubled(make_learner("meta_sgd", encoder, inner_steps=2))
    by_gradient, by_difference = slope(learner, make_episodes(encoder), seed=2)
    assert by_gradient == pytest.approx(by_difference, rel=1e-5, abs=1e-7)


def test_equal_rates_are_mamls() -> None:
    encoder = ENCODERS["strided"]
    ours = make_learner("meta_sgd", encoder, initial_rate_range=(0.3, 0.3))
    maml = make_learner("maml", encoder, inner_learning_rate=0.3)
    for learner in (ours, maml):
        learner.parameters = {n: v.detach().double() for n, v in learner.parameters.items()}
        learner.parameters = {n: v.requires_grad_() for n, v in learner.parameters.items()}
    episodes = make_episodes(encoder)
    expected = maml.losses(episodes, None)["total"]
    torch.testing.assert_close(ours.losses(episodes, None)["total"], expected)


def test_all_rates_start_at_one_value_of_the_range() -> None:
    learner = make_learner("meta_sgd", ENCODERS["ngrams"])
    rates = {n: v for n, v in learner.parameters.items() if n.startswith("rate.")}
    assert "rate.words.weight" not in rates  # no inner step changes the words
    assert set(rates) == {f"rate.{n}" for n in learner.parameters if learner.adapts(n)}
    (value,) = {float(each) for rate in rates.values() for each in rate.detach().flatten()}
    assert 0.005 <= value <= 0.1


def test_every_rate_learns() -> None:
    encoder = ENCODERS["strided"]
    learner = make_learner("meta_sgd", encoder)
    before = {name: value.detach().clone() for name, value in learner.parameters.items()}
    metrics = learner.update(Source(encoder))
    for name, value in learner.parameters.items():
        assert not torch.equal(before[name], value), name
    rates = torch.cat([v.flatten() for n, v in learner.parameters.items() if n.startswith("rate.")])
    assert metrics["train/inner_learning_rate"] == pytest.approx(float(rates.mean().detach()))


@pytest.mark.parametrize("bounds", [(0.1, 0.05), (0.1,)])
def test_an_impossible_range_is_refused(bounds) -> None:
    with pytest.raises(InvalidValue, match="two numbers, the smaller first"):
        make_learner("meta_sgd", ENCODERS["strided"], initial_rate_range=bounds)

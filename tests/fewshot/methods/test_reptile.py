"""Reptile: the step towards what an optimiser makes of each problem."""

import numpy as np
import pytest
import torch

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.methods.reptile import order
from tests.fewshot.methods.gradient_problems import (
    ENCODERS,
    Identity,
    Source,
    make_learner,
    single,
)


def copied(parameters):
    return {name: value.detach().clone() for name, value in parameters.items()}


class TwoLines(Source):
    """w x + b of (2, 0) in one episode and of (1, 3) in the other."""

    def __init__(self) -> None:
        super().__init__(Identity())

    def episodes(self) -> Episodes:
        x, y = torch.tensor([[[2.0]], [[1.0]]]), torch.tensor([[[0.0]], [[3.0]]])
        return Episodes(x, y, x, y, torch.empty(2, 0, dtype=torch.int64))


def test_one_inner_step_by_hand() -> None:
    # One plain step is a step of the size epsilon * rate down the mean gradient.
    learner = make_learner(
        "reptile",
        Identity(),
        inner_steps=1,
        inner_batch=1,
        inner_optimizer="sgd",
        inner_learning_rate=0.01,
        learning_rate=0.5,
        decay_iterations=None,
    )
    with torch.no_grad():
        learner.parameters["head.weight"].fill_(1.0)
        learner.parameters["head.bias"].fill_(0.0)
    metrics = learner.update(TwoLines())
    # Gradients (8, 4) of (2 - 0)^2 and (-4, -4) of (1 - 3)^2: mean (2, 0).
    assert learner.parameters["head.weight"].item() == pytest.approx(1.0 - 0.5 * 0.01 * 2.0)
    assert learner.parameters["head.bias"].item() == pytest.approx(0.0, abs=1e-7)
    assert metrics["loss/total"] == pytest.approx(4.0)


def test_the_inner_adam_is_torchs_with_moments_that_outlive_an_episode() -> None:
    encoder = ENCODERS["perceptron"]
    learner = make_learner("reptile", encoder, inner_batch=4, inner_steps=3, decay_iterations=None)
    values = [value.detach().clone().requires_grad_() for value in learner.parameters.values()]
    adam = torch.optim.Adam(values, lr=1e-3, betas=(0.0, 0.999))
    for iteration in (1, 2):
        source = Source(encoder, iteration, count=1)
        episodes = source.episodes()
        rows = order(source.generators("mini-batches", 1)[0], 6, 4, 3)
        for row in rows:
            named = dict(zip(learner.parameters, values, strict=True))
            outputs, _ = learner.network(named, episodes.support_inputs[:, row])
            targets = episodes.support_targets[0, row]
            loss = torch.nn.functional.cross_entropy(outputs[0], targets)
            for value, gradient in zip(values, torch.autograd.grad(loss, values), strict=True):
                value.grad = gradient
            adam.step()
        # epsilon 1 and one episode: the parameters become the episode's.
        learner.update(Source(encoder, iteration, count=1))
        for ours, theirs in zip(learner.parameters.values(), values, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_the_outer_step_falls_linearly_to_zero() -> None:
    encoder = ENCODERS["perceptron"]
    learner = make_learner("reptile", encoder, learning_rate=0.8, decay_iterations=2)
    found = []
    for iteration in (1, 2, 3):
        before = copied(learner.parameters)
        found.append(learner.update(Source(encoder, iteration))["train/epsilon"])
    assert found == pytest.approx([0.8, 0.4, 0.0])
    for name, value in learner.parameters.items():
        assert torch.equal(value, before[name])


def test_every_example_comes_once_before_any_comes_again() -> None:
    drawn = order(np.random.default_rng(0), examples=6, batch=4, steps=3)
    assert drawn.shape == (3, 4)
    assert sorted(drawn.flatten()[:6]) == sorted(drawn.flatten()[6:]) == list(range(6))
    assert order(np.random.default_rng(0), 6, 4, 0).shape == (0, 4)


def test_words_are_learned_too() -> None:
    encoder = ENCODERS["ngrams"]
    learner = make_learner("reptile", encoder)
    before = copied(learner.parameters)
    learner.update(Source(encoder))
    assert not torch.equal(before["words.weight"], learner.parameters["words.weight"])


def test_at_test_it_starts_with_the_moments_of_training() -> None:
    encoder = ENCODERS["perceptron"]
    learner = make_learner("reptile", encoder)
    learner.update(Source(encoder))
    episodes = single(Source(encoder, 2).episodes())
    one = [each.log_probs for each in learner.predict(episodes, 2)]
    learner.moments = {name: value * 100.0 for name, value in learner.moments.items()}
    other = [each.log_probs for each in learner.predict(episodes, 2)]
    assert torch.equal(one[0], other[0])
    assert not torch.allclose(one[1], other[1])

"""ANIL: the head adapts, the features do not."""

import pytest
import torch

from tests.fewshot.methods.gradient_problems import (
    ENCODERS,
    doubled,
    make_episodes,
    make_learner,
    slope,
)


@pytest.mark.parametrize("mode", ["transductive", "support", "running"])
@pytest.mark.parametrize("name", ["strided", "curves"])
def test_the_meta_gradient_is_that_of_finite_differences(name, mode) -> None:
    encoder = ENCODERS[name]
    learner = doubled(make_learner("anil", encoder, mode, inner_steps=2, inner_learning_rate=0.1))
    by_gradient, by_difference = slope(learner, make_episodes(encoder), seed=1)
    assert by_gradient == pytest.approx(by_difference, rel=1e-5, abs=1e-7)


def test_only_the_head_adapts() -> None:
    encoder = ENCODERS["strided"]
    learner = doubled(make_learner("anil", encoder))
    features, _ = learner.embed(make_episodes(encoder), training=True)
    start = learner.start(features)
    adapted, _, _ = learner.adapt(start, features, training=True)
    changed = {name for name in adapted if adapted[name] is not start[name]}
    assert changed == {"head.weight", "head.bias"}
    assert adapted["head.weight"].shape == (3, encoder.features, 3)


def test_it_is_maml_whose_other_gradients_are_dropped() -> None:
    encoder = ENCODERS["pooled"]
    anil, maml = (doubled(make_learner(name, encoder, inner_steps=2)) for name in ("anil", "maml"))
    maml.adapts = lambda name: name.startswith("head.")
    episodes = make_episodes(encoder)
    expected = maml.losses(episodes, None)
    for name, found in anil.losses(episodes, None).items():
        torch.testing.assert_close(found, expected[name])
    pairs = zip(anil.predict(episodes, 3), maml.predict(episodes, 3), strict=True)
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.log_probs, theirs.log_probs)

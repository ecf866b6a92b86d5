"""MAML: gradients through the inner loop, first and second order."""

import pytest
import torch

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.methods.maml import HEAD
from tests.fewshot.methods.gradient_problems import (
    ENCODERS,
    Identity,
    Source,
    doubled,
    make_episodes,
    make_learner,
    slope,
)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("steps", [1, 2])
def test_the_meta_gradient_is_that_of_finite_differences(encoder, steps) -> None:
    rate = 0.4 if encoder.normalizes else 0.05
    learner = doubled(make_learner("maml", encoder, inner_steps=steps, inner_learning_rate=rate))
    by_gradient, by_difference = slope(learner, make_episodes(encoder), seed=steps)
    assert by_gradient == pytest.approx(by_difference, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("mode", ["support", "running"])
def test_the_meta_gradient_goes_through_the_statistics_of_each_mode(mode) -> None:
    encoder = ENCODERS["strided"]
    learner = doubled(make_learner("maml", encoder, mode))
    by_gradient, by_difference = slope(learner, make_episodes(encoder), seed=4)
    assert by_gradient == pytest.approx(by_difference, rel=1e-5, abs=1e-7)


def one_point() -> Episodes:
    """w x + b through (2, 0), then asked at 1, where the answer is 0."""
    x, zero, one = (torch.full((1, 1, 1), v, dtype=torch.float64) for v in (2.0, 0.0, 1.0))
    return Episodes(x, zero, one, zero, torch.empty(1, 0, dtype=torch.int64))


@pytest.mark.parametrize(
    ("first_order", "weight", "bias"),
    [
        # w 1, b 0: loss 4, gradient (8, 4), so w' = 0.92, b' = -0.04; the answer 0.88 has the
        # gradient 2 * 0.88 * (1, 1) in (w', b').
        (True, 1.76, 1.76),
        # I - 0.01 H with H = 2 (4 2; 2 1): (0.92 -0.04; -0.04 0.98) times 1.76 (1, 1).
        (False, 1.76 * 0.88, 1.76 * 0.94),
    ],
)
def test_a_linear_problem_by_hand(first_order, weight, bias) -> None:
    learner = make_learner("maml", Identity(), inner_learning_rate=0.01, first_order=first_order)
    start = {f"{HEAD}.weight": [[1.0]], f"{HEAD}.bias": [0.0]}
    learner.parameters = {
        name: torch.tensor(value, dtype=torch.float64, requires_grad=True)
        for name, value in start.items()
    }
    found = learner.losses(one_point(), None)
    assert float(found["support_mse_before"]) == 4.0
    assert float(found["mse"]) == pytest.approx(0.88**2)
    gradients = torch.autograd.grad(found["total"].sum(), list(learner.parameters.values()))
    assert [float(g) for g in gradients] == pytest.approx([weight, bias])
    after = list(learner.predict(one_point(), 2))
    # The second step: 2 * 0.92 - 0.04 = 1.8, gradient (7.2, 3.6).
    expected = [1.0, 0.88, 0.92 - 0.072 - 0.04 - 0.036]
    assert [float(each.mean) for each in after] == pytest.approx(expected)


def test_episodes_do_not_touch_each_other() -> None:
    encoder = ENCODERS["strided"]
    learner = doubled(make_learner("maml", encoder, inner_steps=2))
    episodes = make_episodes(encoder, count=3)
    together = learner.losses(episodes, None)["total"]
    alone = [learner.losses(episodes[i : i + 1], None)["total"] for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))
    before = torch.stack([each.log_probs[1] for each in learner.predict(episodes, 2)])
    other = torch.stack([e.log_probs[0] for e in learner.predict(episodes[1:2], 2)])
    torch.testing.assert_close(before, other)


def test_training_sees_what_prediction_says_after_as_many_steps() -> None:
    encoder = ENCODERS["pooled"]
    learner = doubled(make_learner("maml", encoder, inner_steps=2))
    episodes = make_episodes(encoder)
    *_, last = learner.predict(episodes, 2)
    own = last.log_probs.gather(-1, episodes.query_targets.unsqueeze(-1))
    total = learner.losses(episodes, None)["total"]
    torch.testing.assert_close(-own.mean(dim=(1, 2)), total.detach())


def test_words_are_learned_across_episodes_but_not_in_them() -> None:
    encoder = ENCODERS["ngrams"]
    learner = make_learner("maml", encoder)
    adapted, _, _ = learner.adapt(
        learner.start(make_episodes(encoder)), make_episodes(encoder), True
    )
    assert adapted["words.weight"] is learner.parameters["words.weight"]
    before = learner.parameters["words.weight"].detach().clone()
    learner.update(Source(encoder))
    assert not torch.equal(before, learner.parameters["words.weight"])


def test_curves_pass_all_at_once_and_images_a_few_at_a_time() -> None:
    expected = {"curves": [slice(0, 20)], "strided": [slice(0, 8), slice(8, 16), slice(16, 20)]}
    for name, slices in expected.items():
        episodes = make_episodes(ENCODERS[name], 20)
        assert make_learner("maml", ENCODERS[name]).chunks(episodes) == slices
    few = make_learner("maml", ENCODERS["curves"], episodes_per_chunk=15)
    assert few.chunks(make_episodes(ENCODERS["curves"], 20)) == [slice(0, 15), slice(15, 20)]

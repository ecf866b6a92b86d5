"""CNP, VERSA, PLATIPUS: likelihoods by hand, invariance, divergences, leaks, learning."""

import math
from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from metarl.fewshot.episodes import Episodes
from metarl.fewshot.methods.chunked import mixture, part
from metarl.fewshot.methods.cnp import CNP, CNPConfig
from metarl.fewshot.methods.platipus import Platipus, PlatipusConfig, _Place
from metarl.fewshot.methods.versa import Versa, VersaConfig
from metarl.policies import stack
from metarl.validation import InvalidValue
from tests.fewshot.methods import gradient_problems
from tests.fewshot.methods.probabilistic import (
    QUERIES,
    SHOTS,
    WAYS,
    Source,
    make_episodes,
    make_learner,
    queries_replaced,
)

BOTH = [("cnp", "regression"), ("cnp", "classification")]
BOTH += [("platipus", "regression"), ("platipus", "classification"), ("versa", "classification")]
FAST: dict[str, dict[str, Any]] = {
    "cnp": {"learning_rate": 3e-3, "representation_sizes": (32, 16), "decoder_sizes": (32,)},
    "versa": {"learning_rate": 3e-3, "feature_size": 8, "inference_sizes": (16,), "samples": 3},
    "platipus": {"inner_steps": 2, "test_samples": 3, "learning_rate": 1e-2},
}


def learner_of(name: str, kind: str, normalization: str = "none", **settings: Any) -> Any:
    return make_learner(name, kind, normalization, **{**FAST[name], **settings})


def values_of(prediction) -> Tensor:
    return prediction.mean if prediction.log_probs is None else prediction.log_probs


def permuted_support(episodes: Episodes, order: list[int]) -> Episodes:
    return replace(
        episodes,
        support_inputs=episodes.support_inputs[:, order],
        support_targets=episodes.support_targets[:, order],
    )


# All of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kind"), BOTH)
def test_it_learns(name, kind):
    learner = learner_of(name, kind)
    losses = [learner.update(Source(kind, i, 8))["loss/total"] for i in range(1, 41)]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])


@pytest.mark.parametrize(("name", "kind"), BOTH)
def test_state_goes_on_bit_for_bit(name, kind):
    learner = learner_of(name, kind, "running" if kind == "classification" else "none")
    learner.update(Source(kind, 1))
    state = learner.state_dict()
    wanted = learner.update(Source(kind, 2))
    resumed = learner_of(name, kind, "running" if kind == "classification" else "none")
    resumed.load_state_dict(state)
    assert resumed.update(Source(kind, 2)) == wanted
    episodes = make_episodes(kind, seed=9)
    for mine, other in zip(learner.predict(episodes, 1), resumed.predict(episodes, 1), strict=True):
        assert torch.equal(values_of(mine), values_of(other))


@pytest.mark.parametrize(("name", "kind"), BOTH)
def test_predictions_are_of_the_episode_alone_and_not_of_query_targets(name, kind):
    learner, episodes = learner_of(name, kind), make_episodes(kind)
    wanted = [values_of(each) for each in learner.predict(episodes, 2)]
    blind = replace(episodes, query_targets=torch.zeros_like(episodes.query_targets))
    alone = [values_of(each) for each in learner.predict(blind[1:2], 2)]
    for all_of_them, one in zip(wanted, alone, strict=True):
        torch.testing.assert_close(all_of_them[1:2], one)


@pytest.mark.parametrize(("name", "kind"), BOTH)
def test_chunks_change_nothing_but_rounding(name, kind, monkeypatch):
    whole, chunked = learner_of(name, kind), learner_of(name, kind)
    gradients = []
    whole.step = chunked.step = gradients.append
    wanted = whole.update(Source(kind))
    monkeypatch.setattr(chunked, "chunks", lambda episodes: [slice(0, 1), slice(1, None)])
    found = chunked.update(Source(kind))
    assert found == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["support", "running"])
@pytest.mark.parametrize("name", ["cnp", "versa", "platipus"])
def test_queries_do_not_see_each_other(name, mode):
    learner = learner_of(name, "classification", mode)
    learner.update(Source("classification"))
    episodes = make_episodes("classification")
    wanted = values_of(list(learner.predict(episodes, 1))[-1])
    found = values_of(list(learner.predict(queries_replaced(episodes, 5), 1))[-1])
    torch.testing.assert_close(found[:, :5], wanted[:, :5])
    assert not torch.allclose(found[:, 5:], wanted[:, 5:])


@pytest.mark.parametrize("name", ["cnp", "versa", "platipus"])
def test_transductive_queries_do(name):
    learner = learner_of(name, "classification", "transductive")
    episodes = make_episodes("classification")
    wanted = values_of(list(learner.predict(episodes, 1))[-1])
    found = values_of(list(learner.predict(queries_replaced(episodes, 5), 1))[-1])
    assert not torch.allclose(found[:, :5], wanted[:, :5])


# CNP ------------------------------------------------------------------------------------------


def test_the_order_of_context_points_is_all_the_same():
    learner, episodes = learner_of("cnp", "regression"), make_episodes("regression")
    (wanted,) = learner.predict(episodes, 0)
    (found,) = learner.predict(permuted_support(episodes, [7, 2, 9, 0, 1, 3, 8, 5, 6, 4]), 0)
    torch.testing.assert_close(found.mean, wanted.mean)
    torch.testing.assert_close(found.std, wanted.std)


def test_points_that_are_masked_are_not_there():
    learner, episodes = learner_of("cnp", "regression"), make_episodes("regression")
    x, y, queries = episodes.support_inputs, episodes.support_targets, episodes.query_inputs
    mask = torch.ones_like(x)
    mask[:, 4:] = 0.0
    masked = learner.distribution(x, y, mask, queries)
    short = learner.distribution(x[:, :4], y[:, :4], mask[:, :4], queries)
    torch.testing.assert_close(masked, short)


def test_the_likelihood_of_a_cnp_by_hand():
    """A decoder of zeros says mean 0 and std 0.1 + 0.9 log 2 everywhere."""
    learner = learner_of("cnp", "regression")
    for name, value in learner.parameters.items():
        if name.startswith("decoder"):
            value.data.zero_()
    episodes = make_episodes("regression", count=1)
    found, _ = learner.judge(episodes, (torch.ones_like(episodes.support_inputs),))
    std = 0.1 + 0.9 * math.log(2.0)
    ys = [*episodes.support_targets.flatten().tolist(), *episodes.query_targets.flatten().tolist()]
    terms = [0.5 * (y / std) ** 2 + math.log(std) + 0.5 * math.log(2 * math.pi) for y in ys]
    assert found["total"].item() == pytest.approx(sum(terms) / len(ys), rel=1e-5)
    assert found["mse"].item() == pytest.approx(sum(y * y for y in ys) / len(ys), rel=1e-5)


def test_the_number_of_context_points_is_drawn_between_the_ends():
    learner = cast(CNP, learner_of("cnp", "regression", context=(3, 5)))
    episodes = make_episodes("regression", count=200)
    (mask,) = learner.draw(episodes, Source("regression", count=200))
    counts = mask.sum(dim=(1, 2))
    assert set(counts.tolist()) == {3.0, 4.0, 5.0}
    assert bool((mask[:, :3] == 1).all())


def test_no_std_is_below_the_floor():
    learner = learner_of("cnp", "regression", std_floor=0.25)
    learner.parameters["decoder.bias1"].data.fill_(-100.0)
    (found,) = learner.predict(make_episodes("regression"), 0)
    assert found.std.min().item() == pytest.approx(0.25)


# VERSA ----------------------------------------------------------------------------------------


def test_classes_of_versa_change_places_with_their_probabilities():
    """Each class's weights come from its own examples alone; the noise must move along."""
    learner = cast(Versa, learner_of("versa", "classification"))
    support, queries = torch.randn(2, WAYS * SHOTS, 6), torch.randn(2, 5, 6)
    noise = torch.randn(2, 4, WAYS, 9)
    wanted = learner.log_probs(support, queries, noise)
    order = [2, 0, 1]
    moved = support.unflatten(1, (WAYS, SHOTS))[:, order].flatten(1, 2)
    found = learner.log_probs(moved, queries, noise[:, :, order])
    assert wanted.shape == (2, 5, WAYS)
    torch.testing.assert_close(found, wanted[..., order])
    torch.testing.assert_close(wanted.exp().sum(dim=-1), torch.ones(2, 5))


def test_the_order_of_a_classs_examples_is_all_the_same():
    learner = cast(Versa, learner_of("versa", "classification"))
    support = torch.randn(1, WAYS * SHOTS, 6)
    swapped = support[:, [1, 0, 3, 2, 5, 4]]
    torch.testing.assert_close(learner.posterior(support, WAYS), learner.posterior(swapped, WAYS))


def test_shapes_and_scale_of_what_versa_draws():
    learner = cast(Versa, learner_of("versa", "classification", dropout=0.5))
    episodes = make_episodes("classification", count=50)
    noise, support, queries = learner.draw(episodes, Source("classification", count=50))
    assert noise.shape == (50, 3, WAYS, 9)
    assert support.shape == (50, WAYS * SHOTS, 6)
    assert queries.shape == (50, WAYS * QUERIES, 6)
    assert set(queries.unique().tolist()) == {0.0, 2.0}
    assert queries.mean().item() == pytest.approx(1.0, abs=0.06)


def test_a_mixture_averages_probabilities_not_their_logarithms():
    log_probs = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).log()
    torch.testing.assert_close(mixture(log_probs, 0).exp(), torch.tensor([0.7, 0.3]))


# PLATIPUS -------------------------------------------------------------------------------------


def test_the_divergence_is_that_of_torch():
    learner = cast(Platipus, learner_of("platipus", "regression"))
    generator = torch.Generator().manual_seed(0)
    for name, value in learner.parameters.items():
        if name.startswith(("prior", "posterior")):
            value.data.copy_(torch.randn(value.shape, generator=generator) * 0.5)
    shapes = {n: v.shape for n, v in part(learner.parameters, "mean").items()}
    q, p = (
        {n: torch.randn(2, *shape, generator=generator) for n, shape in shapes.items()}
        for _ in range(2)
    )
    wanted = torch.zeros(2)
    for name in shapes:
        normals = [
            torch.distributions.Normal(means[name], learner.parameters[f"{which}.{name}"].exp())
            for means, which in ((q, "posterior"), (p, "prior"))
        ]
        wanted += torch.distributions.kl_divergence(*normals).flatten(1).sum(dim=1)
    torch.testing.assert_close(learner.divergence(q, p), wanted)


def test_samples_have_the_mean_and_spread_they_are_drawn_with():
    learner = cast(Platipus, learner_of("platipus", "regression", initial_std=0.5))
    (noise,) = learner.draw(make_episodes("regression"), Source("regression"))
    means = stack(part(learner.parameters, "mean"), 4)
    drawn = learner._sampled(means, "prior", noise)
    pieces = [
        (drawn[n].unflatten(0, (4, 2)) - means[n].unsqueeze(1)).flatten(2) / 0.5 for n in means
    ]
    torch.testing.assert_close(torch.cat(pieces, dim=2), noise)


def test_prior_and_posterior_are_a_gradient_step_away_from_the_mean():
    learner = cast(Platipus, learner_of("platipus", "regression"))
    learner.parameters["log_prior_rate"].data.fill_(math.log(0.25))
    episodes = make_episodes("regression", count=1)
    support = episodes.support_inputs, episodes.support_targets
    found = learner.means(*support, "prior", _Place(second_order=False))
    mean = part(learner.parameters, "mean")
    outputs, _ = learner.outputs(stack(mean, 1), support[0])
    loss = (outputs - support[1]).square().mean()
    (gradient,) = torch.autograd.grad(loss, learner.parameters["mean.head.weight"])
    torch.testing.assert_close(found["head.weight"][0], mean["head.weight"] - 0.25 * gradient)


@pytest.mark.parametrize("mode", ["transductive", "support"])
@pytest.mark.parametrize("name", ["strided", "curves", "ngrams"])
def test_the_gradient_is_that_of_finite_differences(name, mode):
    """Through the inner steps, both gradients of mu, the draw and the divergence."""
    encoder = gradient_problems.ENCODERS[name]
    settings = {"first_order": False, "kl_weight": 0.1, "inner_steps": 2}
    learner = gradient_problems.make_learner("platipus", encoder, mode, **settings)
    learner = gradient_problems.doubled(learner)
    episodes = gradient_problems.make_episodes(encoder)
    drawn = (learner.draw(episodes, gradient_problems.Source(encoder))[0].double(),)
    learner.losses = lambda episodes, source: learner.judge(episodes, drawn)[0]
    by_gradient, by_difference = gradient_problems.slope(learner, episodes, seed=3)
    assert by_gradient == pytest.approx(by_difference, rel=1e-5, abs=1e-6)


def test_words_are_learned_across_episodes_but_have_no_prior():
    encoder = gradient_problems.ENCODERS["ngrams"]
    learner = gradient_problems.make_learner("platipus", encoder)
    assert {n for n in learner.parameters if "words" in n} == {"fixed.words.weight"}
    before = learner.parameters["fixed.words.weight"].detach().clone()
    learner.update(gradient_problems.Source(encoder))
    assert not torch.equal(before, learner.parameters["fixed.words.weight"])
    *_, last = learner.predict(gradient_problems.make_episodes(encoder), 2)
    torch.testing.assert_close(last.log_probs.exp().sum(dim=-1), torch.ones(3, 6))


def test_the_first_iterations_are_mamls():
    learner = cast(Platipus, learner_of("platipus", "regression", maml_iterations=1))
    episodes = make_episodes("regression")
    assert learner.draw(episodes, Source("regression")) == ()
    before = {n: v.detach().clone() for n, v in learner.parameters.items()}
    assert learner.update(Source("regression", 1))["train/kl"] == 0.0
    changed = {n for n, v in learner.parameters.items() if not torch.equal(v, before[n])}
    assert {n.partition(".")[0] for n in changed} == {"mean", "log_noise"}
    metrics = learner.update(Source("regression", 2))
    assert metrics["train/kl"] > 0.0
    assert metrics["train/mse"] > 0.0


def test_the_spread_of_curves_is_that_of_samples_and_noise():
    learner = cast(Platipus, learner_of("platipus", "regression"))
    learner.parameters["log_noise"].data.fill_(math.log(2.0))
    found = learner._mixture(torch.tensor([1.0, 7.0]).view(1, 2, 1, 1))
    assert found.mean is not None and found.std is not None  # noqa: PT018
    assert found.mean.item() == 4.0
    assert found.std.item() == pytest.approx(math.sqrt(9.0 + 4.0))


def test_a_platipus_mixes_probabilities_of_its_samples():
    learner = cast(Platipus, learner_of("platipus", "classification"))
    probabilities = torch.tensor([[0.9, 0.1], [0.5, 0.5]]).view(1, 2, 1, 2)
    found = learner._mixture(probabilities.log()).log_probs
    assert found is not None
    torch.testing.assert_close(found.exp(), torch.tensor([[[0.7, 0.3]]]))


@pytest.mark.parametrize(
    ("config", "settings", "key"),
    [
        (CNPConfig, {"context": (5, 3)}, "context"),
        (CNPConfig, {"context": (3,)}, "context must be two numbers of points"),
        (CNPConfig, {"std_floor": 1.0}, "std_floor"),
        (VersaConfig, {"dropout": 1.0}, "dropout"),
        (PlatipusConfig, {"samples": 0}, "samples"),
        (PlatipusConfig, {"initial_std": 0.0}, "initial_std"),
    ],
)
def test_impossible_settings_are_refused(config, settings, key):
    with pytest.raises(InvalidValue, match=key):
        config(**settings)

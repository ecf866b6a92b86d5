"""Log-probability, KL, entropy and Fisher information against torch.distributions and autograd."""

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal, kl_divergence

from metarl.policies import Categorical, Gaussian

TASKS, SAMPLES, ACTIONS = 2, 5, 3


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def gaussian(seed: int = 0) -> Gaussian:
    mean = random(TASKS, SAMPLES, ACTIONS, seed=seed)
    return Gaussian(mean, 0.5 * random(TASKS, 1, ACTIONS, seed=seed + 1))


def categorical(seed: int = 0) -> Categorical:
    return Categorical(random(TASKS, SAMPLES, 4, seed=seed))


def torch_gaussian(distribution: Gaussian) -> Independent:
    """Independent dimensions: torch sums them."""
    mean, log_std = distribution
    return Independent(Normal(mean, log_std.exp().expand_as(mean)), 1)


def test_gaussian_log_prob_is_that_of_torch():
    actions = random(TASKS, SAMPLES, ACTIONS, seed=7)
    expected = torch_gaussian(gaussian()).log_prob(actions)
    torch.testing.assert_close(gaussian().log_prob(actions), expected)


def test_gaussian_log_prob_by_hand():
    # (a - mu) / sigma = 2 / 2 = 1 and 0: -1/2 - log 2 - log(2 pi)/2, and -log 1 - log(2 pi)/2
    distribution = Gaussian(torch.tensor([[1.0, 5.0]]), torch.tensor([[math.log(2.0), 0.0]]))
    expected = -0.5 - math.log(2.0) - math.log(2.0 * math.pi)
    assert distribution.log_prob(torch.tensor([[3.0, 5.0]])).item() == pytest.approx(expected)


def test_gaussian_kl_is_that_of_torch_with_the_old_distribution_first():
    old, new = gaussian(0), gaussian(10)
    expected = kl_divergence(torch_gaussian(old), torch_gaussian(new))
    torch.testing.assert_close(new.kl_from(old), expected)
    assert not torch.allclose(old.kl_from(new), expected)


def test_gaussian_entropy_is_that_of_torch():
    torch.testing.assert_close(gaussian().entropy(), torch_gaussian(gaussian()).entropy())


@pytest.mark.parametrize("copies", [2, 6])
def test_gaussian_quantities_are_summed_not_averaged_over_action_dimensions(copies):
    old = Gaussian(torch.tensor([[0.5]]), torch.tensor([[0.1]]))
    new = Gaussian(torch.tensor([[0.9]]), torch.tensor([[0.3]]))
    many_old, many_new = (Gaussian(*(x.repeat(1, copies) for x in d)) for d in (old, new))
    action = torch.tensor([[0.7]])
    torch.testing.assert_close(
        many_new.log_prob(action.repeat(1, copies)), copies * new.log_prob(action)
    )
    torch.testing.assert_close(many_new.kl_from(many_old), copies * new.kl_from(old))
    torch.testing.assert_close(many_new.entropy(), copies * new.entropy())


def test_categorical_quantities_are_those_of_torch():
    old, new = categorical(0), categorical(1)
    torch_old, torch_new = (TorchCategorical(logits=d.logits) for d in (old, new))
    actions = torch.tensor([[0, 1, 2, 3, 0], [3, 3, 1, 0, 2]])
    torch.testing.assert_close(new.log_prob(actions.unsqueeze(-1)), torch_new.log_prob(actions))
    torch.testing.assert_close(new.kl_from(old), kl_divergence(torch_old, torch_new))
    torch.testing.assert_close(new.entropy(), torch_new.entropy())


def test_categorical_log_prob_takes_unnormalised_logits():
    # p = (1, 3) / 4, whatever is added to the logits
    logits = torch.tensor([[0.0, math.log(3.0)]], dtype=torch.float64) + 7.0
    log_prob = Categorical(logits).log_prob(torch.tensor([[1]]))
    assert log_prob.item() == pytest.approx(math.log(0.75))


def weighted_kl_hessian(distribution, weights: Tensor) -> Tensor:
    """Hessian of sum_b weights_b KL(old_b || new_b) in all of new's parameters, at new = old."""
    shapes = [value.shape for value in distribution]

    def objective(vector: Tensor) -> Tensor:
        pieces = vector.split([shape.numel() for shape in shapes])
        new = type(distribution)(*(p.view(s) for p, s in zip(pieces, shapes, strict=True)))
        return (new.kl_from(distribution) * weights).sum()

    point = torch.cat([value.reshape(-1) for value in distribution])
    hessian = torch.autograd.functional.hessian(objective, point)
    assert isinstance(hessian, Tensor)
    return hessian


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_fisher_product_is_that_of_the_weighted_kl_hessian(make):
    distribution = make()
    weights = torch.tensor([[0.1, 0.0, 0.4, 0.3, 0.2], [1.0, 2.0, 0.5, 0.0, 0.25]]).double()
    hessian = weighted_kl_hessian(distribution, weights)
    assert hessian.abs().max() > 0.1
    for seed in (20, 30):
        tangent = make(seed)
        product = distribution.fisher_product(tangent, weights)
        assert [p.shape for p in product] == [d.shape for d in distribution]
        flat_tangent = torch.cat([value.reshape(-1) for value in tangent])
        flat_product = torch.cat([value.reshape(-1) for value in product])
        torch.testing.assert_close(flat_product, hessian @ flat_tangent)


@pytest.mark.parametrize("make", [gaussian, categorical])
def test_detached_distribution_has_no_graph_and_the_same_numbers(make):
    attached = type(make())(*(value.requires_grad_() for value in make()))
    detached = attached.detach()
    assert not any(value.requires_grad for value in detached)
    assert all(torch.equal(a, d) for a, d in zip(attached, detached, strict=True))

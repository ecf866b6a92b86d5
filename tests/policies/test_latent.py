"""The tanh-Gaussian policy with a latent variable."""

import math

import numpy as np
import pytest
import torch
from torch.distributions import Independent, Normal, TanhTransform, TransformedDistribution

from metarl.policies import stack
from metarl.policies.latent import LatentPolicy, TanhGaussian


def test_log_prob_by_hand():
    # u = 0.5 + 0.5 * 1 = 1, a = tanh 1 = 0.76159, 1 - a^2 = 0.41997:
    # log p = -1/2 - log 0.5 - log(2 pi)/2 - log 0.41997 = -0.5 + 0.69315 - 0.91894 + 0.86756
    policy = TanhGaussian(torch.tensor([[0.5]]), torch.tensor([[math.log(0.5)]]))
    action, log_prob = policy.sample_with_log_prob(torch.tensor([[1.0]]))
    assert action.item() == pytest.approx(0.761594)
    assert log_prob.item() == pytest.approx(0.141770, abs=1e-5)


def test_log_prob_is_that_of_a_transformed_normal_summed_over_actions():
    generator = torch.Generator().manual_seed(0)
    mean, log_std, noise = torch.randn(3, 4, 5, 2, generator=generator, dtype=torch.float64)
    action, log_prob = TanhGaussian(mean, log_std).sample_with_log_prob(noise)
    normal = Independent(Normal(mean, log_std.exp()), 1)
    expected = TransformedDistribution(normal, TanhTransform(cache_size=0)).log_prob(action)
    torch.testing.assert_close(log_prob, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(TanhGaussian(mean, log_std).sample(noise), action)


def test_log_prob_is_finite_where_tanh_rounds_to_one():
    mean = torch.full((1, 1), 50.0, requires_grad=True)
    action, log_prob = TanhGaussian(mean, torch.zeros(1, 1)).sample_with_log_prob(torch.zeros(1, 1))
    # log(1 - tanh(u)^2) = 2 (log 2 - u) there
    assert action.item() == 1.0
    assert log_prob.item() == pytest.approx(-0.918939 - 2 * (math.log(2) - 50), rel=1e-5)
    (gradient,) = torch.autograd.grad(log_prob.sum(), mean)
    assert gradient.item() == pytest.approx(2.0)


def test_every_environment_acts_by_its_own_latent():
    policy = LatentPolicy(3, 2, 4, (8,))
    parameters = stack(policy.initial_parameters(np.random.default_rng(0)), 2)
    latents = torch.from_numpy(np.random.default_rng(1).standard_normal((2, 3, 4))).float()
    before = latents.clone()
    observations, noise = torch.ones(2, 3, 3), torch.zeros(2, 3, 2)
    actor = policy.memory_actor(parameters, latents)
    actions = actor(observations, noise)
    actor.after_step(actions, torch.ones(2, 3), torch.ones(2, 3, dtype=torch.bool))
    assert len(actions.view(6, 2).unique(dim=0)) == 6
    assert torch.equal(latents, before)
    # The same as one environment by itself.
    shared = {name: value[0] for name, value in parameters.items()}
    inputs = torch.cat([observations[1, 2], latents[1, 2]])
    torch.testing.assert_close(policy.distribution(shared, inputs).mean.tanh(), actions[1, 2])


def test_noise_scale_zero_takes_the_mean():
    policy = LatentPolicy(3, 2, 4, (8,))
    parameters = stack(policy.initial_parameters(np.random.default_rng(0)), 2)
    latents, observations = torch.ones(2, 1, 4), torch.ones(2, 1, 3)
    scaled = {**parameters, "noise_scale": torch.tensor([0.0, 1.0])}
    actions = policy.memory_actor(scaled, latents)(observations, torch.ones(2, 1, 2))
    plain = policy.memory_actor(parameters, latents)
    assert torch.equal(actions[0], plain(observations, torch.zeros(2, 1, 2))[0])
    assert torch.equal(actions[1], plain(observations, torch.ones(2, 1, 2))[1])

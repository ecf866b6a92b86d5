"""Batches: from trajectories, weights, thinning."""

import torch
from torch import Tensor

from metarl.sampling import (
    Batch,
    LinearFeatureBaseline,
    Trajectories,
    discounted_returns,
    gae,
    normalize,
)

TASKS, EPISODES, STEPS = 3, 2, 4


def trajectories(lengths: list[list[int]]) -> Trajectories:
    """Random episodes `[K, N, T]` of these lengths, zero after their end."""
    generator = torch.Generator().manual_seed(0)
    mask = torch.arange(STEPS) < torch.tensor(lengths).unsqueeze(-1)
    observations, actions = (
        torch.randn(*mask.shape, 2, generator=generator) * mask.unsqueeze(-1) for _ in range(2)
    )
    rewards = torch.randn(mask.shape, generator=generator) * mask
    ended = mask.sum(-1) < STEPS
    return Trajectories(observations, actions, rewards, mask, ended, torch.zeros_like(ended))


LENGTHS = [[4, 4], [1, 4], [2, 3]]


def small_batch(weights: Tensor) -> Batch:
    """Samples 0, 1, 2, ... whose every field holds their number."""
    tasks, samples = weights.shape
    numbers = torch.arange(samples, dtype=torch.float32).expand(tasks, samples)
    deep = numbers.unsqueeze(-1)
    return Batch(deep, deep, numbers, weights, numbers, numbers[:, 0])


def test_weights_sum_to_one_in_every_task_and_are_zero_after_an_end():
    batch = Batch.from_trajectories(trajectories(LENGTHS), 0.9, 0.8)
    torch.testing.assert_close(batch.weights.sum(dim=1), torch.ones(TASKS))
    # task 1: 1 + 4 samples took place, 1/5 each
    torch.testing.assert_close(
        batch.weights[1], torch.tensor([0.2, 0.0, 0.0, 0.0, 0.2, 0.2, 0.2, 0.2])
    )


def test_samples_are_the_flattened_time_steps():
    whole = trajectories(LENGTHS)
    batch = Batch.from_trajectories(whole, 0.9, 0.8)
    assert len(batch) == TASKS
    assert torch.equal(batch.observations[2, STEPS + 1], whole.observations[2, 1, 1])
    assert torch.equal(batch.actions[2, STEPS + 1], whole.actions[2, 1, 1])


def test_advantages_are_gae_over_the_baseline_normalised_per_task():
    whole = trajectories([[4] * 6, [1, 4, 4, 4, 4, 4], [2, 3, 4, 4, 4, 4]])
    rewards = whole.rewards.double()
    values = LinearFeatureBaseline().fit_predict(
        whole.observations, discounted_returns(rewards, whole.mask, 0.9), whole.mask
    )
    expected = normalize(gae(rewards, values, whole.mask, 0.9, 0.8), whole.mask)
    batch = Batch.from_trajectories(whole, 0.9, 0.8)
    torch.testing.assert_close(batch.advantages, expected.flatten(1).float())
    # mean 0 and standard deviation 1 over what took place
    zeros, ones = torch.zeros(TASKS), torch.ones(TASKS)
    mean = (batch.weights * batch.advantages).sum(dim=1)
    torch.testing.assert_close(mean, zeros, atol=1e-6, rtol=0.0)
    torch.testing.assert_close((batch.weights * batch.advantages**2).sum(dim=1), ones)


def test_task_without_a_sample_weighs_nothing():
    batch = Batch.from_trajectories(trajectories([[0, 0], [4, 4]]), 0.9, 0.8)
    assert torch.equal(batch.weights[0], torch.zeros(8))
    assert torch.equal(batch.advantages[0], torch.zeros(8))
    assert torch.isfinite(batch.advantages).all()


def test_every_second_sample_has_weights_that_sum_to_one_again():
    # weights of samples 0, 2, 4: 1, 2, 1 of 10 -> 1/4, 1/2, 1/4
    batch = small_batch(torch.tensor([[0.1, 0.3, 0.2, 0.3, 0.1]])).every(2)
    assert batch.observations.flatten().tolist() == [0.0, 2.0, 4.0]
    assert batch.actions.flatten().tolist() == [0.0, 2.0, 4.0]
    assert batch.advantages.tolist() == [[0.0, 2.0, 4.0]]
    assert batch.log_probs.tolist() == [[0.0, 2.0, 4.0]]
    torch.testing.assert_close(batch.weights, torch.tensor([[0.25, 0.5, 0.25]]))


def test_every_sample_is_the_batch_itself():
    batch = small_batch(torch.tensor([[0.5, 0.25, 0.25]]))
    assert torch.equal(batch.every(1).weights, batch.weights)


def test_thinning_that_leaves_a_task_nothing_stays_finite():
    batch = small_batch(torch.tensor([[0.0, 1.0], [0.5, 0.5]])).every(2)
    assert batch.weights.tolist() == [[0.0], [1.0]]


def test_some_of_the_tasks():
    batch = small_batch(torch.tensor([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]))[1:]
    assert len(batch) == 2
    assert batch.weights.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_double_keeps_discrete_actions():
    numbers = torch.ones(1, 2)
    actions = torch.tensor([[[0], [3]]])
    batch = Batch(numbers.unsqueeze(-1), actions, numbers, numbers, numbers, numbers[:, 0]).double()
    assert batch.actions.dtype == torch.int64
    assert batch.observations.dtype == batch.log_probs.dtype == torch.float64

"""Returns, generalised advantages and their normalisation, with arithmetic by hand."""

import pytest
import torch
from torch import Tensor

from metarl.sampling import discounted_returns, gae, normalize


def episodes(*rows: list[float]) -> Tensor:
    """`[1, N, T]` float64."""
    return torch.tensor([rows], dtype=torch.float64)


def everything(like: Tensor) -> Tensor:
    return torch.ones_like(like, dtype=torch.bool)


REWARDS = episodes([1, 2, 3, 4])
VALUES = episodes([0.5, 1, 2, 1])


def test_returns_by_hand():
    # 4; 3 + 4/2 = 5; 2 + 5/2 = 4.5; 1 + 4.5/2 = 3.25
    returns = discounted_returns(REWARDS, everything(REWARDS), 0.5)
    assert returns.tolist() == [[[3.25, 4.5, 5.0, 4.0]]]


def test_returns_of_an_ended_episode_stop_at_its_end():
    # the 3 and the 4 did not take place: 2; 1 + 2/2 = 2. The other episode goes on: 4, 5, 4.5, 3.25
    rewards = episodes([1, 2, 3, 4], [1, 2, 3, 4])
    mask = episodes([1, 1, 0, 0], [1, 1, 1, 1]).bool()
    returns = discounted_returns(rewards, mask, 0.5)
    assert returns.tolist() == [[[2.0, 2.0, 0.0, 0.0], [3.25, 4.5, 5.0, 4.0]]]


def test_gae_by_hand():
    # delta = r + V'/2 - V: 1 + 1/2 - 1/2 = 1; 2 + 2/2 - 1 = 2; 3 + 1/2 - 2 = 1.5; 4 + 0 - 1 = 3
    # A = delta + A'/4:     3; 1.5 + 3/4 = 2.25; 2 + 2.25/4 = 2.5625; 1 + 2.5625/4 = 1.640625
    advantages = gae(REWARDS, VALUES, everything(REWARDS), 0.5, 0.5)
    assert advantages.tolist() == [[[1.640625, 2.5625, 2.25, 3.0]]]


def test_gae_of_an_ended_episode_has_no_value_after_the_end():
    # delta = 1 + 1/2 - 1/2 = 1 and 2 + 0 - 1 = 1 (not 2 + 2/2 - 1); A = 1 + 1/4, 1, 0, 0
    mask = episodes([1, 1, 0, 0]).bool()
    assert gae(REWARDS, VALUES, mask, 0.5, 0.5).tolist() == [[[1.25, 1.0, 0.0, 0.0]]]


def test_gae_keeps_episodes_and_tasks_apart():
    rewards = torch.stack([REWARDS[0], 10 * REWARDS[0]])
    values = torch.stack([VALUES[0], 10 * VALUES[0]])
    advantages = gae(rewards, values, everything(rewards), 0.5, 0.5)
    torch.testing.assert_close(advantages[1], 10 * advantages[0])
    assert advantages[0].tolist() == [[1.640625, 2.5625, 2.25, 3.0]]


@pytest.mark.parametrize("mask", [[1, 1, 1, 1], [1, 1, 1, 0]])
def test_lambda_one_is_returns_minus_values(mask):
    valid = episodes(mask).bool()
    expected = (discounted_returns(REWARDS, valid, 0.9) - VALUES) * valid
    torch.testing.assert_close(gae(REWARDS, VALUES, valid, 0.9, 1.0), expected)


def test_lambda_zero_is_the_one_step_temporal_difference():
    advantages = gae(REWARDS, VALUES, everything(REWARDS), 0.5, 0.0)
    assert advantages.tolist() == [[[1.0, 2.0, 1.5, 3.0]]]


def test_normalisation_is_within_each_task_and_over_valid_samples_only():
    # task 0: 1, 3 and a masked 100: mean 2, std 1; task 1: 0, 0, 6: mean 2, std sqrt(8)
    advantages = torch.tensor([[[1.0, 3.0, 100.0]], [[0.0, 0.0, 6.0]]], dtype=torch.float64)
    mask = torch.tensor([[[1, 1, 0]], [[1, 1, 1]]]).bool()
    root = 8**0.5
    expected = torch.tensor(
        [[[-1.0, 1.0, 0.0]], [[-2 / root, -2 / root, 4 / root]]], dtype=torch.float64
    )
    torch.testing.assert_close(normalize(advantages, mask), expected)


def test_normalisation_of_one_value_or_of_none_is_zero():
    advantages = torch.tensor([[[5.0, 5.0]], [[7.0, 8.0]]], dtype=torch.float64)
    mask = torch.tensor([[[1, 1]], [[0, 0]]]).bool()
    assert normalize(advantages, mask).tolist() == [[[0.0, 0.0]], [[0.0, 0.0]]]

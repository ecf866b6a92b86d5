"""Normalised observations."""

import pytest
import torch

from metarl.errors import UserError
from metarl.sampling import ObservationNormalizer, Trajectories


def trajectories(observations: torch.Tensor, mask: list[bool]) -> Trajectories:
    """One task, one episode of `[T, O]` observations."""
    steps = len(observations)
    ended = torch.zeros(1, 1, dtype=torch.bool)
    return Trajectories(
        observations[None, None],
        torch.zeros(1, 1, steps, 1),
        torch.zeros(1, 1, steps),
        torch.tensor(mask)[None, None],
        ended,
        ended,
    )


def test_mean_and_standard_deviation_are_those_of_the_valid_time_steps():
    normalizer = ObservationNormalizer(2)
    # first number: 1, 3, 8 have mean 4 and variance (9 + 1 + 16) / 3; the 100 did not happen
    seen = torch.tensor([[1.0, 7.0], [3.0, 7.0], [8.0, 7.0], [100.0, 100.0]])
    normalizer.measure(trajectories(seen, [True, True, True, False]))
    std = (26 / 3) ** 0.5
    expected = torch.tensor([[(9 - 4) / std, 9 - 7]])  # the second never varied: shifted only
    torch.testing.assert_close(normalizer(torch.tensor([[9.0, 9.0]])), expected)


def test_nothing_to_measure_is_refused():
    with pytest.raises(UserError, match=r"^no observation to normalise by: .*set policy\."):
        ObservationNormalizer(1).measure(trajectories(torch.zeros(2, 1), [False, False]))


def test_before_it_measured_it_changes_nothing():
    observations = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ObservationNormalizer(3)(observations), observations)


def test_a_restored_normalizer_does_the_same():
    first, second = ObservationNormalizer(1), ObservationNormalizer(1)
    first.measure(trajectories(torch.tensor([[1.0], [5.0]]), [True, True]))
    second.load_state_dict(first.state_dict())
    assert second(torch.tensor([9.0])).tolist() == first(torch.tensor([9.0])).tolist() == [3.0]

"""The linear feature baseline against numpy.linalg.lstsq."""

import numpy as np
import pytest
import torch
from torch import Tensor

from metarl.sampling import LinearFeatureBaseline
from metarl.sampling.baseline import RIDGE

TASKS, EPISODES, STEPS, SIZE = 3, 4, 10, 2


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def problem() -> tuple[Tensor, Tensor, Tensor]:
    """Observations, returns and a mask in which some episodes end early."""
    lengths = torch.tensor([[10, 4, 10, 7], [10, 10, 10, 10], [1, 10, 3, 10]])
    mask = torch.arange(STEPS) < lengths.unsqueeze(-1)
    observations = 2 * random(TASKS, EPISODES, STEPS, SIZE)
    return observations, 5 * random(TASKS, EPISODES, STEPS, seed=1), mask


def ridge_weights(rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """argmin |rows w - targets|^2 + ridge |w|^2: the ridge as F further rows with target 0."""
    count = rows.shape[1]
    rows = np.concatenate([rows, np.sqrt(RIDGE) * np.eye(count)])
    return np.linalg.lstsq(rows, np.concatenate([targets, np.zeros(count)]), rcond=None)[0]


def test_features_by_hand():
    observations = torch.tensor([[[[3.0, -20.0], [0.5, 4.0]]]])
    # clipped to [-10, 10], their squares, then t/100, (t/100)^2, (t/100)^3, 1
    first = [3.0, -10.0, 9.0, 100.0, 0.0, 0.0, 0.0, 1.0]
    second = [0.5, 4.0, 0.25, 16.0, 0.01, 0.0001, 0.000001, 1.0]
    features = LinearFeatureBaseline.features(observations)
    assert features.dtype == torch.float64
    expected = torch.tensor([[[first, second]]], dtype=torch.float64)
    torch.testing.assert_close(features, expected)


def test_values_are_those_of_numpy_least_squares_for_each_task():
    observations, returns, mask = problem()
    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    features = LinearFeatureBaseline.features(observations)
    for task in range(TASKS):
        valid = mask[task]
        rows = features[task][valid].numpy()
        weights = ridge_weights(rows, returns[task][valid].numpy())
        np.testing.assert_allclose(values[task][valid].numpy(), rows @ weights, rtol=1e-8)


def test_masked_samples_have_no_influence():
    observations, returns, mask = problem()
    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    observations[~mask], returns[~mask] = 9.0, -1000.0
    changed = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    assert torch.equal(values, changed)
    assert torch.equal(values[~mask], torch.zeros(int((~mask).sum()), dtype=torch.float64))


def test_other_tasks_have_no_influence():
    observations, returns, mask = problem()
    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    alone = LinearFeatureBaseline().fit_predict(observations[1:2], returns[1:2], mask[1:2])
    torch.testing.assert_close(values[1:2], alone, rtol=1e-10, atol=0.0)


def test_nearly_collinear_features_need_the_float64_that_we_use():
    # o in [9, 9.05]: o, o^2 (81 .. 81.9) and 1 are nearly collinear. The returns are linear in o,
    # between 0 and 1.
    observations = 9.0 + 0.05 * torch.rand(1, 20, 10, 1, generator=torch.Generator().manual_seed(0))
    returns = (observations.double()[..., 0] - 9.0) / 0.05
    mask = torch.ones(1, 20, 10, dtype=torch.bool)

    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)

    rows = LinearFeatureBaseline.features(observations).flatten(0, 2)
    targets = returns.flatten()
    expected = rows.numpy() @ ridge_weights(rows.numpy(), targets.numpy())
    np.testing.assert_allclose(values.flatten().numpy(), expected, atol=1e-6)

    single = rows.float()
    gram = single.mT @ single + RIDGE * torch.eye(rows.shape[1])
    weights = torch.linalg.solve(gram, single.mT @ targets.float())
    assert (single @ weights - torch.from_numpy(expected)).abs().max() > 0.01


@pytest.mark.parametrize("observation", [0.0, 1.0, 1e30])
def test_constant_features_give_the_mean_return_at_each_time(observation):
    # a singular gram: o, o^2 and 1 are the same column. Returns do not depend on the episode.
    observations = torch.full((1, 5, 3, 2), observation, dtype=torch.float64)
    returns = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64).expand(1, 5, 3)
    mask = torch.ones(1, 5, 3, dtype=torch.bool)
    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    # the ridge holds the weights of t/100 (at most 0.02) down: only the mean is fitted closely
    assert values.mean().item() == pytest.approx(2.0, abs=1e-3)


def test_task_without_a_sample_has_value_zero_and_leaves_the_others_alone():
    observations, returns, mask = problem()
    expected = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    mask[0] = False
    values = LinearFeatureBaseline().fit_predict(observations, returns, mask)
    assert torch.equal(values[0], torch.zeros(EPISODES, STEPS, dtype=torch.float64))
    torch.testing.assert_close(values[1:], expected[1:])


def test_returns_that_are_not_finite_are_refused():
    observations, returns, mask = problem()
    returns[0, 0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match="no finite solution"):
        LinearFeatureBaseline().fit_predict(observations, returns, mask)

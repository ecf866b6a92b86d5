"""Sinusoids and Gaussian-process curves: ranges, formulas, covariance, refusals."""

import math

import numpy as np
import pytest
import torch

from metarl.errors import UserError
from metarl.fewshot.config import DataConfig
from metarl.fewshot.data import Curves, load_data
from metarl.fewshot.data.gaussian_process import GaussianProcess
from metarl.fewshot.data.sinusoids import Sinusoids
from metarl.tasks import stream


def streams(count: int, seed: int = 0) -> list[np.random.Generator]:
    return [stream(seed, "test", 0, index) for index in range(count)]


def test_sinusoids_fill_the_ranges_of_the_paper_and_leave_none():
    x, y = Sinusoids().draw(streams(1)[0], 10_000)
    assert x.min() >= -5.0
    assert x.max() <= 5.0
    assert x.min() < -4.9
    assert x.max() > 4.9
    # sin(x - phi) A = a sin x + b cos x exactly: amplitude and phase from least squares.
    found = []
    for generator in streams(400):
        x, y = Sinusoids().draw(generator, 20)
        design = np.stack([np.sin(x), np.cos(x)], axis=1)
        (a, b), residual, *_ = np.linalg.lstsq(design, y, rcond=None)
        assert residual < 1e-20
        found.append((math.hypot(a, b), math.atan2(-b, a)))
    amplitude, phase = np.array(found).T
    assert amplitude.min() >= 0.1
    assert amplitude.max() <= 5.0
    assert phase.min() >= 0.0
    assert phase.max() <= math.pi
    assert amplitude.mean() == pytest.approx(2.55, abs=0.25)  # 3.5 standard errors
    assert phase.mean() == pytest.approx(math.pi / 2, abs=0.16)


def test_noise_is_added_to_every_value():
    generator, again = streams(1)[0], streams(1)[0]
    x, y = Sinusoids(noise=0.3).draw(generator, 5_000)
    x_clean, clean = Sinusoids().draw(again, 5_000)
    np.testing.assert_array_equal(x, x_clean)
    assert (y - clean).std() == pytest.approx(0.3, abs=0.01)


def test_the_kernel_by_hand():
    curves = GaussianProcess(length=0.5, scale=2.0, noise=0.1)
    covariance = curves.covariance(np.array([0.0, 0.5, 5.0]))
    assert covariance[0, 0] == pytest.approx(4.01)
    assert covariance[0, 1] == pytest.approx(4.0 * math.exp(-0.5))
    assert covariance[0, 2] == pytest.approx(4.0 * math.exp(-50.0))


def test_curves_have_the_covariance_of_the_kernel():
    """z = L^-1 y of drawn curves is white, so y has covariance L L^T."""
    curves = GaussianProcess()
    white = []
    for generator in streams(500):
        x, y = curves.draw(generator, 8)
        assert np.abs(x).max() <= 2.0
        white.append(np.linalg.solve(np.linalg.cholesky(curves.covariance(x)), y))
    z = np.array(white)
    np.testing.assert_allclose(z.mean(axis=0), 0.0, atol=0.18)  # 4 / sqrt(500)
    np.testing.assert_allclose(z.T @ z / len(z), np.eye(8), atol=0.26)


def test_many_close_points_without_noise_are_no_problem():
    _, y = GaussianProcess(noise=0.0).draw(streams(1)[0], 200)
    assert np.isfinite(y).all()


def test_episodes_of_curves_depend_on_their_own_stream_only():
    data = load_data(DataConfig("gaussian_process"))
    assert isinstance(data, Curves)
    both = data.sample(streams(2), 3, 4)
    one = data.sample(streams(2)[1:], 3, 4)
    assert both.support_inputs.shape == (2, 3, 1)
    assert both.query_targets.shape == (2, 4, 1)
    assert both.classes.shape == (2, 0)
    assert torch.equal(both.query_targets[1], one.query_targets[0])


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (DataConfig("sinusoids", options={"noise": -1.0}), "data.options.noise must be at least"),
        (
            DataConfig("sinusoids", options={"nois": 1.0}),
            "data.options.nois is not a known key; did you mean 'noise'",
        ),
        (DataConfig("sinusoids", options={"noise": True}), "noise must be a number, got True"),
        (
            DataConfig("gaussian_process", options={"noise": math.inf}),
            "noise must be a finite number, got inf",
        ),
        (DataConfig("gaussian_process", options={"length": 0.0}), "length must be greater than 0"),
        (DataConfig("gaussian_process", split="lake"), "data.split: curves are drawn afresh"),
        (DataConfig("sinusoids", train_on_validation=True), "curves have no validation classes"),
    ],
)
def test_what_makes_no_sense_is_refused(config, message):
    with pytest.raises(UserError, match=message):
        load_data(config)

"""Task parameters: every draw lies in its range and has its distribution."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metarl.tasks import (
    Choice,
    Dirichlet,
    ElementwiseChoice,
    LogUniform,
    Normal,
    OneHot,
    Parameter,
    Uniform,
    UniformDisc,
    UnitVector,
    stream,
)

SEEDS = st.integers(0, 2**63 - 1)
SHAPES = st.sampled_from([(), (1,), (3,), (2, 2)])


def _draws(parameter: Parameter, count: int) -> np.ndarray:
    generator = stream(0, "test")
    return np.stack([parameter.draw(generator) for _ in range(count)])


def _assert_draw_is_contained(parameter: Parameter, seed: int) -> None:
    value = parameter.draw(stream(seed, "test"))
    assert isinstance(value, np.ndarray)
    assert value.shape == parameter.shape
    assert parameter.contains(value)


def _assert_fraction(hits: Any, probability: float) -> None:
    # The count of n draws has standard deviation sqrt(n p (1 - p)); 4 of them at a fixed seed.
    bound = 4 * math.sqrt(probability * (1 - probability) / len(hits))
    assert abs(hits.mean() - probability) < bound


@given(seed=SEEDS, low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6), shape=SHAPES)
def test_uniform_draws_are_contained(seed, low, width, shape):
    _assert_draw_is_contained(Uniform(low, low + width, shape), seed)


@given(seed=SEEDS, low=st.floats(1e-6, 1e6), factor=st.floats(1.001, 1e6), shape=SHAPES)
def test_log_uniform_draws_are_contained(seed, low, factor, shape):
    _assert_draw_is_contained(LogUniform(low, low * factor, shape), seed)


@given(seed=SEEDS, radius=st.floats(1e-3, 1e3), inner=st.floats(0, 0.99))
def test_disc_draws_are_contained(seed, radius, inner):
    _assert_draw_is_contained(UniformDisc(radius, inner * radius), seed)


@given(seed=SEEDS, dimension=st.integers(1, 9))
def test_unit_vector_draws_are_contained(seed, dimension):
    _assert_draw_is_contained(UnitVector(dimension), seed)


@given(seed=SEEDS, values=st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=6))
def test_choice_draws_are_contained(seed, values):
    _assert_draw_is_contained(Choice(values), seed)


@given(seed=SEEDS, shape=st.sampled_from([(1,), (5,), (2, 2)]), p=st.floats(0.0, 1.0))
def test_elementwise_choice_draws_are_contained(seed, shape, p):
    _assert_draw_is_contained(ElementwiseChoice((-1.0, 1.0), shape, (p, 1.0 - p)), seed)


@given(seed=SEEDS, mean=st.floats(-1e6, 1e6), std=st.floats(1e-3, 1e6), shape=SHAPES)
def test_normal_draws_are_contained(seed, mean, std, shape):
    _assert_draw_is_contained(Normal(mean, std, shape), seed)


@given(seed=SEEDS, size=st.integers(2, 20), rows=st.sampled_from([(), (3,), (2, 4)]))
def test_dirichlet_and_one_hot_draws_are_contained(seed, size, rows):
    for parameter in (Dirichlet(size, rows), OneHot(size, rows)):
        assert parameter.shape == (*rows, size)
        _assert_draw_is_contained(parameter, seed)


@pytest.mark.parametrize(
    ("parameter", "outside"),
    [
        (ElementwiseChoice((0.0, 1.0), (2,), (0.5, 0.5)), [[0.0, 0.5], [math.nan, 1.0]]),
        (ElementwiseChoice((0.0, 1.0), (2,), (0.0, 1.0)), [[0.0, 1.0]]),
        (Normal(1.0, 2.0), [15.1, -13.1, math.nan]),
        (Dirichlet(2), [[0.5, 0.6], [0.0, 1.0], [1.5, -0.5], [math.nan, 1.0]]),
        (OneHot(3), [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [math.nan, 1.0, 0.0]]),
        (Uniform(0.0, 3.0), [-0.001, 3.001, math.nan]),
        (LogUniform(0.5, 2.0), [0.499, 2.001, math.nan]),
        (Choice([-1.0, 1.0]), [0.0, 0.999, math.nan]),
        (UniformDisc(2.0, inner_radius=1.0), [[0.9, 0.0], [1.5, 1.5], [math.nan, 0.0]]),
        (UnitVector(2), [[1.0, 1.0], [0.0, 0.0], [math.nan, 0.0]]),
    ],
)
def test_values_outside_the_range_are_not_contained(parameter, outside):
    assert not any(parameter.contains(np.asarray(value)) for value in outside)


def test_one_element_outside_makes_an_array_not_contained():
    assert Uniform(0.0, 1.0, (2,)).contains(np.array([0.0, 1.0]))
    assert not Uniform(0.0, 1.0, (2,)).contains(np.array([0.5, 1.5]))


def test_uniform_halves_are_equally_likely_and_elements_independent():
    draws = _draws(Uniform(-1.0, 3.0, (2,)), 2000)
    upper = draws > 1.0
    _assert_fraction(upper[:, 0], 0.5)
    _assert_fraction(upper[:, 0] & upper[:, 1], 0.25)


def test_log_uniform_gives_every_factor_the_same_probability():
    # 1 to 4 and 4 to 16 are both a factor of four.
    _assert_fraction(_draws(LogUniform(1.0, 16.0), 2000) < 4.0, 0.5)


def test_disc_is_uniform_over_its_area():
    draws = _draws(UniformDisc(2.0), 2000)
    # Half the area of a disc lies within radius / sqrt(2), a quarter on each side of both axes.
    _assert_fraction(np.linalg.norm(draws, axis=1) < 2.0 / math.sqrt(2.0), 0.5)
    _assert_fraction((draws > 0.0).all(axis=1), 0.25)


def test_ring_is_uniform_over_its_area():
    # From radius 1 to 3 the squared radius runs from 1 to 9: half the area within sqrt(5).
    draws = _draws(UniformDisc(3.0, inner_radius=1.0), 2000)
    _assert_fraction(np.linalg.norm(draws, axis=1) < math.sqrt(5.0), 0.5)


def test_unit_vectors_are_uniform_over_the_angle():
    draws = _draws(UnitVector(2), 4000)
    eighth = np.floor(np.arctan2(draws[:, 1], draws[:, 0]) / (math.pi / 4))
    for sector in range(-4, 4):
        _assert_fraction(eighth == sector, 1 / 8)


def test_unit_vectors_in_space_are_uniform_over_the_height():
    # Archimedes: equal heights of a sphere have equal areas.
    _assert_fraction(np.abs(_draws(UnitVector(3), 2000)[:, 2]) < 0.5, 0.5)


def test_an_elementwise_choice_draws_every_element_by_itself():
    draws = _draws(ElementwiseChoice((0.0, 1.0), (2,), (0.2, 0.8)), 2000)
    _assert_fraction(draws[:, 0] == 1.0, 0.8)
    _assert_fraction(draws[:, 1] == 1.0, 0.8)
    _assert_fraction(draws.all(axis=1), 0.64)


def test_normal_draws_have_their_mean_and_standard_deviation_and_are_independent():
    draws = _draws(Normal(3.0, 2.0, (2,)), 2000)
    _assert_fraction(draws[:, 0] > 3.0, 0.5)
    # 68.27 % of a normal distribution lie within one standard deviation of its mean.
    _assert_fraction(np.abs(draws[:, 0] - 3.0) < 2.0, 0.6827)
    _assert_fraction((draws > 3.0).all(axis=1), 0.25)


def test_a_flat_dirichlet_is_uniform_over_probability_vectors():
    draws = _draws(Dirichlet(3, (2,)), 2000)
    assert draws.sum(axis=-1) == pytest.approx(np.ones((2000, 2)))
    # The part of a triangle in which one coordinate exceeds x is (1 - x)^2 of its area.
    for state in range(3):
        _assert_fraction(draws[:, 0, state] > 0.5, 0.25)
    _assert_fraction((draws[:, :, 0] > 0.5).all(axis=1), 0.0625)


def test_a_concentrated_dirichlet_lies_near_equal_probabilities():
    # One of two: a beta(100, 100) has standard deviation 1 / (2 sqrt(201)) = 0.035; 4 of them.
    assert np.abs(_draws(Dirichlet(2, concentration=100.0), 200)[:, 0] - 0.5).max() < 0.141


def test_one_hot_vectors_are_equally_likely_and_rows_independent():
    draws = _draws(OneHot(4, (2,)), 2000)
    assert (draws.sum(axis=-1) == 1.0).all()
    for index in range(4):
        _assert_fraction(draws[:, 0, index] == 1.0, 0.25)
    _assert_fraction((draws[:, :, 0] == 1.0).all(axis=1), 0.0625)


def test_choices_are_equally_likely():
    draws = _draws(Choice([10, 20, 30]), 3000)
    for value in (10, 20, 30):
        _assert_fraction(draws == value, 1 / 3)


def test_only_a_choice_has_a_finite_support():
    assert Choice([-1.0, 1.0]).support() == [-1.0, 1.0]
    continuous = (Uniform(0, 1), LogUniform(1, 2), UniformDisc(1.0), UnitVector(2), Normal(0, 1))
    many = (ElementwiseChoice((0.0, 1.0), (17,), (0.5, 0.5)), Dirichlet(3), OneHot(3, (10, 5)))
    for parameter in (*continuous, *many):
        assert parameter.support() is None


def test_a_choice_of_arrays_has_their_shape():
    corners = Choice([(2.0, 2.0), (-2.0, 2.0)])
    assert corners.shape == (2,)
    assert _draws(corners, 3).shape == (3, 2)


@pytest.mark.parametrize(
    ("low", "high"), [(1.0, 1.0), (2.0, 1.0), (math.nan, 1.0), (0.0, math.inf), (-math.inf, 0.0)]
)
@pytest.mark.parametrize(
    "make", [Uniform, LogUniform, lambda low, high: UniformDisc(high, inner_radius=low)]
)
def test_empty_and_endless_ranges_are_refused(make, low, high):
    with pytest.raises(ValueError, match="a range needs finite low < high"):
        make(low, high)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogUniform(0.0, 1.0), "must be positive, got low=0.0"),
        (lambda: LogUniform(-1.0, 1.0), "must be positive"),
        (lambda: Choice([]), "at least one value"),
        (lambda: Choice([1.0, (1.0, 2.0)]), "must have one shape"),
        (lambda: UniformDisc(1.0, inner_radius=-0.5), "inner_radius >= 0"),
        (lambda: UniformDisc(1.0, shape=(3,)), "has shape"),
        (lambda: UnitVector(0), "dimension >= 1, got 0"),
        (lambda: ElementwiseChoice((0.0, 1.0), (), (0.5, 0.5)), "needs a shape"),
        (lambda: ElementwiseChoice((0.0, 1.0), (2,), (1.0,)), "a probability per value"),
        (lambda: ElementwiseChoice((), (2,), ()), "a probability per value"),
        (lambda: ElementwiseChoice((0.0, 1.0), (2,), (0.5, 0.6)), "sum to 1"),
        (lambda: ElementwiseChoice((0.0, 1.0), (2,), (1.5, -0.5)), "must be >= 0"),
        (lambda: Normal(0.0, 0.0), "std > 0"),
        (lambda: Normal(0.0, math.inf), "std > 0"),
        (lambda: Normal(math.nan, 1.0), "finite mean"),
        (lambda: Dirichlet(1), "size >= 2"),
        (lambda: Dirichlet(2, concentration=0.0), "concentration > 0"),
        (lambda: OneHot(1), "size >= 2, got 1"),
    ],
)
def test_impossible_parameters_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("parameter", "text"),
    [
        (Uniform(0.0, 3.0), "U[0, 3]"),
        (Uniform(-0.5, 0.5, (2,)), "U[-0.5, 0.5]^2"),
        (LogUniform(0.5, 2.0, (3, 4)), "logU[0.5, 2]^3x4"),
        (Choice([-1.0, 1.0]), "{-1.0, 1.0}"),
        (UniformDisc(3.0), "disc of radius 3"),
        (UniformDisc(1.0, inner_radius=0.75), "ring of radii 0.75 to 1"),
        (UnitVector(2), "unit vector in 2D"),
        (Choice(range(8)), "{0, 1, 2, 3, 4, 5, 6, 7}"),
        (Choice(range(9)), "one of 9 values"),
        (ElementwiseChoice((-1.0, 1.0), (6,), (0.5, 0.5)), "{-1, 1}^6"),
        (Normal(1.0, 2.0, (10, 5)), "N(1, 4)^10x5"),
        (Dirichlet(10, (10, 5)), "Dirichlet(1) over 10^10x5"),
        (OneHot(10, (10, 5)), "one-hot over 10^10x5"),
    ],
)
def test_parameters_read_like_the_literature(parameter, text):
    assert str(parameter) == text

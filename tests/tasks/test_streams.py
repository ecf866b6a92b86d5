"""Random streams: a number depends on (seed, purpose, iteration, task) and on nothing else."""

import numpy as np
import pytest
import torch

from metarl.tasks import TaskStreams, stream

NAMES = [
    (0, "tasks", 0, 0),
    (1, "tasks", 0, 0),
    (2**63, "tasks", 0, 0),
    (0, "reset", 0, 0),
    (0, "tasks", 1, 0),
    (0, "tasks", 0, 1),
    (0, "tasks", 1, 1),
    (0, "tasks", 2, 1),
    (0, "tasks", 1, 2),
]


def test_the_first_numbers_are_the_same_on_every_machine_and_in_every_version():
    # Pinned: a change here changes every published number.
    assert stream(0, "tasks").bit_generator.random_raw(2).tolist() == [
        13537271233217350134,
        12813261444482939769,
    ]
    assert stream(7, "x", iteration=3, task=2).integers(0, 1000, 3).tolist() == [935, 56, 446]
    assert stream(0, "tasks").random(2).tolist() == [0.7338569440289887, 0.6946082947366577]


def test_a_name_always_gives_the_same_numbers():
    for name in NAMES:
        assert np.array_equal(stream(*name).random(5), stream(*name).random(5))


def test_different_names_give_different_numbers():
    first = {tuple(stream(*name).random(4)) for name in NAMES}
    assert len(first) == len(NAMES)


def test_a_long_stream_does_not_run_into_that_of_the_next_task_or_iteration():
    long = set(stream(0, "tasks").integers(0, 2**63, 4000).tolist())
    for name in [(0, "tasks", 0, 1), (0, "tasks", 1, 0)]:
        assert long.isdisjoint(stream(*name).integers(0, 2**63, 4000).tolist())


def _draw(kind: str, streams: TaskStreams) -> torch.Tensor:
    if kind == "uniform":
        return streams.uniform(-1.0, 1.0, (3,))
    if kind == "normal":
        return streams.normal(0.1, (3,))
    return streams.integers(1000, (3,))


KINDS = pytest.mark.parametrize("kind", ["uniform", "normal", "integers"])


@KINDS
def test_a_draw_is_task_major(kind):
    drawn = _draw(kind, TaskStreams.of(0, "p", 5, range(2), episodes=4))
    alone = _draw(kind, TaskStreams.of(0, "p", 5, [1], episodes=4))
    assert drawn.shape == (8, 3)
    assert torch.equal(drawn[4:], alone)


@KINDS
def test_the_numbers_of_a_task_do_not_depend_on_how_many_tasks_there_are_or_their_order(kind):
    few = _draw(kind, TaskStreams.of(0, "p", 0, range(2), episodes=2)).view(2, 2, 3)
    many = _draw(kind, TaskStreams.of(0, "p", 0, range(5), episodes=2)).view(5, 2, 3)
    turned = _draw(kind, TaskStreams.of(0, "p", 0, [1, 0], episodes=2)).view(2, 2, 3)
    assert torch.equal(few, many[:2])
    assert torch.equal(few, turned.flip(0))


@KINDS
def test_episodes_of_a_task_differ(kind):
    drawn = _draw(kind, TaskStreams.of(0, "p", 0, [0], episodes=3))
    assert len({tuple(row) for row in drawn.tolist()}) == 3


@KINDS
def test_the_first_draw_of_an_episode_does_not_depend_on_how_many_episodes_follow(kind):
    # Only the first: episodes of a task share a stream, so a second draw starts where all
    # episodes' first draws ended.
    few = TaskStreams.of(0, "p", 0, [3], episodes=2)
    many = TaskStreams.of(0, "p", 0, [3], episodes=6)
    assert torch.equal(_draw(kind, few), _draw(kind, many)[:2])
    assert not torch.equal(_draw(kind, few), _draw(kind, many)[:2])


def test_other_draws_in_between_change_nothing():
    streams = TaskStreams.of(0, "p", 0, range(2), episodes=2)
    np.random.default_rng(0).random(10)
    stream(0, "p", 0, 7).random(10)
    torch.rand(3)
    again = TaskStreams.of(0, "p", 0, range(2), episodes=2)
    assert torch.equal(streams.uniform(0, 1), again.uniform(0, 1))


def test_draws_have_the_stated_ranges_and_types():
    streams = TaskStreams.of(0, "p", 0, range(2), episodes=500)
    uniform, normal = streams.uniform(2.0, 3.0), streams.normal(0.1)
    integers = streams.integers(3)
    assert uniform.dtype == normal.dtype == torch.float64
    assert integers.dtype == torch.int64
    assert uniform.min() >= 2.0
    assert uniform.max() < 3.0
    assert uniform.shape == (1000,)
    assert set(integers.tolist()) == {0, 1, 2}
    # 1000 numbers: the standard deviation is known to 0.1 / sqrt(2000) = 0.0022; 4 of them
    assert abs(float(normal.std()) - 0.1) < 0.009

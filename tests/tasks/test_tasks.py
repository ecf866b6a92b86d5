"""`Tasks`: a batch that can be indexed, compared, repeated, written and read."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from metarl.errors import UserError
from metarl.tasks import Tasks

FINITE = st.floats(allow_nan=False, allow_infinity=False)


def _batch() -> Tasks:
    return Tasks({"velocity": [0.5, 1.5, 2.5], "goal": [[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]})


def test_a_parameter_is_a_float64_or_int64_tensor_with_a_task_axis():
    tasks = Tasks({"speed": torch.tensor([1.0, 2.0]), "arm": torch.tensor([1, 2]).int()})
    assert (tasks["speed"].dtype, tasks["arm"].dtype) == (torch.float64, torch.int64)
    assert tasks.names == ("speed", "arm")
    assert len(tasks) == 2


def test_a_batch_does_not_share_memory_with_the_array_it_came_from():
    velocities = np.array([1.0, 2.0])
    tasks = Tasks({"velocity": velocities})
    velocities[0] = 9.0
    assert tasks["velocity"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize(
    "values", [{}, {"a": [1.0], "b": [1.0, 2.0]}, {"a": 1.0}, {"a": [1.0], "b": 2.0}]
)
def test_a_batch_needs_one_length(values):
    with pytest.raises(ValueError, match=r"one length|leading task axis"):
        Tasks(values)


def test_stacking_single_tasks_makes_a_batch():
    stacked = Tasks.stack(
        [{"velocity": v, "goal": g} for v, g in [(0.5, [0.0, 1.0]), (1.5, [2.0, 3.0])]]
    )
    assert stacked == _batch()[:2]
    with pytest.raises(ValueError, match="at least one task"):
        Tasks.stack([])


@pytest.mark.parametrize(
    ("key", "velocities"),
    [
        (0, [0.5]),
        (-1, [2.5]),
        (slice(1, None), [1.5, 2.5]),
        (slice(None, None, 2), [0.5, 2.5]),
        ([2, 0], [2.5, 0.5]),
        (torch.tensor([1, 1]), [1.5, 1.5]),
        (torch.tensor([True, False, True]), [0.5, 2.5]),
    ],
)
def test_an_index_selects_the_same_tasks_of_every_parameter(key, velocities):
    chosen = _batch()[key]
    assert chosen["velocity"].tolist() == velocities
    # goal (x, y) of task k is (2 k, 2 k + 1) where the velocity is k + 0.5
    assert chosen["goal"].tolist() == [[2 * v - 1, 2 * v] for v in velocities]


@pytest.mark.parametrize("index", [3, -4])
def test_an_index_past_the_end_is_an_index_error(index):
    with pytest.raises(IndexError):
        _batch()[index]


def test_an_unknown_parameter_is_answered_with_the_known_ones():
    with pytest.raises(KeyError, match="no task parameter 'speed'; there are velocity, goal"):
        _batch()["speed"]


def test_iteration_gives_batches_of_one():
    tasks = _batch()
    assert list(tasks) == [tasks[0], tasks[1], tasks[2]]


def test_equality_needs_names_values_and_types():
    tasks = Tasks({"a": [1.0, 2.0]})
    assert tasks == Tasks({"a": [1.0, 2.0]})
    assert tasks != Tasks({"b": [1.0, 2.0]})
    assert tasks != Tasks({"a": [1.0, 2.5]})
    assert tasks != Tasks({"a": [1, 2]})
    assert tasks != Tasks({"a": [1.0]})
    assert tasks != "a"


def test_a_batch_is_not_hashable_because_its_tensors_can_change():
    with pytest.raises(TypeError, match="unhashable"):
        hash(_batch())


def test_repeat_each_is_task_major():
    repeated = _batch().repeat_each(2)
    assert repeated["velocity"].tolist() == [0.5, 0.5, 1.5, 1.5, 2.5, 2.5]
    assert repeated["goal"][3].tolist() == [2.0, 3.0]


@pytest.mark.parametrize(
    ("count", "velocities"), [(2, [0.5, 1.5]), (3, [0.5, 1.5, 2.5]), (5, [0.5, 1.5, 2.5, 0.5, 1.5])]
)
def test_cycle_starts_again_from_the_first_task(count, velocities):
    assert _batch().cycle(count)["velocity"].tolist() == velocities


def test_repr_shows_names_and_shapes():
    assert repr(_batch()) == "Tasks(velocity[3], goal[3, 2])"


@given(
    rows=st.lists(
        st.tuples(FINITE, st.lists(FINITE, min_size=2, max_size=2), st.integers(-(2**63), 2**62)),
        min_size=1,
        max_size=5,
    )
)
def test_json_round_trip_is_exact(rows):
    tasks = Tasks.stack([{"scalar": s, "pair": p, "count": c} for s, p, c in rows])
    again = Tasks.from_json(tasks.to_json())
    assert again == tasks
    assert again.content_hash() == tasks.content_hash()


def test_json_is_one_object_per_task():
    assert Tasks({"v": [0.1, 2.0], "d": [1, -1]}).to_json() == (
        '[{"v": 0.1, "d": 1}, {"v": 2.0, "d": -1}]'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "[]",
        "{}",
        "7",
        '{"velocity": 1.5}',
        "[1.5]",
        "[{}]",
        '[{"velocity": 1.5}, {"speed": 1.5}]',
        '[{"velocity": 1.5}, {"velocity": 1.5, "goal": 0}]',
        '[{"velocity": "fast"}]',
        '[{"velocity": null}]',
        '[{"velocity": {"x": 1}}]',
        '[{"goal": [1, 2]}, {"goal": [1]}]',
        '[{"velocity": 1.5}',
    ],
)
def test_damaged_json_is_a_user_error(text):
    with pytest.raises(UserError, match=r"these are no tasks: .*expected e\.g\."):
        Tasks.from_json(text)


def test_content_hash_is_the_same_on_every_machine():
    # printf '[{"velocity": 1.5}]' | sha256sum | head -c 16
    assert Tasks({"velocity": [1.5]}).content_hash() == "e4a94229b1d898c4"


@pytest.mark.parametrize(
    "other",
    [
        Tasks({"v": [1.0, 2.0000000000000004]}),
        Tasks({"v": [2.0, 1.0]}),
        Tasks({"v": [1, 2]}),
        Tasks({"w": [1.0, 2.0]}),
        Tasks({"v": [1.0, 2.0, 2.0]}),
        Tasks({"v": [[1.0], [2.0]]}),
    ],
)
def test_content_hash_sees_values_order_types_names_and_shapes(other):
    assert Tasks({"v": [1.0, 2.0]}).content_hash() != other.content_hash()

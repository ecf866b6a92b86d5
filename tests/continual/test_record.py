"""The record of a continual run: its JSON file, and what it refuses."""

import json

import numpy as np
import pytest

from metarl.continual.record import ContinualRecord
from metarl.errors import UserError
from tests.continual.hand_records import FINE_TUNING, both, make_record

ARRAYS = ("matrix", "training_returns", "curve_iterations", "curve_returns", "adaptation", "random")


def test_round_trip_is_exact(tmp_path):
    awkward = np.array([[[0.1, 1 / 3], [np.nan, 2 / 3], [np.nan, np.nan]]] * 2)
    record = make_record({("l2", 0.1): awkward, ("from_scratch", None): FINE_TUNING})
    record.save(tmp_path / "continual.json")
    again = ContinualRecord.load(tmp_path / "continual.json")
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(again, name), getattr(record, name))
    for name, values in record.plasticity.items():
        np.testing.assert_array_equal(again.plasticity[name], values)
    for name in ("sequence", "algorithm", "seed", "rows", "iteration", "environment_steps"):
        assert getattr(again, name) == getattr(record, name)
    assert again.to_json() == record.to_json()


def test_json_is_what_other_tools_read():
    matrix = [[[1.0, 2.0], [3.0, float("nan")], [float("nan")] * 2]]
    record = json.loads(make_record({("l2", 0.1): matrix}).to_json())
    assert record["matrix"] == [[[1.0, 2.0], [3.0, None], [None, None]]]
    assert record["rows"] == [{"method": "l2", "strength": 0.1, "seed": 0}]
    assert record["sequence"]["tasks"][1] == {"name": "right", "parameters": {"goal": [1.0, 0.0]}}
    assert record["sequence"]["held_out"]["name"] == "up"
    assert record["sequence"]["stages"] == [0, 1]
    assert record["curve"] == {"iteration": [0, 4], "returns": [[[0.0, 0.0], [0.0, 0.0]]]}
    assert record["adaptation"] == [[[1.0, 2.0, 5.0]] * 3]
    assert set(record["plasticity"]) == {"dormant_units", "stable_rank", "weight_norm"}


def test_without_a_held_out_task_the_adaptation_is_an_empty_list():
    record = make_record({("l2", 0.1): FINE_TUNING}, adaptation=np.empty((2, 3, 0)))
    assert json.loads(record.to_json())["adaptation"] == []
    assert ContinualRecord.from_json(record.to_json()).adaptation.shape == (2, 3, 0)


def test_arrays_are_copies_that_cannot_change():
    matrix = np.array(FINE_TUNING)
    record = make_record({("l2", 0.1): matrix})
    matrix[:] = 0.0
    assert record.matrix.tolist() == FINE_TUNING
    with pytest.raises(ValueError, match="read-only"):
        record.matrix[0] = 0.0


def test_identity_is_the_algorithms():
    assert both().identity == "hidden"
    assert (
        make_record({("l2", 1.0): FINE_TUNING}, algorithm={"identity": "heads"}).identity == "heads"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"matrix": np.zeros((2, 2, 2))}, r"matrix must have the shape \[2, 3, 2\], got"),
        ({"training_returns": np.zeros((2, 3))}, r"training_returns .* \[2, 4\]"),
        ({"curve_returns": np.zeros((2, 3, 2))}, r"curve .* \[2, 2, 2\]"),
        ({"adaptation": np.zeros((1, 3, 6))}, "adaptation"),
        ({"random": [0.0]}, "random"),
        ({"plasticity": {"stable_rank": np.zeros((2, 3))}}, "dormant_units"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        make_record({("l2", 0.1): FINE_TUNING}, **changes)


def test_an_infinite_number_is_not_written(tmp_path):
    record = make_record({("l2", 0.1): FINE_TUNING}, random=[0.0, np.inf])
    with pytest.raises(ValueError, match="not JSON compliant"):
        record.save(tmp_path / "continual.json")
    assert list(tmp_path.iterdir()) == []


def damaged(**changes) -> str:
    return json.dumps({**json.loads(both().to_json()), **changes})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (both().to_json()[:-40], "damaged"),
        ("[]", "not the record of a continual run"),
        ('{"returns": [[1.0]]}', "the key 'sequence' is missing"),
        (damaged(matrix=[[[1.0]]]), "matrix must have the shape"),
        (damaged(matrix=[[[1.0], [1.0, 2.0]]]), "inhomogeneous"),
        (damaged(rows=[{"method": "l2"}]), "'strength' is missing"),
        (damaged(rows=3), "not the record"),
        (damaged(iteration=None), "not the record"),
    ],
)
def test_a_damaged_or_other_file_is_one_line(tmp_path, text, reason):
    path = tmp_path / "continual.json"
    path.write_text(text)
    with pytest.raises(UserError, match=reason) as caught:
        ContinualRecord.load(path)
    assert "continual.json" in str(caught.value)
    assert "metarl evaluate" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.json: No such file"):
        ContinualRecord.load(tmp_path / "none.json")

"""The adaptation curve: its numbers, its files, and what it refuses."""

import csv
import io
import json

import numpy as np
import pytest
from rich.console import Console

from metarl.errors import UserError
from metarl.evaluation.curves import AdaptationCurve, table

RETURNS = [[0.0, 2.0, 3.0], [1.0, 4.0, 5.0], [2.0, 6.0, 7.0], [10.0, 40.0, 90.0]]


def curve(**details) -> AdaptationCurve:
    return AdaptationCurve(np.array(RETURNS), np.array([0.0, 100.0, 250.0]), details)


def test_aggregates_by_hand():
    assert curve().steps.tolist() == [0, 1, 2]
    assert curve().mean.tolist() == [13 / 4, 52 / 4, 105 / 4]
    assert curve().iqm.tolist() == [1.5, 5.0, 6.0]  # the second and third task
    assert curve().adaptation_gain == 13.0 - 3.25
    assert curve().final_gain == 26.25 - 3.25


def test_interval_of_four_tasks_by_enumeration():
    # The middle two of four draws are both task 0 when at least 3 draws are:
    # (1 + 4 * 3) / 256 = 5.1 % > 2.5 %, and the same for task 3.
    assert curve().low.tolist() == RETURNS[0]
    assert curve().high.tolist() == RETURNS[3]


def test_a_curve_without_steps_has_no_gain():
    only = AdaptationCurve(np.array([[1.0], [2.0]]), np.array([0.0]))
    assert (only.adaptation_gain, only.final_gain) == (0.0, 0.0)


def test_a_curve_cannot_change_after_its_interval_is_known():
    returns = np.array(RETURNS)
    kept = AdaptationCurve(returns, np.array([0.0, 100.0, 250.0]))
    returns[:] = 0.0
    assert kept.returns.tolist() == RETURNS
    with pytest.raises(ValueError, match="read-only"):
        kept.returns[0, 0] = 5.0


def test_json_has_the_keys_of_other_tools_and_the_details():
    record = json.loads(curve(family="F-v0", seed=3).to_json())
    assert record["steps"] == [0, 1, 2]
    assert record["mean"] == [3.25, 13.0, 26.25]
    assert record["iqm"] == [1.5, 5.0, 6.0]
    assert (record["low"], record["high"]) == (RETURNS[0], RETURNS[3])
    assert record["returns"] == RETURNS
    assert record["environment_steps"] == [0.0, 100.0, 250.0]
    assert (record["adaptation_gain"], record["final_gain"]) == (9.75, 23.0)
    assert (record["family"], record["seed"], record["note"]) == ("F-v0", 3, None)


def test_json_round_trip_is_exact():
    awkward = AdaptationCurve(np.array([[0.1, 1 / 3]]), np.array([0.0, 2 / 3]), {"split": "test"})
    again = AdaptationCurve.from_json(awkward.to_json())
    assert again.returns.tolist() == awkward.returns.tolist()
    assert again.environment_steps.tolist() == awkward.environment_steps.tolist()
    assert again.details == {"split": "test"}
    assert again.to_json() == awkward.to_json()


def test_repeated_tasks_are_noted_and_resampled_apart():
    # Two directions, each with the same return in its repetitions: no adaptation noise at all.
    repeated = np.array([[0.0], [100.0]] * 2)
    directions = AdaptationCurve(repeated, np.array([0.0]), {"distinct_tasks": 2})
    assert "2 distinct tasks repeated to 4" in str(json.loads(directions.to_json())["note"])
    assert directions.low == directions.high == 50.0
    assert AdaptationCurve(repeated, np.array([0.0])).low < 50.0
    assert curve(distinct_tasks=4).note is None


def test_one_task_is_noted():
    one = AdaptationCurve(np.array([[1.0, 2.0]]), np.array([0.0, 10.0]))
    assert one.low.tolist() == one.high.tolist() == [1.0, 2.0]
    assert "one task only" in str(one.note)


def test_save_writes_three_files_and_nothing_else(tmp_path):
    tasks = [{"velocity": v, "goal": [v, -v]} for v in (0.0, 1.0, 2.0, 3.0)]
    picture = curve(tasks=tasks).save(tmp_path / "evaluation", "test")
    folder = picture.parent
    assert sorted(p.name for p in folder.iterdir()) == ["test.csv", "test.json", "test.png"]
    assert picture.name == "test.png"
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert AdaptationCurve.load(folder / "test.json").details == {"tasks": tasks}
    with (folder / "test.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    header = ["task", "step", "environment_steps", "return", "velocity", "goal_0", "goal_1"]
    assert rows[0] == header
    assert len(rows) == 1 + 4 * 3
    assert rows[-1] == ["3", "2", "250.0", "90.0", "3.0", "3.0", "-3.0"]


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path, monkeypatch):
    curve(seed=1).save(tmp_path, "test")

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full_disk)
    with pytest.raises(UserError, match=r"test\.json: No space left on device"):
        curve(seed=2).save(tmp_path, "test")
    assert AdaptationCurve.load(tmp_path / "test.json").details == {"seed": 1}
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize(
    "text",
    [
        curve().to_json()[:-40],
        "[]",
        "{}",
        '{"returns": [[1.0]]}',
        '{"returns": [[1.0], [1.0, 2.0]], "environment_steps": [0]}',
        '{"returns": [["a"]], "environment_steps": [0]}',
        "\x00",
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, text):
    path = tmp_path / "test.json"
    path.write_text(text)
    with pytest.raises(UserError, match="damaged") as caught:
        AdaptationCurve.load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.json: No such file"):
        AdaptationCurve.load(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("returns", "environment_steps", "details", "message"),
    [
        ([1.0, 2.0], [0.0, 1.0], {}, r"\[tasks, steps \+ 1\]"),
        ([[1.0, 2.0]], [0.0], {}, "environment_steps must be"),
        ([[1.0, np.nan]], [0.0, 1.0], {}, "finite"),
        ([[1.0, 2.0]], [5.0, 9.0], {}, "rise from 0"),
        ([[1.0, 2.0, 3.0]], [0.0, 9.0, 8.0], {}, "rise from 0"),
        ([[1.0]], [0.0], {"mean": 3}, "not details: mean"),
        ([[1.0]], [0.0], {"tasks": [{}, {}]}, "2 tasks, returns 1"),
    ],
)
def test_impossible_curves_are_refused(returns, environment_steps, details, message):
    with pytest.raises(ValueError, match=message):
        AdaptationCurve(np.array(returns), np.array(environment_steps), details)


def test_table_has_one_row_per_step():
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table(curve(distinct_tasks=2)))
    text = console.export_text()
    cells = [line.replace("│", " ").split() for line in text.splitlines() if "│" in line]
    assert [row[:4] for row in cells] == [
        ["0", "0", "3.25", "1.50"],
        ["1", "100", "13.00", "5.00"],
        ["2", "250", "26.25", "6.00"],
    ]
    assert "2 distinct tasks repeated to 4" in text

"""`metarl compare` of continual runs: what it accepts, groups, writes, prints and refuses."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metarl.cli import main
from metarl.continual.compare import load_comparison, write_comparison
from metarl.continual.record import ContinualRecord
from metarl.errors import UserError
from tests.continual.records import make_config, make_record, make_run
from tests.evaluation.comparison_runs import make_run as make_meta_run

METHODS = {"fine_tuning": (), "from_scratch": (), "multi_task": (), "ewc": (0.1, 10.0)}
TWO = ("moon", "rainfall")
SMALL: dict[str, Any] = {"methods": METHODS, "tasks": TWO, "seeds": 2, "iterations": 10}


@pytest.fixture(autouse=True)
def without_pictures(monkeypatch):
    """Pictures have tests of their own, and take most of the time."""
    monkeypatch.setattr("metarl.continual.pictures.pictures", lambda results: {})


@pytest.fixture
def run(tmp_path) -> Path:
    return make_run(tmp_path / "runs" / "one", make_config(**SMALL))


def compare(capsys, *words) -> str:
    """What the command prints; its exit code must be 0."""
    with pytest.raises(SystemExit) as end:
        main(["compare", *map(str, words)])
    captured = capsys.readouterr()
    assert end.value.code == 0, captured.err
    return captured.out


def refused(capsys, *words) -> str:
    """The one line with which the command refuses."""
    with pytest.raises(SystemExit) as end:
        main(["compare", *map(str, words)])
    captured = capsys.readouterr()
    assert end.value.code == 2
    assert captured.err.count("\n") == 1
    return captured.err


def read_csv(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_with_tables_and_a_report_whose_path_is_printed_last(run, tmp_path, capsys):
    out = tmp_path / "out"
    printed = compare(capsys, tmp_path / "runs", "--output", out)
    assert printed.splitlines()[-1] == str(out / "report.html")
    names = sorted(path.name for path in out.iterdir())
    assert names == ["matrix.csv", "report.html", "table.csv", "table.md"]


def test_the_table_fits_a_terminal_of_100_columns_with_the_best_first(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "100")
    for repetitions in (1, 2):
        make_run(tmp_path / f"runs/{repetitions}", make_config(seeds=3, repetitions=repetitions))
    printed = compare(capsys, tmp_path / "runs", "--output", tmp_path / "out")
    assert max(map(len, printed.splitlines()[:-1])) <= 100
    rows = [line.split() for line in printed.splitlines() if "[" in line and "95 %" not in line]
    assert len(rows) == 20  # ten methods, two sequences, no line broken in two
    values = [float(row[row.index("3") + 1]) for row in rows]
    assert values[:10] == sorted(values[:10], reverse=True)


def test_table_csv_has_every_method_and_strength_and_no_nan(run, tmp_path, capsys):
    compare(capsys, run, "--output", tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "table.csv")
    assert [(row["method"], row["strength"], row["seeds"]) for row in rows] == [
        ("fine_tuning", "", "2"),
        ("from_scratch", "", "2"),
        ("multi_task", "", "2"),
        ("ewc", "0.1", "2"),
        ("ewc", "10.0", "2"),
    ]
    assert rows[2]["forward_transfer"] == ""  # undefined for multi-task learners
    assert not any("nan" in value for row in rows for value in row.values())


def test_matrix_csv_has_every_learner_stage_and_task(run, tmp_path, capsys):
    compare(capsys, run, "--output", tmp_path / "out")
    rows = read_csv(tmp_path / "out" / "matrix.csv")
    record = ContinualRecord.load(run / "evaluation" / "continual.json")
    assert [float(row["return"]) for row in rows] == record.matrix.ravel().tolist()
    last = rows[-1]
    assert (last["method"], last["strength"], last["seed"]) == ("ewc", "10.0", "1")
    assert (last["stage"], last["trained_on"], last["task"]) == ("2", "rainfall", "rainfall")
    assert (rows[0]["stage"], rows[0]["trained_on"]) == ("0", "")
    scratch = record.matrix[[2, 3], 2, 1].mean()  # rainfall is the task of stage 2
    expected = (record.matrix[-1, 2, 1] - record.random[1]) / (scratch - record.random[1])
    np.testing.assert_allclose(float(last["normalized_return"]), expected)


def test_json_has_the_table_and_the_report(run, tmp_path, capsys):
    found = json.loads(compare(capsys, run, "--output", tmp_path / "out", "--json"))
    assert found["report"] == str(tmp_path / "out" / "report.html")
    (sequence,) = found["sequences"]
    assert sequence["stages"] == ["moon", "rainfall"]
    assert [row["method"] for row in sequence["methods"]].count("ewc") == 2
    assert sequence["methods"][2]["forward_transfer"] is None


def test_runs_of_several_sequences_have_a_section_each(run, tmp_path):
    longer = make_run(tmp_path / "longer", make_config(METHODS, TWO, seeds=2, iterations=20))
    other = make_run(
        tmp_path / "other", make_config(METHODS, ("hugefoot",), seeds=2, iterations=10)
    )
    again = make_run(tmp_path / "again", make_config(**SMALL, identity="heads"))
    found = load_comparison([run, longer, other, again])
    assert [[each.path.name for each in one.runs] for one in found] == [
        ["one", "again"],
        ["longer"],
        ["other"],
    ]
    assert len({one.slug for one in found}) == 3
    text = (write_comparison(found, tmp_path / "out").parent / "table.md").read_text()
    assert text.count("\n## ") == 3
    (best,) = (each for each in found[0].results.best if each.kind == "ewc (heads)")
    for strength in (0.1, 10.0):
        marked = "**ewc (heads)**" if strength == best.summary.strength else "ewc (heads)"
        assert f"| {marked} | {strength:g} | 2 |" in text


def test_seeds_of_several_runs_are_pooled(run, tmp_path):
    config = make_config(**SMALL)
    second = make_run(tmp_path / "second", config, seed=2)
    (found,) = load_comparison([run, second])
    assert [one.seeds for one in found.results.summary] == [4] * 5


def test_continual_and_meta_rl_runs_are_not_mixed(run, tmp_path, capsys):
    meta = make_meta_run(tmp_path / "meta")
    error = refused(capsys, meta, run, "--output", tmp_path / "out")
    assert f"{run} is a continual run and {meta} is a meta-RL run" in error
    assert not (tmp_path / "out").exists()


def test_a_split_is_refused(run, capsys):
    assert "--split is of meta-RL runs" in refused(capsys, run, "--split", "test")


def test_a_folder_with_other_files_is_refused_and_left_alone(run, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "holds notes.txt" in refused(capsys, run, "--output", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_an_earlier_comparison_is_replaced_with_its_pictures(run, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    for name in ("report.html", "matrix_Old-v0.png", "trade_off_Old-v0.svg"):
        (out / name).write_text("old")
    compare(capsys, run, "--output", out)
    assert not list(out.glob("*Old*"))
    assert (out / "report.html").read_text() != "old"


def test_a_run_without_an_evaluation_is_refused_with_the_command(run, capsys):
    (run / "evaluation" / "continual.json").unlink()
    error = refused(capsys, run)
    assert f"run `metarl evaluate {run}`, or add --evaluate" in error


def test_an_evaluation_older_than_the_last_checkpoint_does_not_count(run, capsys):
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "000021.pt").write_bytes(b"")
    assert "no evaluation of its last checkpoint" in refused(capsys, run)


def test_evaluate_makes_what_is_missing(run, tmp_path, capsys, monkeypatch):
    file = run / "evaluation" / "continual.json"
    file.unlink()
    done = []

    def evaluate(path):
        done.append(path)
        make_record(make_config(**SMALL)).save(file)

    monkeypatch.setattr("metarl.continual.evaluate.evaluate_continual", evaluate)
    compare(capsys, run, "--evaluate", "--output", tmp_path / "out")
    assert done == [run]


def test_other_versions_of_mujoco_are_refused_unless_allowed(run, tmp_path):
    other = make_run(
        tmp_path / "two", make_config(**SMALL, identity="heads"), versions={"mujoco": "4.1.0"}
    )
    with pytest.raises(UserError, match=r"differ in MuJoCo version: 4\.0\.0 in .*--allow-mixed"):
        load_comparison([run, other])
    (found,) = load_comparison([run, other], allow_mixed=True)
    assert len(found.warnings) == 1


def test_meta_rl_runs_are_compared_as_before(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("metarl.evaluation.comparison.pictures.pictures", lambda *_: {})
    meta = make_meta_run(tmp_path / "meta")
    found = json.loads(compare(capsys, meta, "--output", tmp_path / "out", "--json"))
    assert found["split"] == "test"

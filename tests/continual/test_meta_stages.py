"""A meta-learner on a sequence of task distributions: its matrix, its files, a run that resumes."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metarl.cli import main
from metarl.config import from_mapping
from metarl.continual.meta_stages import StageReturns, picture, read_stages
from metarl.errors import UserError
from metarl.training.checkpoints import Checkpoints
from metarl.training.trainer import Trainer

POST = np.array([[-1.0, -5.0, -9.0], [-3.0, -2.0, -8.0], [-4.0, -6.0, -1.0]])
STAGES = [{"goal": [0.1, 0.5]}, {"goal": [-0.5, -0.1]}]


def returns(done: int = 3, distributions: tuple[int, ...] = (0, 1, 2)) -> StageReturns:
    details = {"family": "PointNavigation-v0", "algorithm": "maml_trpo"}
    return StageReturns(("a", "b", "c"), distributions, POST[:done] - 10, POST[:done], details)


def config(**changes: Any) -> Any:
    mapping = {
        "tasks": {
            "family": "PointNavigation-v0",
            "horizon": 8,
            "tasks_per_iteration": 3,
            "episodes_per_task": 2,
            "stages": STAGES,
            "iterations_per_stage": 2,
        },
        "policy": {"hidden_sizes": [8]},
        "algorithm": {"name": "maml_trpo"},
        "evaluation": {"tasks": 3, "episodes": 2, "steps": 1},
        "run": {"iterations": 4, "checkpoint_every": 1, "threads": 1},
    }
    return from_mapping(mapping, "test", {k.replace("__", "."): v for k, v in changes.items()})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two stages of two iterations, done."""
    folder = tmp_path_factory.mktemp("stages") / "run"
    Trainer.start(config(run__output=str(folder))).train()
    return folder


def test_forgetting_and_backward_transfer_by_hand() -> None:
    # Task 1 falls from -1 to -4, task 2 from -2 to -6, task 3 has just been learned.
    assert returns().forgetting == pytest.approx((3.0 + 4.0 + 0.0) / 3)
    assert returns().backward_transfer == pytest.approx(-(3.0 + 4.0) / 2)


def test_stages_that_are_not_done_enter_nothing() -> None:
    assert returns(done=2).forgetting == pytest.approx((2.0 + 0.0) / 2)
    assert returns(done=2).backward_transfer == pytest.approx(-2.0)
    assert returns(done=1).forgetting == 0.0
    assert math.isnan(returns(done=1).backward_transfer)


def test_what_a_repeated_distribution_repairs_is_not_forgotten() -> None:
    again = returns(distributions=(0, 1, 0))
    assert again.forgetting == pytest.approx((0.0 + 4.0) / 2)
    assert again.backward_transfer == pytest.approx(-4.0)


def test_the_files_have_every_number() -> None:
    record = json.loads(returns(done=2).to_json())
    assert record["stages_done"] == 2
    assert record["post"] == POST[:2].tolist()
    assert record["pre"] == (POST[:2] - 10).tolist()
    assert (record["forgetting"], record["backward_transfer"]) == (1.0, -2.0)
    assert json.loads(returns(done=1).to_json())["backward_transfer"] is None
    rows = list(csv.reader(returns(done=2).to_csv().splitlines()))
    assert rows[0] == ["after_stage", "on_stage", "tasks", "return_pre", "return_post"]
    assert len(rows) == 1 + 2 * 3
    assert rows[1 + 3] == ["2", "1", "a", "-13.0", "-3.0"]


def test_the_picture_frames_the_stage_that_has_ended() -> None:
    before, after = picture(returns(done=2)).axes[:2]
    assert [text.get_text() for text in after.texts] == [
        "-1.0", "-5.0", "-9.0", "-3.0", "-2.0", "-8.0"
    ]  # fmt: skip
    assert before.texts[0].get_text() == "-11.0"
    corners = [(patch.get_x(), patch.get_y()) for patch in after.patches]  # pyright: ignore[reportAttributeAccessIssue]
    assert [(round(x), round(y)) for x, y in corners] == [(0, 0), (1, 1)]


def test_evaluate_names_the_files_of_stages(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", str(run)])
    assert stop.value.code == 0
    printed = capsys.readouterr().out.splitlines()
    folder = run / "evaluation"
    assert [printed.index(str(folder / f"{n}.png")) - len(printed) for n in ("stages", "test")] == [
        -2,
        -1,
    ]
    record = json.loads((folder / "stages.json").read_text())
    assert np.shape(record["post"]) == np.shape(record["pre"]) == (2, 2)
    assert [stage["name"] for stage in record["stages"]] == ["goal 0.1 to 0.5", "goal -0.5 to -0.1"]
    table = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert record["post"][1][0] == float(table[3]["stage/return_post_1"])
    assert record["pre"][0][1] == float(table[1]["stage/return_pre_2"])
    assert table[2]["stage/return_post_1"] == "nan"
    assert "goal 0.1 to 0.5" in "\n".join(printed)


@pytest.mark.parametrize("until", [1, 2])
def test_a_run_goes_on_into_the_next_stage_with_the_same_bits(
    until: int, run: Path, tmp_path: Path
) -> None:
    part = tmp_path / "part"
    Trainer.start(config(run__output=str(part), run__iterations=until)).train()
    Trainer.resume(part, {"run.iterations": 4}).train()
    names = [name for name in _table(run)[0] if not name.startswith("time/")]
    for ours, theirs in zip(_table(part), _table(run), strict=True):
        assert [ours[name] for name in names] == [theirs[name] for name in names]
    first, second = (Checkpoints(folder / "checkpoints").load_latest() for folder in (run, part))
    for name, value in first[1]["learner"]["parameters"].items():
        assert torch.equal(value, second[1]["learner"]["parameters"][name])


def _table(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "metrics.csv").read_text().splitlines()))


def test_only_stages_that_are_in_the_checkpoint_count(run: Path) -> None:
    half = read_stages(run, iteration=3)
    assert half is not None
    assert half.post.shape == (1, 2)
    assert read_stages(run, iteration=1) is None
    everything = read_stages(run)
    assert everything is not None
    assert everything.post.shape == (2, 2)
    np.testing.assert_array_equal(everything.post[:1], half.post)


def test_runs_without_stages_and_damaged_ones(tmp_path: Path) -> None:
    plain = {"tasks.stages": [], "tasks.iterations_per_stage": None, "run.iterations": 1}
    folder = tmp_path / "plain"
    changes = {key.replace(".", "__"): value for key, value in plain.items()}
    Trainer.start(config(**changes, run__output=str(folder))).train()
    assert read_stages(folder) is None
    text = (folder / "config.yaml").read_text()
    staged = text.replace("stages: []", "stages: [{goal: [0.0, 0.5]}]")
    (folder / "config.yaml").write_text(staged.replace("per_stage: null", "per_stage: 1"))
    with pytest.raises(UserError, match=r"metrics.csv does not hold the returns of 1 stages"):
        read_stages(folder)

"""Jobs: what is done is known by the folder, and runs of other settings are refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from metarl.config import from_mapping
from metarl.errors import UserError
from metarl.jobs import Job, all_presets, environment_steps
from metarl.training.run_folder import RunFolder

# 3 tasks x 2 episodes x (before, after) x 10 time steps = 120 environment steps an iteration.
CONFIG = {
    "tasks": {
        "family": "PointNavigation-v0",
        "horizon": 10,
        "tasks_per_iteration": 3,
        "episodes_per_task": 2,
    },
    "policy": {"hidden_sizes": [4]},
    "algorithm": {"name": "maml_trpo", "discount": 0.9},
    "evaluation": {"tasks": 3, "episodes": 2, "steps": 1},
    "run": {"iterations": 4, "threads": 1, "checkpoint_every": 1},
}


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job("world/maml", from_mapping(CONFIG, "test"), RunFolder(tmp_path / "seed1"))


def changed(job: Job, **overrides: Any) -> Job:
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    return dataclasses.replace(job, config=from_mapping(CONFIG, "test", dotted))


def train(job: Job) -> None:
    assert job.train(Console(quiet=True)) is None


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_a_job_is_trained_at_its_last_iteration(job: Job) -> None:
    assert not job.exists
    assert not job.is_trained()
    train(changed(job, run__iterations=2))
    assert changed(job, run__iterations=2).is_trained()
    assert not job.is_trained()
    train(job)
    assert job.is_trained()
    assert environment_steps(job.run) == {1: 120, 2: 240, 3: 360, 4: 480}


def test_a_job_is_trained_where_its_budget_is_spent(job: Job) -> None:
    budget = changed(job, run__environment_steps=200)
    train(budget)
    assert budget.iterations == 2
    assert budget.is_trained()
    before = files(budget.run.path)
    train(budget)
    assert files(budget.run.path) == before


def test_a_larger_budget_goes_on(job: Job) -> None:
    train(changed(job, run__environment_steps=200))
    larger = changed(job, run__environment_steps=300)
    assert not larger.is_trained()
    train(larger)
    assert larger.iterations == 3


def test_rows_beyond_the_last_checkpoint_do_not_count(job: Job) -> None:
    train(changed(job, run__iterations=2))
    (job.run.checkpoints / "000002.pt").unlink()
    assert not changed(job, run__iterations=2).is_trained()
    assert not changed(job, run__environment_steps=200).is_trained()
    assert changed(job, run__environment_steps=120).is_trained()


def test_runs_that_went_further_are_refused(job: Job) -> None:
    train(changed(job, run__iterations=3))
    with pytest.raises(UserError, match=r"run\.iterations is 2, but .*seed1 has more .* \(3\)"):
        changed(job, run__iterations=2).check_settings()
    # After 2 iterations of 120 steps a budget of 240 was spent; this run took a third.
    with pytest.raises(UserError, match=r"run\.environment_steps is 240, but .* \(240\)"):
        changed(job, run__environment_steps=240).check_settings()
    changed(job, run__environment_steps=241).check_settings()


def test_runs_of_other_settings_are_refused(job: Job) -> None:
    train(changed(job, run__iterations=1))
    with pytest.raises(UserError, match=r"started with algorithm\.discount = 0\.9, now it is 0\.8"):
        train(changed(job, algorithm__discount=0.8))
    changed(job, run__iterations=5, run__threads=2, run__device="cpu").check_settings()


def test_a_curve_counts_when_it_is_of_these_settings_and_the_last_checkpoint(job: Job) -> None:
    short = changed(job, run__iterations=1)
    train(short)
    assert short.evaluation() is None
    assert short.evaluate().returns.shape == (3, 2)
    curve = files(job.run.evaluation)
    assert short.evaluation() is not None
    short.evaluate()
    assert files(job.run.evaluation) == curve
    for key, value in (
        ("tasks", 4),
        ("episodes", 3),
        ("steps", 2),
        ("seed", 1),
        ("inner_learning_rates", [0.1]),
    ):
        assert changed(job, **{f"evaluation__{key}": value}).evaluation() is None, key
    train(changed(job, run__iterations=2))
    assert short.evaluation() is None


@pytest.mark.parametrize("damage", ["", "{}", "no json"])
def test_a_damaged_curve_is_made_again(job: Job, damage: str) -> None:
    short = changed(job, run__iterations=1)
    train(short)
    short.evaluate()
    (job.run.evaluation / "test.json").write_text(damage)
    assert short.evaluation() is None
    short.evaluate()
    assert json.loads((job.run.evaluation / "test.json").read_text())["iteration"] == 1


def test_a_curve_without_its_picture_is_made_again(job: Job) -> None:
    short = changed(job, run__iterations=1)
    train(short)
    short.evaluate()
    (job.run.evaluation / "test.png").unlink()
    assert short.evaluation() is None


def test_metrics_that_are_cut_or_missing_are_no_error(job: Job) -> None:
    assert environment_steps(job.run) == {}
    job.run.path.mkdir()
    job.run.metrics_file.write_text("iteration,train/environment_steps\n1,120.0\n2")
    assert environment_steps(job.run) == {1: 120}


def test_suites_are_no_presets(tmp_path: Path) -> None:
    for name in ("world/maml", "benchmark/quick", "benchmark_world/maml"):
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir()
        path.touch()
    assert list(all_presets(tmp_path)) == ["benchmark_world/maml", "world/maml"]

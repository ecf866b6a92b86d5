"""The training loop: resumed, extended and threaded runs give the numbers of one uninterrupted."""

import csv
import errno
import io
import json
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from metarl.config import Config, to_yaml
from metarl.errors import UserError
from metarl.evaluation.run import evaluate_run
from metarl.training.checkpoints import Checkpoints
from metarl.training.experiment import Experiment
from metarl.training.trainer import Trainer

ITERATIONS = 8

# Trains, and kills itself just before the n-th call of a function.
_TRAIN_UNTIL_KILLED = """
import importlib, os, signal, sys
module, path, count = sys.argv[1], sys.argv[2].split("."), int(sys.argv[3])
from metarl.cli import main

owner = importlib.import_module(module)
for name in path[:-1]:
    owner = getattr(owner, name)
original, calls = getattr(owner, path[-1]), 0

def killing(*arguments, **options):
    global calls
    calls += 1
    if calls == count:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(*arguments, **options)

setattr(owner, path[-1], killing)
main(sys.argv[4:])
"""

_TRAIN_WITH_SMALL_FILES = """
import resource, sys
from metarl.cli import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
main(sys.argv[2:])
"""


def _moments() -> list[tuple[str, str, int]]:
    """Where to kill: before the n-th call of something, n drawn with a fixed seed."""
    draw = random.Random(20261121).randint
    return [
        ("os", "replace", 2),  # config.yaml of a new run
        ("os", "replace", 3),  # the checkpoint of iteration 0
        ("os", "replace", draw(5, 8)),  # a later checkpoint is written but has no name yet
        ("os", "fsync", draw(9, 15)),
        ("metarl.sampling", "Sampler.collect", draw(3, 2 * ITERATIONS)),
        ("metarl.training.metrics", "MetricsLog.write", draw(2, ITERATIONS)),
        ("metarl.training.checkpoints", "Checkpoints._prune", draw(3, 4)),
    ]


def train(config: Config, folder: Path) -> Path:
    trainer = Trainer.start(_in(config, folder), _silent())
    assert not trainer.train()
    return folder


def resume(folder: Path, **overrides: Any) -> Path:
    dotted = {key.replace("__", "."): value for key, value in overrides.items()}
    assert not Trainer.resume(folder, dotted, _silent()).train()
    return folder


def _in(config: Config, folder: Path) -> Config:
    return replace(config, run=replace(config.run, output=str(folder)))


def _silent() -> Console:
    return Console(file=io.StringIO())


def metrics(run: Path) -> list[dict[str, str]]:
    """The text of every cell, columns of time aside."""
    with open(run / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if not k.startswith("time/")} for row in rows]


def final_state(run: Path) -> dict[str, Any]:
    """The last checkpoint, with tensors as bytes: equal means the same bit for bit."""

    def in_bytes(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: in_bytes(item) for name, item in value.items()}
        return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value

    iteration, state = Checkpoints(run / "checkpoints").load_latest()
    return {"iteration": iteration, **in_bytes(state)}


def assert_same(run: Path, reference: Path) -> None:
    assert metrics(run) == metrics(reference)
    assert final_state(run) == final_state(reference)


@pytest.fixture(scope="module")
def reference(tiny: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An uninterrupted run; not to be changed."""
    return train(tiny(), tmp_path_factory.mktemp("reference") / "run")


def test_a_run_counts_iterations_and_environment_steps(reference: Path) -> None:
    rows = metrics(reference)
    assert [row["iteration"] for row in rows] == [str(i) for i in range(1, ITERATIONS + 1)]
    # Two rollouts of 3 tasks, 2 episodes and at most 100 steps in every iteration, and one before
    # the first, to measure the observations.
    steps = [float(row["train/environment_steps"]) for row in rows]
    assert 1200 < steps[0] <= 1800
    assert all(0 < later - earlier <= 1200 for earlier, later in pairwise(steps))
    assert Checkpoints(reference / "checkpoints").iterations() == [6, 8]
    assert final_state(reference)["environment_steps"] == steps[-1]


def test_a_run_changes_the_parameters(tiny: Any, reference: Path, tmp_path: Path) -> None:
    start = Trainer.start(_in(tiny(), tmp_path / "run"), _silent()).run.path
    assert final_state(start)["iteration"] == 0
    assert final_state(start)["learner"] != final_state(reference)["learner"]


def test_the_normalizer_is_measured_before_training_and_stays(
    tiny: Any, reference: Path, tmp_path: Path
) -> None:
    start = Trainer.start(_in(tiny(), tmp_path / "run"), _silent()).run.path
    measured = final_state(start)["normalizer"]
    assert measured == final_state(reference)["normalizer"]
    std = np.frombuffer(measured["std"], dtype=np.float32)
    assert ((std > 0.01) & (std < 10.0)).all()  # walks of up to 100 steps of at most 0.1
    plain = tiny(policy__normalize_observations=False)
    start = Trainer.start(_in(plain, tmp_path / "plain"), _silent()).run.path
    assert (np.frombuffer(final_state(start)["normalizer"]["std"], dtype=np.float32) == 1).all()
    assert final_state(start)["environment_steps"] == 0


def test_another_seed_gives_other_numbers(tiny: Any, reference: Path, tmp_path: Path) -> None:
    other = train(tiny(run__seed=2, run__iterations=1), tmp_path / "run")
    assert metrics(other)[0]["train/return_pre"] != metrics(reference)[0]["train/return_pre"]


@pytest.mark.parametrize(("module", "function", "count"), _moments())
def test_killed_and_resumed_is_as_never_stopped(
    tiny: Any, reference: Path, tmp_path: Path, module: str, function: str, count: int
) -> None:
    run, config = tmp_path / "run", tmp_path / "tiny.yaml"
    config.write_text(to_yaml(tiny()))
    command = [sys.executable, "-c", _TRAIN_UNTIL_KILLED, module, function, str(count)]
    command += ["train", str(config), "--output", str(run)]
    killed = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if (run / "config.yaml").exists():
        resume(run)
    else:  # killed before it was a run: the same command starts it
        train(tiny(), run)
    assert_same(run, reference)
    assert not list(run.rglob("*.pt.*.tmp"))


def test_going_back_to_an_older_checkpoint(tiny: Any, reference: Path, tmp_path: Path) -> None:
    run = train(tiny(), tmp_path / "run")
    (run / "checkpoints" / "000008.pt").unlink()
    assert len(metrics(run)) == ITERATIONS  # two more than the checkpoint knows of
    resume(run)
    assert_same(run, reference)


def test_an_extended_run_is_as_one_that_was_long_from_the_start(
    tiny: Any, reference: Path, tmp_path: Path
) -> None:
    run = train(tiny(run__iterations=ITERATIONS // 2), tmp_path / "run")
    resume(run, run__iterations=ITERATIONS)
    assert_same(run, reference)
    assert (run / "config.yaml").read_text() == (reference / "config.yaml").read_text()


def test_a_stopped_run_is_resumed_by_the_iterations_it_was_meant_for(
    tiny: Any, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = Trainer.start(_in(tiny(), tmp_path / "run"), _silent())
    assert isinstance(trainer.experiment, Experiment)
    learner = trainer.experiment.learner
    updates, update = [], learner.meta_update

    def update_and_interrupt(sampler: Any) -> Any:
        updates.append(1)
        if len(updates) == 3:
            signal.raise_signal(signal.SIGTERM)
        return update(sampler)

    monkeypatch.setattr(learner, "meta_update", update_and_interrupt)
    assert trainer.train().signal_number == signal.SIGTERM
    assert trainer.checkpoints.iterations()[-1] == 3
    assert_same(resume(tmp_path / "run"), reference)


@pytest.mark.parametrize("family", ["PointNavigation-v0", "HalfCheetahDirMAML-v0"])
def test_threads_change_nothing(tiny: Any, tmp_path: Path, family: str) -> None:
    shared = {"tasks__family": family, "run__iterations": 3, "run__evaluate_every": 3}
    one = train(tiny(run__threads=1, **shared), tmp_path / "one")
    two = train(tiny(run__threads=2, **shared), tmp_path / "two")
    assert_same(two, one)


def test_validation_columns_are_filled_when_due_and_disturb_nothing(
    tiny: Any, reference: Path, tmp_path: Path
) -> None:
    rows = metrics(train(tiny(run__evaluate_every=4), tmp_path / "run"))
    names = [name for name in rows[0] if name.startswith("validation/")]
    assert names == [f"validation/return_{step}" for step in range(3)]
    for row in rows:
        values = np.array([float(row.pop(name)) for name in names])
        assert np.isfinite(values).all() == (row["iteration"] in ("4", "8"))
        assert np.isnan(values).all() == (row["iteration"] not in ("4", "8"))
    assert rows == metrics(reference)


# The disk ------------------------------------------------------------------------------------


def test_a_disk_full_at_a_checkpoint_costs_only_the_iterations_since_the_last_one(
    tiny: Any, reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, rename = tmp_path / "run", os.replace

    def full(source: Any, target: Any) -> None:
        if str(target).endswith("000006.pt"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        rename(source, target)

    with monkeypatch.context() as disk:
        disk.setattr(os, "replace", full)
        with pytest.raises(UserError, match=r"000006\.pt: No space left.*metarl train --resume"):
            train(tiny(), run)
    assert sorted(os.listdir(run / "checkpoints")) == ["000002.pt", "000004.pt"]
    assert_same(resume(run), reference)


@pytest.mark.parametrize("room", ["for one more checkpoint byte", "for no more metrics"])
def test_files_that_may_not_grow_are_refused_in_one_line(
    tiny: Any, tmp_path: Path, room: str
) -> None:
    wide = {"policy__hidden_sizes": [64, 64]}
    run = train(tiny(run__iterations=2, **wide), tmp_path / "run")
    if room == "for no more metrics":
        limit = (run / "metrics.csv").stat().st_size + 10
    else:
        limit = (run / "checkpoints" / "000002.pt").stat().st_size - 1
    command = [sys.executable, "-c", _TRAIN_WITH_SMALL_FILES, str(limit), "train", "--resume"]
    command += [str(run), "--run.iterations", str(ITERATIONS)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert refused.returncode == 2, refused.stderr
    assert refused.stderr.startswith(f"error: cannot write {run}")
    assert "File too large; raise the limit on file sizes" in refused.stderr
    assert refused.stderr.count("\n") == 1, refused.stderr
    assert Checkpoints(run / "checkpoints").load_latest()[0] == 2
    uninterrupted = train(tiny(**wide), tmp_path / "uninterrupted")
    assert_same(resume(run, run__iterations=ITERATIONS), uninterrupted)


# Versions, checkpoints and companions --------------------------------------------------------


def test_versions_name_everything_that_may_change_a_number(reference: Path) -> None:
    versions = json.loads((reference / "versions.json").read_text())
    assert {"metarl", "mujoco", "torch", "gymnasium", "numpy", "python"} <= versions.keys()
    assert versions["torch"] == torch.__version__
    assert versions["family"] == "PointNavigation-v0"
    assert set(versions["task_lists"]) == {"validation", "test", "ood"}
    assert len(set(versions["task_lists"].values())) == 3


def test_resuming_with_another_mujoco_warns(tiny: Any, tmp_path: Path) -> None:
    run = train(tiny(run__iterations=1), tmp_path / "run")
    text = io.StringIO()
    Trainer.resume(run, console=Console(file=text))
    assert text.getvalue() == ""
    versions = json.loads((run / "versions.json").read_text())
    now = versions["mujoco"]
    (run / "versions.json").write_text(json.dumps({**versions, "mujoco": "3.3.0"}))
    Trainer.resume(run, console=Console(file=text, width=200))
    assert text.getvalue() == (
        f"warning: mujoco: 3.3.0 when the run started, now {now}; numbers may differ\n"
    )


def test_a_checkpoint_of_another_policy_is_refused(tiny: Any, tmp_path: Path) -> None:
    run = train(tiny(run__iterations=1), tmp_path / "run")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("hidden_sizes: [8]", "hidden_sizes: [9]"))
    with pytest.raises(UserError, match=r"do not fit .*config\.yaml"):
        resume(run, run__iterations=2)


def test_evaluation_while_a_training_is_going_on(tiny: Any, tmp_path: Path) -> None:
    trainer = Trainer.start(_in(tiny(run__iterations=2), tmp_path / "run"), _silent())
    with trainer.run.lock():
        curve, picture = evaluate_run(trainer.run.path, {"evaluation.steps": 1})
    assert curve.returns.shape == (3, 2)
    assert picture.exists()
    assert not trainer.train()  # and the evaluation has left nothing in its way


def test_a_checkpoint_that_the_training_drops_meanwhile_is_no_error(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = Checkpoints(train(tiny(), tmp_path / "run") / "checkpoints")
    seen, now = [[2, 4]], checkpoints.iterations
    monkeypatch.setattr(checkpoints, "iterations", lambda: seen.pop() if seen else now())
    assert checkpoints.load_latest()[0] == 8


# 3 tasks x 2 episodes, before and after adaptation: 12 episodes of at most 100 steps.


def test_a_run_ends_in_the_iteration_that_spends_its_environment_steps(
    tiny: Any, reference: Path, tmp_path: Path
) -> None:
    taken = [int(float(row["train/environment_steps"])) for row in metrics(reference)]
    run = train(tiny(run__environment_steps=taken[2] - 1), tmp_path / "run")
    assert metrics(run) == metrics(reference)[:3]
    assert Checkpoints(run / "checkpoints").iterations()[-1] == 3
    resume(run)  # nothing is left to do
    assert metrics(run) == metrics(reference)[:3]
    resume(run, run__environment_steps=taken[4])
    assert metrics(run) == metrics(reference)[:5]


def test_fixed_training_tasks_are_drawn_once(tiny: Any) -> None:
    experiment = Experiment.from_config(tiny(tasks__training_tasks=5))
    every = experiment.family.sample(1, 0, 5)
    sampler = experiment.sampler(3, 2)
    seen = set()
    for iteration in range(1, 9):
        experiment.begin(sampler, iteration)
        indices = list(sampler.task_indices)
        assert sampler.tasks == every[indices]
        assert len(set(indices)) == 3
        seen.add(tuple(indices))
    assert len(seen) > 1
    assert {index for indices in seen for index in indices} == {0, 1, 2, 3, 4}


def test_without_fixed_tasks_every_iteration_draws_new_ones(tiny: Any) -> None:
    experiment = Experiment.from_config(tiny())
    sampler = experiment.sampler(3, 2)
    experiment.begin(sampler, 1)
    first = sampler.tasks
    experiment.begin(sampler, 2)
    assert first is not None
    assert sampler.tasks is not None
    assert not bool((first["goal"] == sampler.tasks["goal"]).any())


def test_the_horizon_of_the_configuration_replaces_the_family_s(tiny: Any, tmp_path: Path) -> None:
    run = train(tiny(tasks__horizon=7, run__iterations=1), tmp_path / "run")
    assert json.loads((run / "versions.json").read_text())["horizon"] == 7
    curve, _ = evaluate_run(run)
    assert curve.details["horizon"] == 7
    assert curve.environment_steps[1] <= 2 * 7

"""The run folder: what it refuses, its lock, its name, its versions."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metarl.errors import UserError
from metarl.training import run_folder
from metarl.training.run_folder import (
    RunFolder,
    check_versions,
    claim_default_folder,
    collect_versions,
    default_name,
)

_HOLD_LOCK = """
import sys
from metarl.training.run_folder import RunFolder
with RunFolder.open(sys.argv[1]).lock():
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "deep" / "run", "seed: 1\n", {"torch": "2"})


@pytest.fixture
def holder(run: RunFolder) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the run's lock."""
    command = [sys.executable, "-c", _HOLD_LOCK, str(run.path)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


def test_created_run_opens_again(run: RunFolder) -> None:
    again = RunFolder.open(run.path)
    assert again.config_file.read_text() == "seed: 1\n"
    assert again.read_versions() == {"torch": "2"}
    assert again.metrics_file == run.path / "metrics.csv"


def test_create_takes_an_empty_folder(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, "", {}).config_file.exists()


def test_create_refuses_a_run_and_says_how_to_resume(run: RunFolder) -> None:
    with pytest.raises(UserError, match=rf"metarl train --resume {run.path}.*--output"):
        RunFolder.create(run.path, "seed: 2\n", {})
    assert run.config_file.read_text() == "seed: 1\n"


def test_create_leaves_foreign_files_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"not empty.*another --output"):
        RunFolder.create(tmp_path, "", {})
    with pytest.raises(UserError, match="is a file"):
        RunFolder.create(tmp_path / "thesis.tex", "", {})
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_create_on_a_full_disk_leaves_no_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "fsync", refuse)
        with pytest.raises(UserError, match="No space left"):
            RunFolder.create(tmp_path / "run", "", {})
    with pytest.raises(UserError, match="not a run folder"):
        RunFolder.open(tmp_path / "run")
    assert RunFolder.create(tmp_path / "run", "", {}).config_file.exists()


def test_open_refuses_what_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run folder .*absent"):
        RunFolder.open(tmp_path / "absent")
    with pytest.raises(UserError, match=r"not a run folder.*config\.yaml"):
        RunFolder.open(tmp_path)


@pytest.mark.parametrize("text", ["{", "[]", None])
def test_damaged_versions_are_named(run: RunFolder, text: str | None) -> None:
    run.versions_file.unlink()
    if text is not None:
        run.versions_file.write_text(text)
    with pytest.raises(UserError, match=r"versions\.json.*put \{\} in it"):
        run.read_versions()


def test_lock_refuses_a_second_process_and_names_the_first(
    run: RunFolder, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(UserError, match=rf"process {holder.pid} is training in "), run.lock():
        pass


def test_lock_is_free_after_sigkill(run: RunFolder, holder: subprocess.Popen[str]) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with run.lock():
        assert (run.path / ".lock").read_text() == str(os.getpid())


def test_lock_is_not_reentrant_and_freed_by_an_error(run: RunFolder) -> None:
    with run.lock(), pytest.raises(UserError, match=f"process {os.getpid()} "), run.lock():
        pass
    with pytest.raises(ZeroDivisionError), run.lock():
        raise ZeroDivisionError
    with run.lock():
        pass


def test_default_folder_is_claimed_once_a_second(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_folder.time, "strftime", lambda form: "20261121-035500")
    name = default_name("HalfCheetahVel-v0", "maml_trpo", 1)
    assert name == Path("HalfCheetahVel-v0/maml_trpo/seed1-20261121-035500")
    claimed = [claim_default_folder(tmp_path, "HalfCheetahVel-v0", "maml_trpo", 1) for _ in "abc"]
    assert claimed[0] == tmp_path / name
    assert [path.name for path in claimed[1:]] == [f"{name.name}-2", f"{name.name}-3"]
    assert all(path.is_dir() for path in claimed)


def test_default_folder_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(UserError, match="cannot write"):
        claim_default_folder(tmp_path / "runs", "F-v0", "maml_trpo", 1)


def test_versions_are_json_without_names_of_the_machine() -> None:
    versions = collect_versions()
    assert {"metarl", "mujoco", "torch", "gymnasium", "numpy", "python", "cpus"} <= set(versions)
    text = json.dumps(versions)
    assert os.uname().nodename not in text.replace('"', " ").split()
    assert str(Path.home()) + os.sep not in text


def test_changed_versions_are_listed() -> None:
    saved = {"mujoco": "4.0.0", "torch": "2.13", "old": 1}
    now = {"mujoco": "4.1.0", "torch": "2.13", "new": 2}
    assert check_versions(saved, saved) == []
    assert check_versions(saved, now) == [
        "mujoco: 4.0.0 when the run started, now 4.1.0",
        "old: 1 when the run started, now absent",
        "new: absent when the run started, now 2",
    ]

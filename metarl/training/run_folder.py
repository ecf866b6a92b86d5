"""The folder that holds everything about one run, and explains itself."""

import fcntl
import importlib.metadata
import itertools
import json
import os
import platform
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import metarl
from metarl.errors import UserError
from metarl.files import cannot_write, write_text_atomically
from metarl.training.devices import usable_cpus

# What `create` writes before the configuration; a kill may leave it behind.
_LEFTOVERS = re.compile(r"\.lock|versions\.json|\.(versions\.json|config\.yaml)\.\d+\.tmp")
_PACKAGES = ("mujoco", "torch", "gymnasium", "numpy")


class RunFolder:
    """Paths of one run, and the lock that keeps a second training out.

    Make one with `create` for a new run or `open` for one that exists.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config_file = self.path / "config.yaml"
        self.versions_file = self.path / "versions.json"
        self.metrics_file = self.path / "metrics.csv"
        self.tensorboard = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.evaluation = self.path / "evaluation"
        self._lock_file = self.path / ".lock"

    def make_evaluation(self) -> None:
        """The folder `evaluation`, where it is not there; UserError where it cannot be made."""
        try:
            self.evaluation.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(self.evaluation, error) from error

    @classmethod
    def create(cls, path: str | Path, config_yaml: str, versions: Mapping[str, Any]) -> "RunFolder":
        """A new run in a folder that is missing or empty, with its two descriptions written.

        Raises UserError for a folder that holds anything, or that cannot be written.
        """
        run = cls(path)
        try:
            run._refuse_if_used()
            run.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(run.path, error) from error
        with run.lock():  # two that start at once: the second one sees the first one's files
            run._refuse_if_used()
            write_text_atomically(run.versions_file, json.dumps(dict(versions), indent=1) + "\n")
            # Last, because `open` takes this file for the sign of a complete run folder.
            write_text_atomically(run.config_file, config_yaml)
        return run

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """A run that exists. Raises UserError for a missing folder or one that is no run."""
        run = cls(path)
        if not run.path.exists():
            raise UserError(f"no run folder {run.path}; give the path that `metarl train` printed")
        if not run.config_file.is_file():
            raise UserError(
                f"{run.path} is not a run folder (it has no config.yaml); "
                "give the path that `metarl train` printed"
            )
        return run

    def read_versions(self) -> dict[str, Any]:
        """What `create` stored in `versions.json`. Raises UserError if it is gone or damaged."""
        try:
            versions = json.loads(self.versions_file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise UserError(
                f"cannot read {self.versions_file}: {error}; "
                "put {} in it to resume without comparing versions"
            ) from error
        if not isinstance(versions, dict):
            raise UserError(f"{self.versions_file} holds no JSON object; put {{}} in it to resume")
        return versions

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold this run against other trainings, other processes' and this one's alike.

        The kernel drops the lock when the process ends, however it ends. Raises UserError that
        names the process that holds it.
        """
        descriptor = self._open_lock()
        try:
            self._take_lock(descriptor)
            yield
        finally:
            # Not deleted: a second process may have opened it, and would lock a file without name.
            os.close(descriptor)

    def _open_lock(self) -> int:
        try:
            return os.open(self._lock_file, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise cannot_write(self._lock_file, error, self.path) from error

    def _take_lock(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 32, 0).decode(errors="replace") or "unknown"
            raise UserError(
                f"process {holder} is training in {self.path}; "
                "wait until it has finished, stop it, or choose another --output"
            ) from error
        except OSError as error:
            raise cannot_write(self._lock_file, error, self.path) from error

    def _refuse_if_used(self) -> None:
        if self.config_file.exists():
            raise UserError(
                f"{self.path} holds a run already; resume it with "
                f"`metarl train --resume {self.path}` or choose another --output"
            )
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"{self.path} is a file, not a folder; choose another --output")
        if self.path.is_dir() and not all(map(_LEFTOVERS.fullmatch, os.listdir(self.path))):
            raise UserError(f"{self.path} is not empty and holds no run; choose another --output")


def default_name(family: str, algorithm: str, seed: int) -> Path:
    """`FAMILY/ALGORITHM/seedN-DATE-TIME`, relative to the folder of all runs, in local time."""
    return Path(family, algorithm, f"seed{seed}-{time.strftime('%Y%m%d-%H%M%S')}")


def claim_default_folder(root: str | Path, family: str, algorithm: str, seed: int) -> Path:
    """Make an empty folder of the default name under `root`, for this process alone.

    Runs that start within one second get `-2`, `-3`, ... appended. Raises UserError when the
    folder cannot be made.
    """
    first = Path(root) / default_name(family, algorithm, seed)
    try:
        first.parent.mkdir(parents=True, exist_ok=True)
        for attempt in itertools.count(1):
            path = first if attempt == 1 else first.with_name(f"{first.name}-{attempt}")
            try:
                path.mkdir()  # fails if another process was faster: this is the claim
            except FileExistsError:
                continue
            return path
    except OSError as error:
        raise cannot_write(first, error) from error
    raise AssertionError("itertools.count ended")


def collect_versions() -> dict[str, Any]:
    """All that may change the numbers of a run, without names of hosts, users or paths."""
    libc = "-".join(platform.libc_ver())
    return {
        "metarl": metarl.__version__,
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
        "python": platform.python_version(),
        "platform": f"{platform.system()}-{platform.machine()}-{libc}",
        # Vector width and thread count change the order of torch's sums, hence the last bits.
        "cpu_instructions": torch.backends.cpu.get_cpu_capability(),
        "cpus": usable_cpus(),
    }


def check_versions(saved: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """One line per entry that differs, e.g. `mujoco: 4.0.0 when the run started, now 4.1.0`."""
    return [
        f"{name}: {saved.get(name, 'absent')} when the run started, now {now.get(name, 'absent')}"
        for name in dict.fromkeys([*saved, *now])
        if saved.get(name) != now.get(name)
    ]

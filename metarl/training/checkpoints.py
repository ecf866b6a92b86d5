"""Checkpoints of a run: everything that its next iteration reads."""

import io
import re
import zipfile
from pathlib import Path
from typing import Any

import torch

from metarl.errors import UserError
from metarl.files import cannot_write, write_atomically

_FORMAT = 1
_PLAIN_TYPES = (int, float, str, bool, type(None))


class Checkpoints:
    """The files `000120.pt`, ... in one folder, of which the newest `keep` stay.

    `folder` is `RUN/checkpoints`; it is made by the first `save`. Only the process that holds the
    run's lock may save.
    """

    def __init__(self, folder: str | Path, keep: int = 2) -> None:
        if keep < 1:
            raise ValueError(f"keep at least 1 checkpoint, got {keep}")
        self.folder = Path(folder)
        self.keep = keep

    def iterations(self) -> list[int]:
        """Iterations that have a checkpoint, oldest first; leftovers of killed writes do not."""
        names = (re.fullmatch(r"(\d{6,})\.pt", path.name) for path in self.folder.glob("*.pt"))
        return sorted(int(name[1]) for name in names if name)

    def save(self, iteration: int, state: dict[str, Any]) -> Path:
        """Write the state after `iteration`, then drop old checkpoints; returns the file's path.

        `state` nests dicts and lists of tensors, ints, floats, strings, bools and None.

        Raises UserError when the disk refuses (older checkpoints are then untouched), and
        TypeError for a value that could not be loaded again.
        """
        _check_loadable(state, "state")
        path = self._path(iteration)
        # In memory first: torch reports a disk error as a RuntimeError that names no cause.
        buffer = io.BytesIO()
        torch.save({"format": _FORMAT, "iteration": iteration, "state": state}, buffer)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(self.folder, error, self.folder.parent) from error
        write_atomically(path, lambda file: file.write(buffer.getbuffer()), self.folder.parent)
        self._prune(iteration)
        return path

    def load_latest(self, device: str | torch.device = "cpu") -> tuple[int, dict[str, Any]]:
        """The newest checkpoint's iteration and state, its tensors on `device`.

        Raises UserError if there is none, or if the newest is damaged: it is for the user to
        decide whether to go back to an older one, and the message names that.
        """
        iterations = self.iterations()
        if not iterations:
            raise UserError(
                f"no checkpoint in {self.folder}: the run ended before its first one; "
                "start it anew with another --output"
            )
        path = self._path(iterations[-1])
        try:
            content = _read(path, self._what_is_left(iterations[:-1]))
        except UserError:
            if self.iterations()[-1:] != iterations[-1:]:
                # A training that is going on has dropped it meanwhile, for newer ones.
                return self.load_latest(device)
            raise
        if content["iteration"] != iterations[-1]:
            raise UserError(
                f"checkpoint {path} holds iteration {content['iteration']}; "
                "give it back the name it was saved under"
            )
        return iterations[-1], _move(content["state"], torch.device(device))

    def _path(self, iteration: int) -> Path:
        return self.folder / f"{iteration:06d}.pt"

    def _what_is_left(self, older: list[int]) -> str:
        if older:
            return f"delete it to resume from the previous one, {self._path(older[-1]).name}"
        return "no older one is left, so start the run anew with another --output"

    def _prune(self, saved: int) -> None:
        newest = self.iterations()[-self.keep :]
        for iteration in self.iterations():
            if iteration not in (saved, *newest):
                self._path(iteration).unlink(missing_ok=True)
        for leftover in self.folder.glob(".*.pt.*.tmp"):  # of a process that was killed
            leftover.unlink(missing_ok=True)


def _read(path: Path, advice: str) -> dict[str, Any]:
    """The content of a checkpoint file, verified; UserError that ends in `advice` if damaged."""
    try:
        _verify_checksums(path)
        # On the CPU always: a GPU that is out of memory must not pass for a damaged file.
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise UserError(f"cannot read checkpoint {path}: {error.strerror or error}") from error
    except MemoryError:
        raise
    except Exception as error:  # torch and pickle raise nearly anything on damaged bytes
        raise UserError(f"checkpoint {path} is damaged; {advice}") from error
    if not isinstance(content, dict) or not {"format", "iteration", "state"} <= content.keys():
        raise UserError(f"{path} is not a checkpoint of metarl; {advice}")
    if content["format"] != _FORMAT:
        raise UserError(
            f"checkpoint {path} has format {content['format']}, this metarl reads {_FORMAT}; "
            "resume with the metarl version in the run's versions.json"
        )
    return content


def _verify_checksums(path: Path) -> None:
    """ValueError for flipped bits, which `torch.load` would hand out as numbers."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise ValueError(f"wrong checksum of {damaged}")


def _check_loadable(value: Any, name: str) -> None:
    """TypeError that names the value which `weights_only=True` would refuse."""
    if isinstance(value, dict):
        for key, item in value.items():
            _check_loadable(key, f"a key of {name}")
            _check_loadable(item, f"{name}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _check_loadable(item, f"{name}[{index}]")
    # Exact types: numpy's float64 is a float too, but one that would not load.
    elif not isinstance(value, torch.Tensor) and type(value) not in _PLAIN_TYPES:
        raise TypeError(f"{name} is a {type(value).__name__}, which a checkpoint cannot hold")


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {key: _move(item, device) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_move(item, device) for item in value)
    return value

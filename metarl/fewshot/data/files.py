"""Where the files of a data set are: a local copy, or downloaded once and verified."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from zipfile import BadZipFile

import numpy as np
import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

from metarl.errors import UserError
from metarl.files import write_atomically

Arrays = dict[str, np.ndarray]
FOUND_BY = "mend data.options.path, or say with --data-root in which folder it lies"
"""What to do where a person's own data are not where they were said to be."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a published data set."""

    path: str
    """Below the folder of all data, e.g. `omniglot/images_background.zip`."""
    url: str
    """Where it is published."""
    checksum: str
    """Of the published file, with its algorithm: `md5:...` or `sha256:...`."""


def find_file(file: RemoteFile, root: str | None) -> Path:
    """The file below `root` or METARL_DATA, or downloaded into the cache folder.

    A local copy is taken as it is; a download must have the published checksum. UserError where
    the file is not, cannot be downloaded, or is not what was published.
    """
    folder = root or os.environ.get("METARL_DATA")
    if not folder:
        return _download(file)
    setting = "data.root" if root else "METARL_DATA"
    path = expanded(folder, setting) / file.path
    if not path.is_file():
        raise UserError(
            f"{setting} is {folder}, which has no {file.path}; put {file.url} there, or leave out "
            f"{setting} to download it"
        )
    return path


def cache_folder() -> Path:
    """METARL_CACHE where that is set, else the usual place of the operating system."""
    return expanded(os.environ.get("METARL_CACHE") or pooch.os_cache("metarl"), "METARL_CACHE")


def expanded(path: str | Path, setting: str) -> Path:
    """The path with a home folder in place of ~; UserError, which names the setting that it is
    from, where there is no such home."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UserError(f"{setting}: {path} is in the home folder of nobody here") from error


def checksum(path: Path) -> str:
    """SHA-256 of a file, as hex digits; UserError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def cached(name: str, key: Mapping[str, object], make: Callable[[], Arrays]) -> Arrays:
    """What `make()` returns, kept on the disk for the next time.

    Args:
        name: how the file's name begins.
        key: everything that the arrays depend on: checksums of sources, settings, a version.
        make: called where no whole file of that key is there.

    A cache that cannot be written costs time, nothing else.
    """
    digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
    path = cache_folder() / "processed" / f"{name}-{digest}.npz"
    try:
        # Opened here: numpy leaves a damaged file open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return dict(arrays)
    except (OSError, ValueError, EOFError, BadZipFile):
        made = make()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, lambda file: np.savez(file, allow_pickle=False, **made))
    except (OSError, UserError):
        pass
    return made


def _download(file: RemoteFile) -> Path:
    target = cache_folder() / "downloads" / file.path
    pooch.get_logger().setLevel("ERROR")  # the bar and the messages here say it all
    try:
        with _Bar(f"downloading {file.path}") as bar:
            # Any: pooch takes what it documents as a bar and a downloader, but does not declare it.
            shown: Any = bar
            downloader: Any = pooch.HTTPDownloader(progressbar=shown, chunk_size=2**16)
            pooch.retrieve(file.url, file.checksum, target.name, target.parent, None, downloader)
    except OSError as error:  # of the network (requests') and of the disk alike
        raise UserError(
            f"cannot download {file.url} ({_reason(error)}); connect to a network, or put the file "
            f"into a folder as {file.path} and set METARL_DATA or data.root to that folder"
        ) from error
    except ValueError as error:
        raise UserError(
            f"{file.url} has another checksum than the published {file.checksum}: the download is "
            f"damaged or the file was changed; try again, or set METARL_DATA to a copy you trust"
        ) from error
    return target


def _reason(error: OSError) -> str:
    """The innermost cause, on one line."""
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return " ".join(str(cause).split()) or type(cause).__name__


class _Bar:
    """A progress bar with the interface that pooch wants, drawn by rich on standard error."""

    def __init__(self, title: str):
        columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn()
        self._progress = Progress(*columns, console=Console(stderr=True), transient=True)
        self._task = self._progress.add_task(title, total=None, visible=False)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def total(self) -> float | None:
        """Bytes of the whole file."""
        return self._progress.tasks[0].total

    @total.setter
    def total(self, count: int) -> None:
        self._progress.update(self._task, total=count, visible=True)

    def update(self, count: int) -> None:
        """So many bytes more have come."""
        self._progress.advance(self._task, count)

    def reset(self) -> None:
        """Back to none."""
        self._progress.update(self._task, completed=0)

    def close(self) -> None:
        """Take the bar away."""
        self._progress.stop()

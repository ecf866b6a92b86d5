"""Files that appear whole or not at all, and one clear line when the disk refuses."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from metarl.errors import UserError

_REMEDIES = {
    errno.ENOSPC: "free some space",
    errno.EDQUOT: "free some of your disk quota",
    errno.EFBIG: "raise the limit on file sizes (ulimit -f)",
    errno.EACCES: "make that folder writable",
    errno.EPERM: "make that folder writable",
    errno.EROFS: "make that file system writable",
    errno.ENOENT: "make that folder",
    errno.ENOTDIR: "choose a path below a folder",
}
# Some network file systems cannot sync a folder; the file itself is safe there all the same.
_CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP)


def write_atomically(
    path: str | Path, write: Callable[[BinaryIO], object], run: Path | None = None
) -> None:
    """Replace `path` by what `write(file)` writes, or leave everything as it was.

    The bytes are on the disk, not merely in a cache, before the old file goes. A process that is
    killed on the way leaves at most a hidden `.NAME.PID.tmp` beside the old file.

    Args:
        path: the file; its folder must exist.
        write: gets a binary file that is open for writing.
        run: the run folder that the error message says how to resume, if there is one.

    Raises UserError when the disk refuses; whatever else `write` raises passes through.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        _write_and_replace(temporary, path, write)
    except OSError as error:
        raise cannot_write(path, error, run) from error


def write_text_atomically(path: str | Path, text: str, run: Path | None = None) -> None:
    """`write_atomically` for UTF-8 text, with newlines as they are."""
    encoded = text.encode("utf-8")
    write_atomically(path, lambda file: file.write(encoded), run)


def cannot_write(path: str | Path, error: OSError, run: Path | None = None) -> UserError:
    """The one line for a file that cannot be written: which, why, and what to do."""
    remedy = _REMEDIES.get(error.errno or 0, "mend that")
    again = f"resume with `metarl train --resume {run}`" if run else "try again"
    return UserError(f"cannot write {path}: {error.strerror or error}; {remedy} and {again}")


def _write_and_replace(temporary: Path, path: Path, write: Callable[[BinaryIO], object]) -> None:
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:  # also Ctrl-C: no debris beside the old file
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename survive a power cut: the folder's entry is data of its own."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC_FOLDERS:
            raise
    finally:
        os.close(descriptor)

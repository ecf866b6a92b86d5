"""Writing files: whole or not at all, and a clear line when the disk refuses."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import BinaryIO

import pytest

from metarl.errors import UserError
from metarl.files import write_atomically, write_text_atomically


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replaces_the_file_and_leaves_no_other(tmp_path: Path) -> None:
    write_text_atomically(tmp_path / "a.txt", "old")
    write_text_atomically(tmp_path / "a.txt", "é\r\n")
    assert (tmp_path / "a.txt").read_bytes() == "é\r\n".encode()
    assert _names(tmp_path) == ["a.txt"]


def test_the_bytes_are_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_text_atomically(tmp_path / "a.txt", "text")
    assert calls == ["fsync", "replace", "fsync"]  # the file, its new name, the folder


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "No space left on device; free some space and try again"),
        (errno.EFBIG, "ulimit"),
        (errno.EACCES, "writable"),
    ],
)
def test_a_refusing_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, remedy: str
) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def refuse(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(UserError) as caught:
        write_text_atomically(path, "new")
    assert f"cannot write {path}: " in str(caught.value)
    assert remedy in str(caught.value)
    assert path.read_text() == "old"
    assert _names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_other_errors_pass_through_and_leave_nothing(
    tmp_path: Path, error: type[BaseException]
) -> None:
    def write(file: BinaryIO) -> None:
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(tmp_path / "a.txt", write)
    assert _names(tmp_path) == []


def test_a_missing_folder_is_named_and_the_run_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"missing/a\.txt.*metarl train --resume RUN"):
        write_text_atomically(tmp_path / "missing" / "a.txt", "", run=Path("RUN"))


def test_a_real_limit_on_file_sizes(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    program = f"""
import resource
from metarl.errors import UserError
from metarl.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    write_atomically({str(path)!r}, lambda file: file.write(bytes(100_000)))
except UserError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith(f"cannot write {path}: File too large; ")
    assert path.read_bytes() == b"old"
    assert _names(tmp_path) == ["a.bin"]

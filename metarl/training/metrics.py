"""The numbers of a run, iteration by iteration: `metrics.csv` and TensorBoard."""

import csv
import io
import numbers
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from metarl.errors import UserError
from metarl.files import cannot_write, write_atomically


class MetricsLog:
    """Appends to `RUN/metrics.csv` and `RUN/tensorboard`; a context manager.

    The first row fixes the columns. Rows of `first_iteration` and later, left by a run that was
    killed after its last checkpoint, are removed; those before stay byte for byte.

    Raises UserError when the files cannot be read or written.
    """

    def __init__(self, run: str | Path, first_iteration: int) -> None:
        self._run = Path(run)
        self._path = self._run / "metrics.csv"
        self._next_iteration = first_iteration
        self._columns = _truncate(self._path, first_iteration, self._run)
        with _refusals(self._path, self._run):
            # Unbuffered: a row is with the system, or not there, when the process is killed.
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 (closed by close)
        self._tensorboard_folder = self._run / "tensorboard"
        try:
            with _refusals(self._tensorboard_folder, self._run):
                self._tensorboard = SummaryWriter(
                    str(self._tensorboard_folder), purge_step=first_iteration
                )
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        # A disk that is full refuses again on closing; the first refusal is the one to report.
        with suppress(UserError) if kind else nullcontext():
            self.close()

    def write(self, iteration: int, metrics: Mapping[str, Any]) -> None:
        """Append the row of one iteration; values are numbers or arrays and tensors of one.

        A column without a metric stays empty; values that are not finite are written as they are.

        Raises ValueError for a metric that is no column, and for an iteration out of order;
        UserError when the disk refuses, without a part of the row in `metrics.csv`.
        """
        if iteration < self._next_iteration:
            raise ValueError(f"iteration {iteration} comes after {self._next_iteration - 1}")
        columns = self._columns or ["iteration", *metrics]
        unknown = [name for name in metrics if name not in columns[1:]]
        if unknown or "iteration" in metrics:
            raise ValueError(f"no column for {', '.join(unknown) or 'iteration'} in {self._path}")
        header = [] if self._columns else [columns]
        values = [_cell(metrics[name]) if name in metrics else "" for name in columns[1:]]
        self._append(_to_csv([*header, [str(iteration), *values]]))
        self._columns, self._next_iteration = columns, iteration + 1
        self.scalars(metrics, iteration)

    def scalars(self, values: Mapping[str, Any], iteration: int) -> None:
        """Numbers for TensorBoard alone, e.g. of an evaluation."""
        with _refusals(self._tensorboard_folder, self._run):
            for name, value in values.items():
                self._tensorboard.add_scalar(name, float(value), iteration)

    def image(self, tag: str, path: str | Path, iteration: int) -> None:
        """A picture file for TensorBoard."""
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        with _refusals(self._tensorboard_folder, self._run):
            self._tensorboard.add_image(tag, pixels, iteration, dataformats="HWC")

    def flush(self) -> None:
        """Put all rows on the disk itself; before a checkpoint, so that none is ever ahead."""
        with _refusals(self._path, self._run):
            os.fsync(self._file.fileno())
        with _refusals(self._tensorboard_folder, self._run):
            self._tensorboard.flush()

    def close(self) -> None:
        """Flush and close both; doing it twice does no harm."""
        self._file.close()
        with _refusals(self._tensorboard_folder, self._run):
            self._tensorboard.close()

    def _append(self, row: bytes) -> None:
        size = self._file.seek(0, os.SEEK_END)
        try:
            while row:  # a disk takes what fits and refuses the rest on the next attempt
                row = row[self._file.write(row) :]
        except OSError as error:
            self._file.truncate(size)
            raise cannot_write(self._path, error, self._run) from error
        except BaseException:  # Ctrl-C between two parts of a row
            self._file.truncate(size)
            raise


def _truncate(path: Path, first_iteration: int, run: Path) -> list[str]:
    """Drop rows from `first_iteration` on and a half-written end; returns the columns, if any."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error
    # A last line without its newline was cut by a kill.
    lines = [line for line in content.splitlines(keepends=True) if line.endswith(b"\n")]
    rows = [
        line
        for number, line in enumerate(lines[1:], start=2)
        if _iteration_of(line, number, path) < first_iteration
    ]
    kept = b"".join([*lines[:1], *rows])
    if kept != content:
        write_atomically(path, lambda file: file.write(kept), run)
    return _columns_of(lines[0], path) if lines else []


def _columns_of(header: bytes, path: Path) -> list[str]:
    columns = next(csv.reader([header.decode(errors="replace").rstrip("\r\n")]), [])
    if columns[:1] != ["iteration"]:
        raise UserError(f"{path}, line 1 is not the header of metrics; mend or move that file")
    return columns


def _iteration_of(line: bytes, number: int, path: Path) -> int:
    try:
        return int(line.split(b",")[0])
    except ValueError as error:
        raise UserError(
            f"{path}, line {number} does not start with an iteration; mend or remove that line"
        ) from error


def _cell(value: Any) -> str:
    """The shortest text that gives the same number back, bit for bit."""
    return str(int(value)) if isinstance(value, numbers.Integral) else repr(float(value))


def _to_csv(rows: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


@contextmanager
def _refusals(path: Path, run: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, run) from error


def log_evaluation(
    run: Path,
    returns: Iterable[float],
    split: str,
    picture: Path,
    iteration: int,
    measure: str = "return",
) -> None:
    """Put an adaptation curve into the run's TensorBoard: `<split>/return` by adaptation step.

    Args:
        returns: mean return after 0, 1, ... adaptation steps.
        picture: PNG of the curve, shown at `iteration`.
        measure: what is logged where it is no return.
    """
    folder = run / "tensorboard" / f"evaluation-{split}"
    with _refusals(folder, run), SummaryWriter(str(folder)) as writer:
        for step, value in enumerate(returns):
            writer.add_scalar(f"{split}/{measure}_by_adaptation_step", float(value), step)
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        writer.add_image(f"{split}/adaptation_curve", pixels, iteration, dataformats="HWC")

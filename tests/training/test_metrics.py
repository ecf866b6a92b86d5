"""Metrics: exact rows, resume after a kill, a full disk, TensorBoard."""

import csv
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from metarl.errors import UserError
from metarl.training.metrics import MetricsLog


def _write(run: Path, first: int, last: int) -> None:
    with MetricsLog(run, first) as log:
        for iteration in range(first, last + 1):
            log.write(iteration, {"train/return_pre": iteration / 3, "loss/kl": 0.1})


def _rows(run: Path) -> list[dict[str, str]]:
    with open(run / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_values_come_back_exactly(tmp_path: Path) -> None:
    values = {
        "a": 0.1 + 0.2,
        "b": torch.tensor(0.1),
        "c": np.float64(1 / 3),
        "d": np.int64(7),
        "e": math.nan,
        "f": -math.inf,
        "g": 10**17,
    }
    with MetricsLog(tmp_path, 1) as log:
        log.write(1, values)
        text = (tmp_path / "metrics.csv").read_text()  # already there, before any close
    header, row = text.splitlines()
    assert header == "iteration,a,b,c,d,e,f,g"
    assert row == f"1,{0.1 + 0.2!r},0.10000000149011612,{1 / 3!r},7,nan,-inf,100000000000000000"


def test_columns_stay_as_the_first_row_fixed_them(tmp_path: Path) -> None:
    with MetricsLog(tmp_path, 1) as log:
        log.write(1, {"a": 1.0, "b": 2.0})
        log.write(2, {"b": 3.0})
        with pytest.raises(ValueError, match="no column for typo in"):
            log.write(3, {"a": 1.0, "typo": 1.0})
        with pytest.raises(ValueError, match="no column for iteration"):
            log.write(3, {"iteration": 3.0})
        with pytest.raises(ValueError, match="iteration 2 comes after 2"):
            log.write(2, {"a": 1.0})
    assert (tmp_path / "metrics.csv").read_text() == "iteration,a,b\n1,1.0,2.0\n2,,3.0\n"
    with MetricsLog(tmp_path, 3) as log, pytest.raises(ValueError, match="typo"):
        log.write(3, {"typo": 1.0})


@pytest.mark.parametrize("cut", [0, 1, 5])
def test_resume_drops_later_rows_and_half_a_row(tmp_path: Path, cut: int) -> None:
    _write(tmp_path, 1, 6)
    whole = (tmp_path / "metrics.csv").read_bytes()
    (tmp_path / "metrics.csv").write_bytes(whole[: len(whole) - cut])
    _write(tmp_path, 4, 6)
    assert (tmp_path / "metrics.csv").read_bytes() == whole


def test_kept_rows_keep_their_exact_text(tmp_path: Path) -> None:
    kept = b"iteration,a\n1,1.50\n2,1e0\n"
    (tmp_path / "metrics.csv").write_bytes(kept + b"3,5.0\n4,")
    MetricsLog(tmp_path, 3).close()
    assert (tmp_path / "metrics.csv").read_bytes() == kept


def test_half_a_header_is_a_fresh_start(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_bytes(b"iteration,train/ret")
    _write(tmp_path, 1, 1)
    assert [row["iteration"] for row in _rows(tmp_path)] == ["1"]


@pytest.mark.parametrize(
    ("content", "line"), [(b"iteration,a\n1,2\nhello\n", "line 3"), (b"a,b\n1,2\n", "line 1")]
)
def test_a_spoilt_file_is_named_and_left_alone(tmp_path: Path, content: bytes, line: str) -> None:
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"metrics\.csv, {line}"):
        MetricsLog(tmp_path, 3)
    assert (tmp_path / "metrics.csv").read_bytes() == content


def test_a_real_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    program = f"""
import resource
from metarl.errors import UserError
from metarl.training.metrics import MetricsLog
try:
    with MetricsLog({str(tmp_path)!r}, 1) as log:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
        for iteration in range(1, 100):
            log._append(b"%d,0.123456789\\n" % iteration)
except UserError as error:
    print(error)
"""
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith(f"cannot write {tmp_path / 'metrics.csv'}: File too large; ")
    assert f"metarl train --resume {tmp_path}" in result.stdout
    lines = (tmp_path / "metrics.csv").read_text().splitlines(keepends=True)
    assert lines == [f"{number},0.123456789\n" for number in range(1, len(lines) + 1)]
    assert len(lines) == 7  # the eighth would end at byte 104


def test_tensorboard_gets_scalars_and_pictures(tmp_path: Path) -> None:
    picture = tmp_path / "curve.png"
    Image.new("RGBA", (4, 3), "red").save(picture)
    with MetricsLog(tmp_path, 1) as log:
        log.write(1, {"loss/kl": 0.5})
        log.scalars({"test/iqm": 2.0}, 1)
        log.image("test/curve", picture, 1)
        log.flush()
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss/kl")] == [(1, 0.5)]
    assert [(e.step, e.value) for e in events.Scalars("test/iqm")] == [(1, 2.0)]
    assert events.Images("test/curve")[0].width == 4


def test_resume_purges_later_points_from_tensorboard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, 1, 6)
    # Event files are read in the order of their names, which start with the second.
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    _write(tmp_path, 4, 5)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/kl")] == [1, 2, 3, 4, 5]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"cannot write .*metrics\.csv"):
        MetricsLog(tmp_path / "missing", 1)
    (tmp_path / "tensorboard").touch()
    with pytest.raises(UserError, match=r"cannot write .*tensorboard"):
        MetricsLog(tmp_path, 1)

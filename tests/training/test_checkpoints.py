"""Checkpoints: what comes back, what is kept, and what a damaged one says."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from metarl.errors import UserError
from metarl.training.checkpoints import Checkpoints


def _state(value: float = 1.0) -> dict[str, Any]:
    return {
        "policy": {"weight": torch.full((3, 2), value), "bias": torch.tensor([0.1, float("nan")])},
        "history": [1, 2.5, "text", None, True, torch.arange(3)],
    }


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "run" / "checkpoints")


def test_latest_comes_back_bit_for_bit(checkpoints: Checkpoints) -> None:
    checkpoints.save(9, _state(0.0))
    path = checkpoints.save(10, _state(2.0))
    iteration, state = checkpoints.load_latest()
    assert (path.name, iteration) == ("000010.pt", 10)
    for name, tensor in _state(2.0)["policy"].items():
        assert torch.equal(state["policy"][name].view(torch.int32), tensor.view(torch.int32))
    assert state["history"][:5] == [1, 2.5, "text", None, True]
    assert state["history"][5].dtype == torch.int64


def test_loading_to_a_device_moves_every_tensor(checkpoints: Checkpoints) -> None:
    checkpoints.save(1, _state())
    _, state = checkpoints.load_latest(device="meta")
    assert state["policy"]["weight"].device.type == "meta"
    assert state["history"][5].device.type == "meta"


def test_the_newest_stay_and_leftovers_go(checkpoints: Checkpoints) -> None:
    for iteration in (1, 2, 1_000_000):
        checkpoints.save(iteration, _state())
    assert checkpoints.iterations() == [2, 1_000_000]
    leftover = checkpoints.folder / ".000003.pt.1234.tmp"
    leftover.touch()
    (checkpoints.folder / "best.pt").touch()  # the user's own
    assert checkpoints.load_latest()[0] == 1_000_000
    checkpoints.save(1_000_001, _state())
    assert not leftover.exists()
    assert (checkpoints.folder / "best.pt").exists()


def test_a_full_disk_costs_no_older_checkpoint(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints.save(1, _state(1.0))
    checkpoints.save(2, _state(2.0))

    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", refuse)
    run = checkpoints.folder.parent
    with pytest.raises(
        UserError, match=rf"000003\.pt: No space left .*`metarl train --resume {run}"
    ):
        checkpoints.save(3, _state(3.0))
    assert sorted(os.listdir(checkpoints.folder)) == ["000001.pt", "000002.pt"]
    assert checkpoints.load_latest()[1]["policy"]["weight"][0, 0] == 2.0


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip_a_bit_of_a_weight(content: bytes) -> bytes:
    position = content.index(torch.full((3, 2), 2.0).numpy().tobytes())
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


@pytest.mark.parametrize(
    "damage", [_truncate, _flip_a_bit_of_a_weight, lambda content: b"", lambda content: b"garbage"]
)
def test_damage_names_the_file_and_the_way_back(checkpoints: Checkpoints, damage: Any) -> None:
    checkpoints.save(1, _state(1.0))
    path = checkpoints.save(2, _state(2.0))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=rf"{path} is damaged; delete it .*, 000001\.pt$"):
        checkpoints.load_latest()
    path.unlink()
    assert checkpoints.load_latest()[0] == 1


def test_damage_to_the_only_one_says_so(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(2, _state())
    path.write_bytes(b"")
    with pytest.raises(UserError, match=r"000002\.pt is damaged; no older one is left"):
        checkpoints.load_latest()


def test_files_that_are_something_else(checkpoints: Checkpoints) -> None:
    path = checkpoints.save(1, _state())
    torch.save({"model": 1}, path)
    with pytest.raises(UserError, match="is not a checkpoint of metarl"):
        checkpoints.load_latest()
    torch.save({"format": 99, "iteration": 1, "state": {}}, path)
    with pytest.raises(UserError, match=r"format 99.*versions\.json"):
        checkpoints.load_latest()


def test_a_renamed_checkpoint_is_refused(checkpoints: Checkpoints) -> None:
    shutil.copy(checkpoints.save(1, _state()), checkpoints.folder / "000005.pt")
    with pytest.raises(UserError, match=r"000005\.pt holds iteration 1"):
        checkpoints.load_latest()


def test_no_checkpoint(checkpoints: Checkpoints) -> None:
    assert checkpoints.iterations() == []
    with pytest.raises(UserError, match=r"no checkpoint in .*start it anew"):
        checkpoints.load_latest()


@pytest.mark.parametrize("value", [np.float64(1), np.zeros(2), {1, 2}, torch.float32])
def test_what_would_not_load_is_not_saved(checkpoints: Checkpoints, value: object) -> None:
    with pytest.raises(TypeError, match=r"state\['a'\]\[1\] is a "):
        checkpoints.save(1, {"a": [0, value]})
    assert checkpoints.iterations() == []


def test_keeping_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Checkpoints(tmp_path, keep=0)

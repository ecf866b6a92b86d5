"""Local copies, downloads (from a server on this machine) and the cache of processed arrays."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from metarl.errors import UserError
from metarl.fewshot.data.files import RemoteFile, cached, checksum, find_file

CONTENT = b"some drawings"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("METARL_DATA", raising=False)
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "images.zip").write_bytes(CONTENT)
    handler = partial(Quiet, directory=str(tmp_path / "published"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}/images.zip"
        running.shutdown()
        thread.join()


def test_download_lands_in_the_cache_once(server: str, tmp_path: Path) -> None:
    file = RemoteFile("omniglot/images.zip", server, f"sha256:{SHA256}")
    path = find_file(file, None)
    assert path == tmp_path / "cache" / "downloads" / "omniglot" / "images.zip"
    assert path.read_bytes() == CONTENT
    (tmp_path / "published" / "images.zip").unlink()  # nobody asks for it again
    assert find_file(file, None) == path


def test_damaged_copy_in_the_cache_is_downloaded_again(server: str) -> None:
    file = RemoteFile("images.zip", server, f"md5:{hashlib.md5(CONTENT).hexdigest()}")
    path = find_file(file, None)
    path.write_bytes(b"half a fi")
    assert find_file(file, None).read_bytes() == CONTENT


def test_download_with_another_checksum(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"another checksum than the published sha256:0000.*copy"):
        find_file(RemoteFile("images.zip", server, "sha256:" + "0" * 64), None)
    assert not (tmp_path / "cache" / "downloads" / "images.zip").exists()


def test_file_that_is_no_longer_published(server: str) -> None:
    file = RemoteFile("gone.zip", server.replace("images", "gone"), f"sha256:{SHA256}")
    with pytest.raises(UserError, match=r"cannot download .*gone\.zip \(404"):
        find_file(file, None)


def test_no_network() -> None:
    file = RemoteFile("banking77/train.csv", "http://127.0.0.1:1/train.csv", f"sha256:{SHA256}")
    with pytest.raises(UserError) as refused:
        find_file(file, None)
    message = str(refused.value)
    assert message.startswith("cannot download http://127.0.0.1:1/train.csv (")
    assert message.endswith(
        "); connect to a network, or put the file into a folder as banking77/train.csv and set "
        "METARL_DATA or data.root to that folder"
    )
    assert "\n" not in message


@pytest.mark.parametrize("by", ["data.root", "METARL_DATA"])
def test_local_copy(by: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(tmp_path) if by == "data.root" else None
    if root is None:
        monkeypatch.setenv("METARL_DATA", str(tmp_path))
    file = RemoteFile("set/file.csv", "http://127.0.0.1:1/file.csv", f"sha256:{SHA256}")
    with pytest.raises(UserError, match=rf"^{by} is {tmp_path}, which has no set/file\.csv; put"):
        find_file(file, root)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "file.csv").write_text("own")
    assert find_file(file, root) == tmp_path / "set" / "file.csv"


def test_checksum(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert checksum(tmp_path / "file") == SHA256
    with pytest.raises(UserError, match=r"cannot read .*nothing"):
        checksum(tmp_path / "nothing")


def test_arrays_are_made_once_for_a_key(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, np.ndarray]:
        made.append(1)
        return {"names": np.array(["a", "bc"]), "images": np.arange(6, dtype=np.uint8)}

    for key in ({"size": 28}, {"size": 28}, {"size": 32}):
        arrays = cached("set", key, make)
        assert arrays["names"].tolist() == ["a", "bc"]
        assert arrays["images"].dtype == np.uint8
    assert len(made) == 2
    for path in (tmp_path / "cache" / "processed").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    assert cached("set", {"size": 28}, make)["images"].tolist() == list(range(6))
    assert len(made) == 3


def test_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("METARL_CACHE", str(tmp_path / "file"))
    assert cached("set", {}, lambda: {"a": np.array([1])})["a"].tolist() == [1]

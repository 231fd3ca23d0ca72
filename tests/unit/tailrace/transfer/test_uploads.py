from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tailrace.channel import connect_aio
from tailrace.errors import ResourceExhausted, Unavailable
from tailrace.transfer import aio
from tests.servers.control_plane import ServedControlPlane
from tests.servers.node import free_port
from tests.servers.proxy import Proxy
from tests.unit.tailrace.transfer.content import (
    MAX_BLOB_BYTES,
    artifact_of,
    contents,
    noise,
    steady_upload,
    when,
    write,
)


@pytest.fixture
def offsets(served: ServedControlPlane, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offsets at which the control plane opened uploads."""
    blobs: Any = served.control_plane.context.blobs.of("default")
    seen: list[int] = []
    append = blobs.append

    def recorded(upload: Any, offset: int) -> Any:
        seen.append(offset)
        return append(upload, offset)

    monkeypatch.setattr(blobs, "append", recorded)
    return seen


def test_a_folder_comes_back_as_it_was(moves: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    write(source / "config.json", b"{}")
    write(source / "deep/er/weights.safetensors", noise(3_000_000, tmp_path))
    write(source / "empty", b"")
    write(source / "ünï code", b"x")
    files = moves.upload_folder(source)
    assert [file.path for file in files] == sorted(contents(source))
    moves.download_artifact(artifact_of(files), tmp_path / "copy")
    assert contents(tmp_path / "copy") == contents(source)


def test_content_that_is_there_is_not_sent_again(
    moves: Any, tmp_path: Path, offsets: list[int]
) -> None:
    source = write(tmp_path / "file", noise(1000, tmp_path))
    first = moves.upload_file(source)
    assert offsets == [0]
    assert moves.upload_file(source) == first
    assert offsets == [0]


def test_only_files_that_belong_are_taken(moves: Any, tmp_path: Path) -> None:
    write(tmp_path / "a.json", b"1")
    write(tmp_path / "b/c.txt", b"2")
    assert [f.path for f in moves.upload_folder(tmp_path, lambda path: path != "a.json")] == [
        "b/c.txt"
    ]


def _linked(folder: Path, target: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").symlink_to(target)
    return folder


def test_links_within_the_folder_are_followed(moves: Any, tmp_path: Path) -> None:
    write(tmp_path / "model/blobs/1", b"content")
    folder = _linked(tmp_path / "model", "blobs/1")
    inner, link = moves.upload_folder(folder)
    assert (link.path, link.sha256) == ("model.json", hashlib.sha256(b"content").hexdigest())
    assert inner.path == "blobs/1"


def test_a_snapshot_of_a_hub_cache_links_to_its_blobs(moves: Any, tmp_path: Path) -> None:
    repository = tmp_path / "models--acme--tiny"
    write(repository / "blobs/1", b"content")
    write(tmp_path / "models--acme--other/blobs/1", b"other")
    (file,) = moves.upload_folder(_linked(repository / "snapshots/abc", "../../blobs/1"))
    assert (file.path, file.sha256) == ("model.json", hashlib.sha256(b"content").hexdigest())
    # Also when the snapshot itself is reached by a link.
    (tmp_path / "alias").symlink_to(repository / "snapshots/abc")
    assert [f.path for f in moves.upload_folder(tmp_path / "alias")] == ["model.json"]
    stray = _linked(repository / "snapshots/def", "../../../models--acme--other/blobs/1")
    with pytest.raises(ValueError, match="leads out"):
        moves.upload_folder(stray)


def test_links_that_lead_out_are_refused_by_name(
    moves: Any, tmp_path: Path, offsets: list[int]
) -> None:
    write(tmp_path / "secret", b"key")
    write(tmp_path / "blobs/1", b"key")
    for number, target in enumerate((str(tmp_path / "secret"), "../secret", "../blobs/1")):
        with pytest.raises(ValueError, match=r"model\.json' is a link that leads out"):
            moves.upload_folder(_linked(tmp_path / str(number), target))
    with pytest.raises(ValueError, match=r"model\.json' is a broken link"):
        moves.upload_folder(_linked(tmp_path / "broken", "nowhere"))
    assert offsets == []


def test_what_cannot_be_uploaded_is_said(moves: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no file"):
        moves.upload_folder(tmp_path / "empty")
    with pytest.raises(NotADirectoryError):
        moves.upload_folder(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError):
        moves.upload_file(tmp_path / "nothing")
    write(tmp_path / "odd/back\\slash", b"x")
    with pytest.raises(ValueError, match="backslash"):
        moves.upload_folder(tmp_path / "odd")


def test_an_upload_continues_after_the_connection_broke(
    moves: Any, proxy: Proxy, tmp_path: Path, store_folder: Path, offsets: list[int]
) -> None:
    content = noise(48_000_000, tmp_path)
    source = write(tmp_path / "big", content)
    partial = steady_upload(store_folder, content)
    cutter = when(lambda: partial.exists() and partial.stat().st_size > 1_000_000, proxy.cut)
    entry = moves.upload_file(source)
    cutter.join()
    assert proxy.cuts == 1
    assert len(offsets) > 1
    assert offsets[-1] > 0
    moves.download_blob(entry.sha256, entry.size_bytes, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_an_upload_that_another_process_holds_goes_its_own_way(
    moves: Any, tmp_path: Path, store_folder: Path
) -> None:
    content = noise(1000, tmp_path)
    partial = steady_upload(store_folder, content)
    with partial.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        entry = moves.upload_file(write(tmp_path / "file", content))
    moves.download_blob(entry.sha256, entry.size_bytes, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_a_damaged_earlier_try_does_not_matter(
    moves: Any, tmp_path: Path, store_folder: Path
) -> None:
    content = noise(1000, tmp_path)
    steady_upload(store_folder, content).write_bytes(b"\0" * 500)
    entry = moves.upload_file(write(tmp_path / "file", content))
    moves.download_blob(entry.sha256, entry.size_bytes, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content


def test_a_file_over_the_limit_is_refused_before_it_is_sent(
    moves: Any, tmp_path: Path, offsets: list[int]
) -> None:
    huge = write(tmp_path / "file", b"")
    os.truncate(huge, MAX_BLOB_BYTES + 1)
    with pytest.raises(ResourceExhausted) as error:
        moves.upload_file(huge)
    assert error.value.reason == "BLOB_TOO_LARGE"
    assert offsets == []


def test_a_server_that_was_never_there_is_noticed_soon(tmp_path: Path) -> None:
    source = write(tmp_path / "file", b"x")

    async def upload() -> None:
        async with connect_aio(f"127.0.0.1:{free_port()}") as channel:
            await aio.upload_file(channel, source)

    began = time.monotonic()
    with pytest.raises(Unavailable):
        asyncio.run(upload())
    assert time.monotonic() - began < 30


def name_of_upload(state: Path) -> str:
    """The name under which a process with this state folder uploads some content."""
    program = "from tailrace.transfer.uploads import _steady_name; print(_steady_name('0' * 64, 1))"
    environment = {**os.environ, "XDG_STATE_HOME": str(state)}
    argv = [sys.executable, "-c", program]
    return subprocess.run(argv, env=environment, check=True, capture_output=True, text=True).stdout


def test_nobody_else_can_guess_where_an_upload_is(tmp_path: Path) -> None:
    mine = name_of_upload(tmp_path / "mine")
    assert mine == name_of_upload(tmp_path / "mine")
    assert mine != name_of_upload(tmp_path / "other")
    secret = tmp_path / "mine" / "tailrace" / "upload-secret"
    assert secret.stat().st_mode & 0o777 == 0o600
    # A user without a place for it uploads under names of the process alone.
    (tmp_path / "file").touch()
    assert name_of_upload(tmp_path / "file") != name_of_upload(tmp_path / "file")

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from tailrace.channel import connect_aio
from tailrace.errors import DataLoss, NotFound
from tailrace.transfer import aio
from tests.servers.control_plane import ServedControlPlane
from tests.servers.proxy import Proxy
from tests.unit.tailrace.transfer.content import (
    artifact_of,
    contents,
    entry_for,
    noise,
    when,
    write,
)


def test_a_download_continues_after_the_connection_broke(
    moves: Any,
    proxy: Proxy,
    tmp_path: Path,
    served: ServedControlPlane,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = noise(48_000_000, tmp_path)
    entry = moves.upload_file(write(tmp_path / "big", content))
    blobs: Any = served.control_plane.context.blobs.of("default")
    starts: list[int] = []
    read = blobs.read

    def recorded(sha256: str, offset: int = 0, limit: int = 0) -> Any:
        starts.append(offset)
        return read(sha256, offset, limit)

    monkeypatch.setattr(blobs, "read", recorded)
    target = tmp_path / "in/copy"

    def some_arrived() -> bool:
        return any(p.stat().st_size > 1_000_000 for p in target.parent.glob(".incoming-*"))

    cutter = when(some_arrived, proxy.cut)
    moves.download_blob(entry.sha256, entry.size_bytes, target)
    cutter.join()
    assert proxy.cuts == 1
    assert starts[0] == 0
    assert starts[-1] > 0
    assert contents(target.parent) == {"copy": content}


def test_files_in_place_stay_and_others_are_replaced(
    moves: Any, tmp_path: Path, store_folder: Path
) -> None:
    good, stale = noise(100, (tmp_path, 1)), noise(100, (tmp_path, 2))
    write(tmp_path / "source/good", good)
    write(tmp_path / "source/stale", stale)
    files = moves.upload_folder(tmp_path / "source")
    good_copy = write(tmp_path / "copy/good", good)
    os.utime(good_copy, (1, 1))
    write(tmp_path / "copy/stale", b"other")
    write(tmp_path / "copy/mine", b"mine")
    moves.download_artifact(artifact_of(files), tmp_path / "copy")
    assert contents(tmp_path / "copy") == {"good": good, "stale": stale, "mine": b"mine"}
    assert good_copy.stat().st_mtime == 1


@pytest.mark.parametrize("path", ["../out", "/tmp/out", "a/../../out", "a\\..\\out", ""])
def test_a_listing_never_leads_out_of_the_folder(moves: Any, tmp_path: Path, path: str) -> None:
    content = b"harmless"
    moves.upload_file(write(tmp_path / "file", content))
    with pytest.raises(DataLoss):
        moves.download_artifact(artifact_of([entry_for(content, path)]), tmp_path / "copy")
    assert contents(tmp_path) == {"file": content}


def test_a_listing_must_be_the_one_of_its_name(moves: Any, tmp_path: Path) -> None:
    artifact = artifact_of([entry_for(b"a")])
    artifact.files[0].path = "renamed"
    with pytest.raises(DataLoss, match="do not match its name"):
        moves.download_artifact(artifact, tmp_path / "copy")


def test_links_in_the_folder_do_not_lead_out(moves: Any, tmp_path: Path) -> None:
    content = b"harmless"
    moves.upload_file(write(tmp_path / "file", content))
    (tmp_path / "outside").mkdir()
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/link").symlink_to(tmp_path / "outside")
    with pytest.raises(ValueError, match="leads out"):
        moves.download_artifact(artifact_of([entry_for(content, "link/x")]), tmp_path / "copy")
    (tmp_path / "copy/direct").symlink_to(tmp_path / "outside/x")
    moves.download_artifact(artifact_of([entry_for(content, "direct")]), tmp_path / "copy")
    assert contents(tmp_path / "outside") == {}
    assert (tmp_path / "copy/direct").read_bytes() == content


def test_damaged_content_never_arrives(moves: Any, tmp_path: Path, store_folder: Path) -> None:
    content = noise(1000, tmp_path)
    entry = moves.upload_file(write(tmp_path / "file", content))
    stored = store_folder / "blobs" / entry.sha256[:2] / entry.sha256[2:4] / entry.sha256
    for damaged in (content[:-1], content + b"x", b"y" * 1000):
        stored.write_bytes(damaged)
        with pytest.raises(DataLoss):
            moves.download_blob(entry.sha256, entry.size_bytes, tmp_path / "in/copy")
        assert contents(tmp_path / "in") == {}


def test_errors_are_typed(moves: Any, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        moves.download_blob("0" * 64, 5, tmp_path / "copy")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="not a lower-case"):
        moves.download_blob("../../etc/passwd", 5, tmp_path / "copy")


async def test_cancelling_a_download_leaves_nothing_behind(
    served: ServedControlPlane, tmp_path: Path
) -> None:
    content = noise(48_000_000, tmp_path)
    source = await asyncio.to_thread(write, tmp_path / "big", content)
    async with connect_aio(served.address) as channel:
        entry = await aio.upload_file(channel, source)
        folder = tmp_path / "in"
        download = asyncio.create_task(
            aio.download_blob(channel, entry.sha256, entry.size_bytes, folder / "copy")
        )
        for _ in range(5000):
            if any(p.stat().st_size for p in folder.glob(".incoming-*")):
                break
            await asyncio.sleep(0.001)
        download.cancel()
        with pytest.raises(asyncio.CancelledError):
            await download
    assert list(folder.iterdir()) == []

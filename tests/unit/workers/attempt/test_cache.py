"""The cache: each blob once, whole, shared by link, the oldest dropped first."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest

from tailrace.v1 import artifact_pb2
from workers.attempt.cache import BlobCache


class Source:
    """Downloads from memory and counts."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.downloads: list[str] = []

    def add(self, content: bytes) -> artifact_pb2.ArtifactFile:
        sha256 = hashlib.sha256(content).hexdigest()
        self.blobs[sha256] = content
        return artifact_pb2.ArtifactFile(path="f", sha256=sha256, size_bytes=len(content))

    def download(self, file: artifact_pb2.ArtifactFile, target: Path) -> None:
        self.downloads.append(file.sha256)
        target.write_bytes(self.blobs[file.sha256])


def blobs(folder: Path) -> set[str]:
    """Names of what is cached."""
    return {path.name for path in folder.glob("blobs/??/*")}


def test_a_blob_is_downloaded_once_and_cannot_be_changed(tmp_path: Path) -> None:
    source, cache = Source(), BlobCache(tmp_path / "cache", 10**6)
    file = source.add(b"content")
    for name in ("one", "two"):
        cache.place(file, tmp_path / name, source.download)
    assert source.downloads == [file.sha256]
    assert (tmp_path / "two").read_bytes() == b"content"
    assert (tmp_path / "one").stat().st_mode & 0o222 == 0
    assert (tmp_path / "one").stat().st_nlink == 3
    assert blobs(tmp_path / "cache") == {file.sha256}


def test_a_failed_download_leaves_nothing(tmp_path: Path) -> None:
    source, cache = Source(), BlobCache(tmp_path / "cache", 10**6)
    file = source.add(b"content")

    def fail(_: artifact_pb2.ArtifactFile, target: Path) -> None:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        cache.place(file, tmp_path / "one", fail)
    assert blobs(tmp_path / "cache") == set()
    assert not (tmp_path / "one").exists()
    cache.place(file, tmp_path / "one", source.download)
    assert (tmp_path / "one").read_bytes() == b"content"


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "a" * 63])
def test_a_name_from_outside_is_no_path(tmp_path: Path, name: str) -> None:
    cache = BlobCache(tmp_path / "cache", 10**6)
    file = artifact_pb2.ArtifactFile(path="f", sha256=name)
    with pytest.raises(ValueError, match="sha256"):
        cache.place(file, tmp_path / "one", Source().download)


def test_the_least_recently_used_goes_first_and_users_keep_theirs(tmp_path: Path) -> None:
    source, cache = Source(), BlobCache(tmp_path / "cache", 250)
    files = [source.add(bytes([i]) * 100) for i in range(3)]
    for i, file in enumerate(files):
        cache.place(file, tmp_path / f"user-{i}", source.download)
        path = tmp_path / "cache/blobs" / file.sha256[:2] / file.sha256
        os.utime(path, (1000 + i, 1000 + i))
    cache.place(files[0], tmp_path / "again", source.download)
    cache.trim()
    assert blobs(tmp_path / "cache") == {files[0].sha256, files[2].sha256}
    assert (tmp_path / "user-1").read_bytes() == b"\1" * 100
    cache.trim()
    assert len(blobs(tmp_path / "cache")) == 2


def test_many_at_once_get_whole_content(tmp_path: Path) -> None:
    source, cache = Source(), BlobCache(tmp_path / "cache", 0)
    file = source.add(os.urandom(100_000))
    errors: list[BaseException] = []

    def use(name: int) -> None:
        try:
            for i in range(20):
                target = tmp_path / f"{name}-{i}"
                cache.place(file, target, source.download)
                assert target.read_bytes() == source.blobs[file.sha256]
                cache.trim()
        except BaseException as error:  # noqa: BLE001  # shown below
            errors.append(error)

    threads = [threading.Thread(target=use, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_a_cache_on_another_file_system_is_filled_by_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    def refuse_existing(source: Path, target: Path) -> None:
        if not Path(source).exists():
            raise FileNotFoundError(source)
        refuse()

    source, cache = Source(), BlobCache(tmp_path / "cache", 10**6)
    file = source.add(b"content")
    monkeypatch.setattr("os.link", refuse_existing)
    for name in ("one", "two"):
        cache.place(file, tmp_path / name, source.download)
    assert source.downloads == [file.sha256]
    assert (tmp_path / "two").read_bytes() == b"content"
    assert (tmp_path / "two").stat().st_nlink == 1
    assert not list((tmp_path / "cache/incoming").iterdir())


def test_what_the_dead_left_half_copied_goes_after_a_day(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 10**6)
    old, young = tmp_path / "incoming/old", tmp_path / "incoming/young"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1000, 1000))
    cache.trim()
    assert (old.exists(), young.exists()) == (False, True)

"""Content-addressed cache of inputs on this host, shared by the workers with the same folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import structlog

from tailrace.formats.listing import is_sha256
from tailrace.v1 import artifact_pb2

_log = structlog.get_logger(__name__)

Download = Callable[[artifact_pb2.ArtifactFile, Path], None]
"""Function that writes a file's complete, verified content to a path."""


_ABANDONED_SECONDS = 24 * 3600.0
"""Age above which an unfinished copy belongs to a dead process."""


class BlobCache:
    """Cache of verified blobs below ``folder``; the least recently used ones are dropped first.

    Attempts get hard links: a blob that is dropped from the cache stays with its users, and
    read-only mode keeps a user from changing content that others read. Safe between processes:
    blobs appear by rename, and only one process at a time drops blobs.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._blobs = folder / "blobs"
        self._incoming = folder / "incoming"
        for subfolder in (self._blobs, self._incoming):
            subfolder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._max_bytes = max_bytes

    def place(self, file: artifact_pb2.ArtifactFile, target: Path, download: Download) -> None:
        """Put a file's content at ``target``; download it unless it is cached.

        Raises:
            ValueError: The file's sha256 is malformed.
            OSError: The disk is full, or a folder is not writable.
            Exception: ``download`` failed.
        """
        if not is_sha256(file.sha256):
            raise ValueError(f"{file.sha256!r} is not a lower-case hex sha256")
        blob = self._blobs / file.sha256[:2] / file.sha256
        if not self._link(blob, target):
            download(file, target)
            target.chmod(0o444)
            self._keep(target, blob)

    def trim(self) -> None:
        """Drop the least recently used blobs above ``max_bytes``.

        Returns at once if another process is doing so.
        """
        with self._exclusive() as is_locked:
            if not is_locked:
                return
            entries = sorted(_entries(self._blobs, "??/*"))
            total = sum(size for _, size, _ in entries)
            for _, size, path in entries:
                if total <= self._max_bytes:
                    break
                path.unlink(missing_ok=True)
                total -= size
                _log.info("dropped from the cache", blob=path.name, size_bytes=size)
            for modified, _, path in list(_entries(self._incoming, "*")):
                if modified < time.time() - _ABANDONED_SECONDS:
                    path.unlink(missing_ok=True)

    def _keep(self, content: Path, blob: Path) -> None:
        """Put a downloaded file into the cache, unless another process has just done so."""
        blob.parent.mkdir(mode=0o700, exist_ok=True)
        try:
            os.link(content, blob)
        except FileExistsError:
            return
        except OSError:  # the cache is on another file system
            incoming = self._incoming / secrets.token_hex(8)
            try:
                shutil.copyfile(content, incoming)
                incoming.chmod(0o444)
                incoming.replace(blob)
            finally:
                incoming.unlink(missing_ok=True)

    def _link(self, blob: Path, target: Path) -> bool:
        try:
            _link_or_copy(blob, target)
            os.utime(blob)
        except FileNotFoundError:
            return target.exists()
        return True

    @contextlib.contextmanager
    def _exclusive(self) -> Iterator[bool]:
        descriptor = os.open(self._blobs / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                yield False
            else:
                yield True
        finally:
            os.close(descriptor)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)
        target.chmod(0o444)


def _entries(folder: Path, pattern: str) -> Iterator[tuple[float, int, Path]]:
    """Yield the time of last use, the size and the path of every file."""
    for path in folder.glob(pattern):
        with contextlib.suppress(FileNotFoundError):
            status = path.stat()
            yield status.st_mtime, status.st_size, path

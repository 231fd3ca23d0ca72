"""One partial upload on disk: a locked file that is appended to and hashed on the way.

Blocking; :mod:`services.storage.blobs.folder` calls it from threads.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from services.domain.content.artifact import UploadName
from services.domain.errors import FailedPrecondition, InvalidInput, ResourceExhausted, Unavailable
from services.storage.blobs.store import CHUNK_BYTES


class PartialUpload:
    """An upload's file, held under an exclusive lock from :meth:`open` to :meth:`close`.

    The lock (flock) belongs to the open file: it separates two streams of this process as well as
    two replicas on one folder, and it ends with its holder.
    """

    def __init__(self, upload: UploadName, path: Path, descriptor: int) -> None:
        self._upload = upload
        self._path = path
        self._descriptor: int | None = descriptor
        self._hash = hashlib.sha256()
        # A cancelled stream closes the upload while its last write may still run in a thread.
        self._guard = threading.Lock()
        self.committed = 0

    @classmethod
    def open(cls, upload: UploadName, path: Path, offset: int) -> PartialUpload:
        """Open or create the file at ``path`` for appending at ``offset``.

        The bytes of earlier streams are hashed again.

        Raises:
            Unavailable: Another stream writes the upload (UPLOAD_BUSY).
            FailedPrecondition: The offset differs from the file's size (WRITE_OFFSET_MISMATCH).
        """
        partial = cls(upload, path, _open_locked(path))
        try:
            partial._resume(offset)
        except BaseException:
            partial.close()
            raise
        return partial

    def write(self, data: bytes) -> None:
        """Append and hash ``data``; drop the upload if it grows past its declared size."""
        with self._guard:
            descriptor = self._open_descriptor()
            if self.committed + len(data) > self._upload.blob.size_bytes:
                self._drop()
                raise _mismatch(f"has more than its {self._upload.blob.size_bytes} bytes")
            with storage_errors():
                write_all(descriptor, data)
            self._hash.update(data)
            self.committed += len(data)

    def verify(self) -> None:
        """Verify the content; drop the upload if it differs."""
        with self._guard:
            self._verify()

    def finish(self, target: Path) -> None:
        """Verify the content and move it to ``target``, durably; drop the upload if it differs."""
        with self._guard:
            descriptor = self._verify()
            with storage_errors():
                publish(descriptor, self._path, target)

    def close(self) -> None:
        """Close the file and release its lock; the bytes stay for the next stream."""
        with self._guard:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    def _resume(self, offset: int) -> None:
        descriptor = self._open_descriptor()
        size = os.fstat(descriptor).st_size
        if offset != size:
            raise FailedPrecondition(
                "WRITE_OFFSET_MISMATCH",
                f"write_offset is {offset}, but {size} bytes are committed: continue from there",
            )
        while chunk := os.pread(descriptor, CHUNK_BYTES, self.committed):
            self._hash.update(chunk)
            self.committed += len(chunk)

    def _verify(self) -> int:
        blob = self._upload.blob
        descriptor = self._open_descriptor()
        if self.committed != blob.size_bytes:
            self._drop()
            raise _mismatch(f"has {self.committed} bytes, not {blob.size_bytes}")
        if self._hash.hexdigest() != blob.sha256:
            self._drop()
            raise _mismatch(f"has the sha256 {self._hash.hexdigest()}, not {blob.sha256}")
        return descriptor

    def _open_descriptor(self) -> int:
        if self._descriptor is None:
            raise RuntimeError("the upload is closed")
        return self._descriptor

    def _drop(self) -> None:
        self._path.unlink(missing_ok=True)


def remove_if_idle(path: Path, newest: float) -> bool:
    """Remove an upload's file that was last written before ``newest`` (seconds since the epoch).

    A file that is being written is left alone. Returns whether the file was removed.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_mtime >= newest or not _is_at(descriptor, path):
            return False
        path.unlink(missing_ok=True)
        return True
    except BlockingIOError:
        return False
    finally:
        os.close(descriptor)


def publish(descriptor: int, path: Path, target: Path) -> None:
    """Move a verified file to ``target`` so that it survives a power cut."""
    os.fsync(descriptor)
    created = [folder for folder in (target.parent.parent, target.parent) if not folder.exists()]
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.replace(target)
    for folder in {target.parent, *(folder.parent for folder in created)}:
        _sync_folder(folder)


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte; ``os.write`` may write fewer."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def storage_errors() -> Iterator[None]:
    """Turn a full disk into ``ResourceExhausted`` (STORAGE_FULL)."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise ResourceExhausted(
                "STORAGE_FULL", "the artifact store is full: try again once space is free"
            ) from error
        raise


def require_room(folder: Path, size: int, min_free_bytes: int) -> None:
    """Raise ``ResourceExhausted`` (STORAGE_FULL) unless the disk has room beyond its reserve."""
    free = shutil.disk_usage(folder).free
    if free - size < min_free_bytes:
        raise ResourceExhausted(
            "STORAGE_FULL",
            f"the disk of the artifact store has {free >> 20} MiB free: {size >> 20} MiB more "
            f"would not leave the {min_free_bytes >> 20} MiB of TAILRACE_MIN_FREE_BYTES: "
            "try again once space is free",
        )


def _open_locked(path: Path) -> int:
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
        with storage_errors():
            descriptor = os.open(path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Unavailable(
                "UPLOAD_BUSY", "another stream writes this upload: wait, or use another uuid"
            ) from None
        if _is_at(descriptor, path):
            return descriptor
        # Between open and lock the upload was finished (then this is the blob) or swept.
        os.close(descriptor)


def _is_at(descriptor: int, path: Path) -> bool:
    """Return whether the locked file is at this path; only the lock's holder changes that."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat(follow_symlinks=False))
    except FileNotFoundError:
        return False


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _mismatch(problem: str) -> InvalidInput:
    return InvalidInput.field("data", f"{problem}; the partial upload was dropped, start again")

"""Blobs as files in folders: ``blobs/ab/cd/{sha256}``, with partial uploads in ``uploads/``.

File access and hashing run in threads. Several replicas may share the folder.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from services.domain.caller import DEFAULT_PROJECT
from services.domain.content.artifact import Blob, UploadName
from services.domain.errors import NotFound, OutOfRange
from services.domain.names import id_violations
from services.storage.blobs.partial_upload import (
    PartialUpload,
    publish,
    remove_if_idle,
    require_room,
    storage_errors,
    write_all,
)
from services.storage.blobs.store import CHUNK_BYTES, BlobWriter, UploadStatus
from tailrace.formats.listing import is_sha256

T = TypeVar("T")

_PROJECTS = "projects"
"""Folder of the projects other than ``default``."""


class FolderBlobStore:
    """A :class:`services.storage.blobs.store.BlobStore` in a folder.

    ``uploads/`` and ``blobs/`` must be on one file system, because a finished upload is renamed.
    """

    def __init__(self, root: Path, min_free_bytes: int = 0) -> None:
        """Create the folders; writes leave ``min_free_bytes`` of the disk free."""
        self._min_free_bytes = min_free_bytes
        self._blobs = root / "blobs"
        self._uploads = root / "uploads"
        for folder in (root, self._blobs, self._uploads):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def upload_status(self, upload: UploadName) -> UploadStatus:
        """See :class:`services.storage.blobs.store.BlobStore`."""
        return await asyncio.to_thread(self._upload_status, upload)

    @asynccontextmanager
    async def append(self, upload: UploadName, offset: int) -> AsyncIterator[BlobWriter]:
        """See :class:`services.storage.blobs.store.BlobStore`."""
        path = self._upload_path(upload)
        await asyncio.to_thread(self._require_room, max(0, upload.blob.size_bytes - offset))
        partial = await _acquire(
            lambda: PartialUpload.open(upload, path, offset), PartialUpload.close
        )
        try:
            target = self._blob_path(upload.blob.sha256)
            yield _FolderBlobWriter(partial, target, self._require_room)
        finally:
            # Wait for a write that a cancellation left running; a chunk takes milliseconds.
            await asyncio.shield(asyncio.to_thread(partial.close))

    async def put(self, source: BinaryIO) -> Blob:
        """See :class:`services.storage.blobs.store.BlobStore`."""
        return await asyncio.to_thread(self._put, source)

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """See :class:`services.storage.blobs.store.BlobStore`."""
        return await asyncio.to_thread(self._sizes, set(digests))

    async def read(self, sha256: str, offset: int = 0, limit: int = 0) -> AsyncIterator[bytes]:
        """See :class:`services.storage.blobs.store.BlobStore`."""
        path = self._blob_path(sha256)
        file = await _acquire(lambda: _open_blob(path, sha256), lambda opened: opened.close())
        try:
            size = os.fstat(file.fileno()).st_size
            if offset > size:
                raise OutOfRange(
                    "OFFSET_PAST_END", f"read_offset is {offset}, but the blob has {size} bytes"
                )
            end = min(size, offset + limit) if limit else size
            while offset < end:
                length = min(CHUNK_BYTES, end - offset)
                chunk = await asyncio.to_thread(os.pread, file.fileno(), length, offset)
                if not chunk:
                    raise OSError(f"blob {sha256} lost its end while it was read")
                offset += len(chunk)
                yield chunk
        finally:
            file.close()

    async def drop_stale_uploads(self, idle_seconds: float) -> int:
        """See :class:`services.storage.blobs.store.BlobStore`."""
        return await asyncio.to_thread(self._drop_stale_uploads, idle_seconds)

    def _upload_status(self, upload: UploadName) -> UploadStatus:
        if self._sizes({upload.blob.sha256}).get(upload.blob.sha256) == upload.blob.size_bytes:
            return UploadStatus(upload.blob.size_bytes, complete=True)
        try:
            return UploadStatus(self._upload_path(upload).stat().st_size, complete=False)
        except FileNotFoundError:
            return UploadStatus(0, complete=False)

    def _put(self, source: BinaryIO) -> Blob:
        digest, size = hashlib.sha256(), 0
        self._require_room(source.seek(0, os.SEEK_END) - source.seek(0))
        with storage_errors():
            descriptor, name = tempfile.mkstemp(prefix="put-", dir=self._uploads)
        path = Path(name)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            while chunk := source.read(CHUNK_BYTES):
                with storage_errors():
                    write_all(descriptor, chunk)
                digest.update(chunk)
                size += len(chunk)
            with storage_errors():
                publish(descriptor, path, self._blob_path(digest.hexdigest()))
        finally:
            os.close(descriptor)
            path.unlink(missing_ok=True)
        return Blob(digest.hexdigest(), size)

    def _sizes(self, digests: set[str]) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for sha256 in digests:
            try:
                sizes[sha256] = self._blob_path(sha256).stat().st_size
            except FileNotFoundError:
                continue
        return sizes

    def _drop_stale_uploads(self, idle_seconds: float) -> int:
        newest = time.time() - idle_seconds
        return sum(remove_if_idle(path, newest) for path in list(self._uploads.iterdir()))

    def _require_room(self, size: int) -> None:
        require_room(self._uploads, size, self._min_free_bytes)

    def _blob_path(self, sha256: str) -> Path:
        if not is_sha256(sha256):
            # Callers parse names first; this check keeps a mistake from becoming a path.
            raise ValueError(f"{sha256!r} is not a sha256")
        return self._blobs / sha256[:2] / sha256[2:4] / sha256

    def _upload_path(self, upload: UploadName) -> Path:
        return self._uploads / f"{upload.uuid}.{upload.blob.sha256}.{upload.blob.size_bytes}"


class FolderBlobStores:
    """Stores of all projects: ``default`` in the folder itself, others in ``projects/{project}``.

    Each project has its own files, so that equal content of two projects is stored twice: a digest
    does not tell whether another project has the content.
    """

    def __init__(self, root: Path, min_free_bytes: int = 0) -> None:
        """Create the folders of ``default``; writes leave ``min_free_bytes`` of the disk free."""
        self._root = root
        self._min_free_bytes = min_free_bytes
        self._stores = {DEFAULT_PROJECT: FolderBlobStore(root, min_free_bytes)}

    def of(self, project: str) -> FolderBlobStore:
        """See :class:`services.storage.blobs.store.BlobStores`."""
        store = self._stores.get(project)
        if store is None:
            if id_violations("project", project):
                # Callers name existing projects; this check keeps a mistake from becoming a path.
                raise ValueError(f"{project!r} is not a project's id")
            store = FolderBlobStore(self._root / _PROJECTS / project, self._min_free_bytes)
            self._stores[project] = store
        return store

    async def drop_stale_uploads(self, idle_seconds: float) -> int:
        """See :class:`services.storage.blobs.store.BlobStores`."""
        folders = await asyncio.to_thread(self._projects)
        stores = [self.of(DEFAULT_PROJECT), *map(self.of, folders)]
        return sum([await store.drop_stale_uploads(idle_seconds) for store in stores])

    def _projects(self) -> list[str]:
        parent = self._root / _PROJECTS
        names = [folder.name for folder in parent.iterdir()] if parent.is_dir() else []
        return [name for name in names if not id_violations("project", name)]


class _FolderBlobWriter:
    """A :class:`services.storage.blobs.store.BlobWriter` over a partial upload."""

    def __init__(
        self, partial: PartialUpload, target: Path, require_room: Callable[[int], None]
    ) -> None:
        self._partial = partial
        self._target = target
        self._require_room = require_room

    @property
    def committed(self) -> int:
        return self._partial.committed

    async def write(self, data: bytes) -> None:
        await asyncio.to_thread(self._write, data)

    def _write(self, data: bytes) -> None:
        # Other processes write to the same disk meanwhile.
        self._require_room(len(data))
        self._partial.write(data)

    async def verify(self) -> None:
        await asyncio.to_thread(self._partial.verify)

    async def finish(self) -> None:
        await asyncio.to_thread(self._partial.finish, self._target)


def _open_blob(path: Path, sha256: str) -> BinaryIO:
    try:
        return path.open("rb", buffering=0)
    except FileNotFoundError:
        raise NotFound("BLOB_NOT_FOUND", f"blobs/{sha256} does not exist") from None


async def _acquire(acquire: Callable[[], T], release: Callable[[T], None]) -> T:
    """Run ``acquire`` in a thread; if the caller is cancelled meanwhile, release its result."""

    def release_result(done: asyncio.Future[T]) -> None:
        if not done.cancelled() and done.exception() is None:
            release(done.result())

    task = asyncio.ensure_future(asyncio.to_thread(acquire))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(release_result)
        raise

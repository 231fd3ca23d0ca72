"""The interface of a blob store: immutable content addressed by sha256.

:class:`FolderBlobStore` in :mod:`services.storage.blobs.folder` stores blobs on a file system; an
object store fits the same protocol (an upload maps to a multi-part upload).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from services.domain.content.artifact import Blob, UploadName
from tailrace.formats.limits import CHUNK_BYTES as CHUNK_BYTES


@dataclass(frozen=True)
class UploadStatus:
    """Progress of an upload."""

    committed: int
    """Number of stored bytes; the blob's size once complete."""
    complete: bool
    """True once the blob is complete and verified."""


class BlobWriter(Protocol):
    """An upload open for appending; an upload has at most one writer at a time."""

    @property
    def committed(self) -> int:
        """Number of stored bytes, those of earlier streams included."""
        ...

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises:
            InvalidInput: The upload exceeds its declared size, and was dropped.
            ResourceExhausted: The disk is full (STORAGE_FULL).
        """
        ...

    async def verify(self) -> None:
        """Verify size and sha256.

        Raises:
            InvalidInput: Either differs, and the partial upload was dropped.
        """
        ...

    async def finish(self) -> None:
        """Verify size and sha256 and make the blob readable, durably.

        Raises:
            InvalidInput: Either differs, and the partial upload was dropped.
        """
        ...


class BlobStore(Protocol):
    """Immutable content, addressed by its sha256."""

    async def upload_status(self, upload: UploadName) -> UploadStatus:
        """Return the progress of an upload; 0 bytes for one that never began."""
        ...

    def append(self, upload: UploadName, offset: int) -> AbstractAsyncContextManager[BlobWriter]:
        """Open an upload at ``offset``, which must equal its committed size.

        Raises:
            FailedPrecondition: The offset differs (WRITE_OFFSET_MISMATCH).
            Unavailable: Another stream writes the same upload (UPLOAD_BUSY).
        """
        ...

    async def put(self, source: BinaryIO) -> Blob:
        """Store everything from the source's position on; raise ``ResourceExhausted``."""
        ...

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """Return the sizes in bytes of those of the blobs that exist."""
        ...

    def read(self, sha256: str, offset: int = 0, limit: int = 0) -> AsyncIterator[bytes]:
        """Yield a blob's bytes from ``offset`` on, at most ``limit`` of them (0: all), in chunks.

        Raises:
            NotFound: There is no such blob; raised before the first chunk.
            OutOfRange: The offset is past the end; raised before the first chunk.
        """
        ...

    async def drop_stale_uploads(self, idle_seconds: float) -> int:
        """Remove partial uploads that were idle for ``idle_seconds``; return their number."""
        ...


class BlobStores(Protocol):
    """Blob stores of all projects. None of them reveals what another one holds."""

    def of(self, project: str) -> BlobStore:
        """Return the store of a project, the same object each time."""
        ...

    async def drop_stale_uploads(self, idle_seconds: float) -> int:
        """Remove partial uploads of every project as :meth:`BlobStore.drop_stale_uploads` does."""
        ...


async def read_all(blobs: BlobStore, sha256: str, limit: int) -> bytes:
    """Return the first ``limit`` bytes of a blob, for small files; raise ``NotFound``."""
    return b"".join([chunk async for chunk in blobs.read(sha256, 0, limit)])

"""What the control plane asks of a blob store: immutable content addressed by sha256.

:class:`FolderBlobStore` in :mod:`services.storage.blobs.folder` keeps blobs on a file system; an
object store fits the same protocol (an upload maps onto a multi-part upload).
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
    """How far an upload is."""

    committed: int
    """Bytes stored; the blob's size once complete."""
    complete: bool
    """Whether the blob is there, whole and verified."""


class BlobWriter(Protocol):
    """An upload that is open for appending; at most one at a time per upload."""

    @property
    def committed(self) -> int:
        """Bytes stored so far, those of earlier tries included."""
        ...

    async def write(self, data: bytes) -> None:
        """Append bytes.

        Raises ``InvalidInput`` past the declared size (the partial upload is dropped) and
        ``ResourceExhausted`` (STORAGE_FULL).
        """
        ...

    async def finish(self) -> None:
        """Verify size and sha256 and make the blob readable, durably.

        Raises ``InvalidInput`` when either differs; the partial upload is then dropped.
        """
        ...


class BlobStore(Protocol):
    """Immutable content, addressed by its sha256."""

    async def upload_status(self, upload: UploadName) -> UploadStatus:
        """How far an upload is; 0 bytes for one never begun."""
        ...

    def append(self, upload: UploadName, offset: int) -> AbstractAsyncContextManager[BlobWriter]:
        """Open an upload at ``offset``, which must equal its committed size.

        Raises ``FailedPrecondition`` (WRITE_OFFSET_MISMATCH) and ``Unavailable`` (UPLOAD_BUSY:
        another stream writes the same upload).
        """
        ...

    async def put(self, source: BinaryIO) -> Blob:
        """Store everything from the source's position on. Raises ``ResourceExhausted``."""
        ...

    async def sizes(self, digests: Iterable[str]) -> dict[str, int]:
        """The size in bytes of each of these blobs that is there."""
        ...

    def read(self, sha256: str, offset: int = 0, limit: int = 0) -> AsyncIterator[bytes]:
        """A blob's bytes from ``offset`` on, at most ``limit`` of them (0: all), in chunks.

        Raises ``NotFound`` and ``OutOfRange`` (offset past the end) before the first chunk.
        """
        ...

    async def drop_stale_uploads(self, idle_seconds: float) -> int:
        """Remove partial uploads not written to for so long; returns how many."""
        ...


async def read_all(blobs: BlobStore, sha256: str, limit: int) -> bytes:
    """The first ``limit`` bytes of a blob, for small files. Raises ``NotFound``."""
    return b"".join([chunk async for chunk in blobs.read(sha256, 0, limit)])

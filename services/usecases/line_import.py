"""Imports of JSON lines: taken in bounded memory, checked whole, then stored."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO

from services.domain.errors import InvalidInput, ResourceExhausted
from services.storage.blobs import BlobStore
from services.storage.partial_upload import storage_errors
from services.usecases.context import Context
from tailrace.formats.jsonl import FormatError, bounded_lines
from tailrace.formats.listing import FileEntry
from tailrace.formats.schema import Violation


class CountedLines:
    """The lines of a file, hashed and counted on the way.

    Iterating raises ``InterruptedError`` once ``stop`` is set.
    """

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self._file = file
        self._stop = stop
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        """Bytes read so far."""

    def __iter__(self) -> Iterator[bytes]:
        for line in bounded_lines(self._file):
            if self._stop.is_set():
                raise InterruptedError("the import was cancelled")
            self._digest.update(line)
            self.size_bytes += len(line)
            yield line

    @property
    def sha256(self) -> str:
        """sha256 of what was read so far, in hexadecimal digits."""
        return self._digest.hexdigest()


class Prompts:
    """Counts distinct prompts in little memory."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, prompt: str) -> None:
        """Note one."""
        self._seen.add(hashlib.sha256(prompt.encode()).digest()[:16])

    def __len__(self) -> int:
        return len(self._seen)


@asynccontextmanager
async def spooled(
    context: Context, data: AsyncIterator[bytes], limit: int, too_large: ResourceExhausted
) -> AsyncIterator[BinaryIO]:
    """A file without a name that holds everything that ``data`` yields, at its start.

    Raises ``too_large`` for more than ``limit`` bytes, and ``ResourceExhausted`` (STORAGE_FULL).
    """
    folder = context.settings.data_dir / "spool"
    spool = await asyncio.to_thread(_open_spool, folder)
    try:
        size = 0
        async for chunk in data:
            size += len(chunk)
            if size > limit:
                raise too_large
            await asyncio.to_thread(_append, spool, chunk)
        await rewind(spool)
        yield spool
    finally:
        await asyncio.to_thread(spool.close)


async def rewind(spool: BinaryIO) -> None:
    """Go back to a spool's start; raises ``ResourceExhausted`` (STORAGE_FULL)."""
    await asyncio.to_thread(_rewind, spool)


async def put(blobs: BlobStore, path: str, source: BinaryIO) -> FileEntry:
    """Store a file's content; its entry in a listing."""
    blob = await blobs.put(source)
    return FileEntry(path, blob.sha256, blob.size_bytes)


def bad_lines(error: FormatError) -> InvalidInput:
    """The error that names each bad line as ``line N``."""
    found = [Violation(f"line {bad.line}", bad.reason) for bad in error.errors]
    return InvalidInput(found, count=error.count)


def _open_spool(folder: Path) -> BinaryIO:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return tempfile.TemporaryFile(dir=folder)


def _append(spool: BinaryIO, chunk: bytes) -> None:
    with storage_errors():
        spool.write(chunk)


def _rewind(spool: BinaryIO) -> None:
    # Writes out what is still buffered, so a full disk may show only here.
    with storage_errors():
        spool.seek(0)

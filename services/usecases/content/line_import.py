"""Imports of JSON lines: taken in bounded memory, checked whole, then stored."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import BinaryIO

from services.domain.content.version import Lines
from services.domain.errors import InvalidInput, ResourceExhausted
from services.settings import Settings
from services.storage.blobs.partial_upload import require_room, storage_errors
from services.storage.blobs.store import BlobStore
from services.usecases.context import Context
from tailrace.formats.data.jsonl import FormatError, LineErrors, bounded_lines
from tailrace.formats.listing import FileEntry
from tailrace.formats.schema import Violation


@dataclass(frozen=True)
class LineKind:
    """What lines an import takes."""

    noun: str
    """What they are together: ``dataset``."""
    unit: str
    """What each is, in the plural: ``traces``."""
    most: int
    """How many there may be; bounds what checking ids and prompts keeps in memory."""
    reason: str
    """The error's, for more: ``DATASET_TOO_LARGE``."""
    prompts: Callable[[Iterable[bytes], LineErrors], Iterator[str]]
    """The prompt of each good line; bad ones are noted."""

    def too_large(self, allowed: str) -> ResourceExhausted:
        """The error for more than is allowed."""
        return ResourceExhausted(
            self.reason, f"the {self.noun} has more than the {allowed} allowed"
        )


@asynccontextmanager
async def check_lines(
    context: Context, kind: LineKind, data: AsyncIterator[bytes], limit: int
) -> AsyncIterator[tuple[Lines, BinaryIO]]:
    """What ``data`` yields, in bounded memory: counted and without fault, as a file at its start.

    Raises ``InvalidInput`` (each bad line as ``line N``, at most 100 of them) and
    ``ResourceExhausted`` (the kind's reason for more than ``limit`` bytes, STORAGE_FULL).
    """
    async with _spooled(context, data, limit, kind) as spool:
        stop = threading.Event()
        try:
            lines = await asyncio.to_thread(scan, kind, spool, stop)
        except FormatError as error:
            raise _bad_lines(error) from error
        finally:
            # A cancelled call leaves the thread behind, which shall not read on for minutes.
            stop.set()
        await _to_start(spool)
        yield lines, spool


def scan(kind: LineKind, file: BinaryIO, stop: threading.Event) -> Lines:
    """Check and count lines; raises ``InterruptedError`` once ``stop`` is set.

    Raises ``FormatError`` and ``ResourceExhausted``.
    """
    lines, errors = _CountedLines(file, stop), LineErrors()
    count, distinct = 0, set()
    for prompt in kind.prompts(lines, errors):
        count += 1
        if count > kind.most:
            raise kind.too_large(f"{kind.most} {kind.unit}")
        distinct.add(hashlib.sha256(prompt.encode()).digest()[:16])
    errors.raise_any()
    return Lines(lines.sha256, lines.size_bytes, count, len(distinct))


async def put(blobs: BlobStore, path: str, source: BinaryIO) -> FileEntry:
    """Store a file's content; its entry in a listing."""
    blob = await blobs.put(source)
    return FileEntry(path, blob.sha256, blob.size_bytes)


class _CountedLines:
    """The lines of a file, hashed and counted on the way."""

    def __init__(self, file: BinaryIO, stop: threading.Event) -> None:
        self._file = file
        self._stop = stop
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def __iter__(self) -> Iterator[bytes]:
        for line in bounded_lines(self._file):
            if self._stop.is_set():
                raise InterruptedError("the import was cancelled")
            self._digest.update(line)
            self.size_bytes += len(line)
            yield line

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


@asynccontextmanager
async def _spooled(
    context: Context, data: AsyncIterator[bytes], limit: int, kind: LineKind
) -> AsyncIterator[BinaryIO]:
    """A file without a name that holds everything that ``data`` yields, at its start."""
    spool = _Spool(context.settings)
    try:
        size = 0
        async for chunk in data:
            size += len(chunk)
            if size > limit:
                raise kind.too_large(f"{limit} bytes")
            await asyncio.to_thread(spool.append, chunk)
        file = await asyncio.to_thread(spool.opened)
        await _to_start(file)
        yield file
    finally:
        await asyncio.to_thread(spool.close)


class _Spool:
    """A file without a name, opened once there is something to write: many callers send nothing."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.data_dir / "spool"
        self._min_free_bytes = settings.min_free_bytes
        self._file: BinaryIO | None = None

    def opened(self) -> BinaryIO:
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close
        return self._file

    def append(self, chunk: bytes) -> None:
        file = self.opened()
        require_room(self._folder, len(chunk), self._min_free_bytes)
        with storage_errors():
            file.write(chunk)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()


async def _to_start(spool: BinaryIO) -> None:
    await asyncio.to_thread(_rewind, spool)


def _bad_lines(error: FormatError) -> InvalidInput:
    """The error that names each bad line as ``line N``."""
    found = [Violation(f"line {bad.line}", bad.reason) for bad in error.errors]
    return InvalidInput(found, count=error.count)


def _rewind(spool: BinaryIO) -> None:
    # Writes out what is still buffered, so a full disk may show only here.
    with storage_errors():
        spool.seek(0)

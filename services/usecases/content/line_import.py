"""Imports of JSON lines: received with bounded memory, checked completely, then stored."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from services.domain.caller import Caller
from services.domain.content.version import Lines
from services.domain.errors import InvalidInput, ResourceExhausted
from services.settings import Settings
from services.storage.blobs.partial_upload import require_room, storage_errors
from services.storage.blobs.store import BlobStore
from services.usecases.context import Context
from services.usecases.quotas.content import check_upload, count_upload
from tailrace.formats.data.jsonl import FormatError, LineErrors, bounded_lines
from tailrace.formats.data.key_spool import KeySpool
from tailrace.formats.listing import FileEntry
from tailrace.formats.schema import Violation


@dataclass(frozen=True)
class LineKind:
    """Kind of lines that an import accepts."""

    noun: str
    """Noun for all lines together: ``dataset``."""
    unit: str
    """Noun for the lines, in the plural: ``lines``."""
    most: int
    """Maximum number of lines; bounds the memory for checking ids and prompts."""
    reason: str
    """Reason of the error for too many lines: ``DATASET_TOO_LARGE``."""
    prompts: Callable[[Iterable[bytes], LineErrors, Path | None], Iterator[str]]
    """Function that yields the prompt of each valid line and records the errors of others.

    Its last argument is a folder for temporary files."""

    def too_large(self, allowed: str) -> ResourceExhausted:
        """Return the error for content that exceeds ``allowed``."""
        return ResourceExhausted(
            self.reason, f"the {self.noun} has more than the {allowed} allowed"
        )


@asynccontextmanager
async def check_lines(
    context: Context, caller: Caller, kind: LineKind, chunks: AsyncIterator[bytes], limit: int
) -> AsyncIterator[tuple[Lines, BinaryIO]]:
    """Receive ``chunks`` with bounded memory; yield the counted, valid lines and their file.

    Raises:
        InvalidInput: Lines are not valid; names at most 100 of them as ``line N``.
        ResourceExhausted: There are more than ``limit`` bytes or too many lines (the kind's
            reason), or the disk is full (STORAGE_FULL).
        QuotaExceeded: The project has no room (TOO_MANY_STORED_BYTES, TOO_MANY_UPLOAD_BYTES).
    """
    await check_upload(context, caller.project, 1)
    with count_upload(context, caller.project) as upload:
        async with _checked(context, kind, upload.counted(chunks), limit) as checked:
            yield checked


@asynccontextmanager
async def _checked(
    context: Context, kind: LineKind, chunks: AsyncIterator[bytes], limit: int
) -> AsyncIterator[tuple[Lines, BinaryIO]]:
    async with _spooled(context, chunks, limit, kind) as spool:
        stop = threading.Event()
        try:
            folder = context.settings.data_dir / "spool"
            lines = await asyncio.to_thread(scan, kind, spool, stop, folder)
        except FormatError as error:
            raise _bad_lines(error) from error
        finally:
            # A cancelled call leaves the thread behind, which must not keep reading for minutes.
            stop.set()
        await _to_start(spool)
        yield lines, spool


def scan(
    kind: LineKind, file: BinaryIO, stop: threading.Event, folder: Path | None = None
) -> Lines:
    """Check and count lines in bounded memory.

    ``folder`` is for temporary files (default: the system's).

    Raises:
        FormatError: Lines are not valid.
        ResourceExhausted: There are too many lines.
        InterruptedError: ``stop`` is set.
    """
    lines, errors = _CountedLines(file, stop), LineErrors()
    count, prompts = 0, KeySpool(folder)
    try:
        with storage_errors():
            for prompt in kind.prompts(lines, errors, folder):
                count += 1
                if count > kind.most:
                    raise kind.too_large(f"{kind.most} {kind.unit}")
                prompts.add(prompt, count)
            errors.raise_any()
            return Lines(lines.sha256, lines.size_bytes, count, prompts.count_distinct())
    finally:
        prompts.close()


async def put(blobs: BlobStore, path: str, source: BinaryIO) -> FileEntry:
    """Store a file's content and return its entry for a listing."""
    blob = await blobs.put(source)
    return FileEntry(path, blob.sha256, blob.size_bytes)


class _CountedLines:
    """Lines of a file, hashed and counted while they are read."""

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
    context: Context, chunks: AsyncIterator[bytes], limit: int, kind: LineKind
) -> AsyncIterator[BinaryIO]:
    """Yield an unnamed file with everything that ``chunks`` yields, at its start."""
    spool = _Spool(context.settings)
    try:
        size = 0
        async for chunk in chunks:
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
    """Unnamed file, opened at the first write: many callers send nothing."""

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
    """Return the error that names each invalid line as ``line N``."""
    violations = [Violation(f"line {bad.line}", bad.reason) for bad in error.errors]
    return InvalidInput(violations, count=error.count)


def _rewind(spool: BinaryIO) -> None:
    # Seeking flushes the buffer, so a full disk may show only here.
    with storage_errors():
        spool.seek(0)

"""Detection of repeated keys among millions of lines, in bounded memory."""

from __future__ import annotations

import hashlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BUCKETS = 64
_DIGEST_BYTES = 16
_ENTRY_BYTES = _DIGEST_BYTES + 8
_MEMORY_BYTES = 4 << 20


class KeySpool:
    """Keys of lines, kept as digests: in memory at first, then in a temporary file by digest.

    Args:
        folder: Folder of the temporary file (default: the system's).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._pending = bytearray()
        self._file: BinaryIO | None = None
        self._places: list[list[tuple[int, int]]] = [[] for _ in range(_BUCKETS)]
        """Offset and size of each piece of a bucket in the file."""

    def add(self, key: str, line: int) -> None:
        """Add the key of a line. Raises :class:`OSError`."""
        digest = hashlib.blake2b(key.encode(), digest_size=_DIGEST_BYTES).digest()
        self._pending += digest + line.to_bytes(8, "big")
        if len(self._pending) >= _MEMORY_BYTES:
            self._flush()

    def repeats(self) -> Iterator[tuple[int, int]]:
        """Yield each line whose key an earlier line has, and the first such line."""
        for bucket in self._read_buckets():
            first_lines: dict[bytes, int] = {}
            for digest, line in _entries(bucket):
                first = first_lines.setdefault(digest, line)
                if first != line:
                    yield line, first

    def count_distinct(self) -> int:
        """Return the number of distinct keys."""
        return sum(
            len({digest for digest, _ in _entries(bucket)}) for bucket in self._read_buckets()
        )

    def close(self) -> None:
        """Delete the temporary file."""
        if self._file is not None:
            self._file.close()

    def _read_buckets(self) -> Iterator[bytes]:
        if self._file is None:
            yield bytes(self._pending)
            return
        self._flush()
        for pieces in self._places:
            yield b"".join(_read(self._file, offset, size) for offset, size in pieces)

    def _flush(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close
        buckets = [bytearray() for _ in range(_BUCKETS)]
        pending = bytes(self._pending)
        for at in range(0, len(pending), _ENTRY_BYTES):
            buckets[pending[at] % _BUCKETS] += pending[at : at + _ENTRY_BYTES]
        # One file for all: an open file for each bucket would use up descriptors.
        offset = self._file.seek(0, io.SEEK_END)
        for entries, pieces in zip(buckets, self._places, strict=True):
            self._file.write(entries)
            pieces.append((offset, len(entries)))
            offset += len(entries)
        self._pending.clear()


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _entries(bucket: bytes) -> Iterator[tuple[bytes, int]]:
    for at in range(0, len(bucket), _ENTRY_BYTES):
        end = at + _DIGEST_BYTES
        yield bucket[at:end], int.from_bytes(bucket[end : end + 8], "big")

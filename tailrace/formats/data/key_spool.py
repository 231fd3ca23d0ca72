"""Detection of repeated keys among millions of lines, in bounded memory."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BUCKETS = 64
_DIGEST_BYTES = 16
_ENTRY_BYTES = _DIGEST_BYTES + 8
_MEMORY_BYTES = 4 << 20


class KeySpool:
    """Keys of lines, kept as digests: in memory at first, then in temporary files by digest.

    Args:
        folder: Folder of the temporary files (default: the system's).
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder
        self._pending = bytearray()
        self._files: list[BinaryIO] = []

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
        """Delete the temporary files."""
        for file in self._files:
            file.close()

    def _read_buckets(self) -> Iterator[bytes]:
        if not self._files:
            yield bytes(self._pending)
            return
        self._flush()
        for file in self._files:
            file.seek(0)
            yield file.read()

    def _flush(self) -> None:
        if not self._files:
            self._files = [
                tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - closed by close
                for _ in range(_BUCKETS)
            ]
        buckets = [bytearray() for _ in self._files]
        pending = bytes(self._pending)
        for at in range(0, len(pending), _ENTRY_BYTES):
            buckets[pending[at] % _BUCKETS] += pending[at : at + _ENTRY_BYTES]
        for file, entries in zip(self._files, buckets, strict=True):
            file.seek(0, 2)
            file.write(entries)
        self._pending.clear()


def _entries(bucket: bytes) -> Iterator[tuple[bytes, int]]:
    for at in range(0, len(bucket), _ENTRY_BYTES):
        end = at + _DIGEST_BYTES
        yield bucket[at:end], int.from_bytes(bucket[end : end + 8], "big")

"""Streams of text files, unpacked with limits."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from tailrace.datasets.readers.row import DataFileError, missing_library

BOM = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8."""

MAX_EXPANSION = 200
"""Maximum ratio of unpacked to packed bytes; texts of people reach 30."""

FREE_BYTES = 64 << 20
"""Number of unpacked bytes up to which the ratio is not checked."""

_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"
_CHUNK_BYTES = 1 << 18
_PACKED_BYTES = 1 << 10
"""Zstandard unpacks 4 bytes to 128 KiB at most, so that this many bytes give 32 MiB."""
_MAX_WINDOW_BYTES = 1 << 27


@contextmanager
def open_text(path: Path) -> Iterator[io.BufferedReader]:
    """Open a text file for reading; yield its stream, unpacked and without a byte order mark.

    Gzip and Zstandard are recognised by the first bytes, whatever the file's name is.

    Raises:
        DataFileError: While reading: the file is damaged or expands too much, or the library that
            unpacks it is missing.
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        unpack = unpacker(file.peek(4))
        stream = file if unpack is None else _unpacked(path, file, unpack)
        if stream.peek(3).startswith(BOM):
            stream.read(len(BOM))
        yield stream


def unpacker(beginning: bytes) -> Callable[[BinaryIO], Iterator[bytes]] | None:
    """Return the function that unpacks a file with this beginning; None if it is not packed."""
    if beginning.startswith(_GZIP):
        return _gunzip
    return _unzstd if beginning.startswith(_ZSTANDARD) else None


def _unpacked(
    path: Path, file: BinaryIO, unpack: Callable[[BinaryIO], Iterator[bytes]]
) -> io.BufferedReader:
    chunks = _limited(unpack(file), path.stat().st_size)
    return io.BufferedReader(_Chunks(chunks), _CHUNK_BYTES)


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file) as packed:
            while chunk := packed.read(_CHUNK_BYTES):
                yield chunk
    except EOFError as error:
        raise DataFileError("ends in the middle of its gzip data: fetch it again") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataFileError(f"is damaged: {error}") from error


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    try:
        import zstandard
    except ModuleNotFoundError as error:
        raise missing_library(error, "Zstandard") from error
    decompressor = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES)
    frame = decompressor.decompressobj()
    is_complete = True
    try:
        while packed := file.read(_PACKED_BYTES):
            while packed:
                if frame.eof:
                    frame = decompressor.decompressobj()
                yield frame.decompress(packed)
                is_complete = frame.eof
                packed = frame.unused_data if frame.eof else b""
    except zstandard.ZstdError as error:
        raise DataFileError(f"is damaged, or needs more than 128 MiB of memory: {error}") from error
    if not is_complete:
        raise DataFileError("ends in the middle of its Zstandard data: fetch it again")


def _limited(chunks: Iterator[bytes], packed_bytes: int) -> Iterator[bytes]:
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > max(FREE_BYTES, MAX_EXPANSION * packed_bytes):
            raise DataFileError(
                f"expands to more than {MAX_EXPANSION} times its size: if it is what you mean, "
                "unpack it first"
            )
        yield chunk


class _Chunks(io.RawIOBase):
    """Raw stream of an iterator's chunks."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        """Return True."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill a buffer with the next bytes; return their number."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

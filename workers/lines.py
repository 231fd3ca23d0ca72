"""Lines from a pipe, as they may be stored: capped, valid UTF-8, without NUL."""

from __future__ import annotations

import os
from collections.abc import Iterator

from tailrace.formats.limits import MAX_LINE_BYTES

CUT_MARK = " …"
"""Ends a line of which something was dropped."""

_CHUNK = 65_536


def read_lines(descriptor: int, limit: int) -> Iterator[tuple[bytes, bool]]:
    """Lines without their end, until the pipe closes; memory is bounded by ``limit``.

    Yields each line's first ``limit`` bytes and whether there was more of it. What follows the
    last newline counts as a line.
    """
    line = bytearray()
    cut = False
    while chunk := os.read(descriptor, _CHUNK):
        *whole, rest = chunk.split(b"\n")
        for part in whole:
            cut = _extend(line, part, limit) or cut
            yield bytes(line), cut
            line.clear()
            cut = False
        cut = _extend(line, rest, limit) or cut
    if line or cut:
        yield bytes(line), cut


def _extend(line: bytearray, part: bytes, limit: int) -> bool:
    room = limit - len(line)
    line += part[:room]
    return len(part) > room


def printable(raw: bytes, *, cut: bool = False) -> str:
    """A log line's text: what a terminal would have left of it, made storable.

    Of a line that was overwritten by carriage returns (a progress bar) the last state remains. Bad
    UTF-8 and NUL become U+FFFD. The result has at most :data:`MAX_LINE_BYTES` bytes of UTF-8.
    """
    text = raw.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace").replace("\0", "\ufffd")
    encoded = text.encode()
    if not cut and len(encoded) <= MAX_LINE_BYTES:
        return text
    room = MAX_LINE_BYTES - len(CUT_MARK.encode())
    return encoded[:room].decode("utf-8", "ignore") + CUT_MARK

"""Lines from a pipe, as they may be stored: capped, valid UTF-8, without NUL."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

from tailrace.formats.limits import MAX_LINE_BYTES

CUT_MARK = " …"
"""Ends a line of which something was dropped."""

_CHUNK = 65_536


PARTIAL_SECONDS = 5.0
"""Age from which a line without its end is reported as it is: a progress bar may never end."""


def read_lines(
    descriptor: int, limit: int, *, partial_seconds: float | None = None
) -> Iterator[tuple[bytes, bool]]:
    """Lines without their end, until the pipe closes; memory is bounded by ``limit``.

    Yields each line's first ``limit`` bytes and whether there was more of it. What follows the
    last newline counts as a line. With ``partial_seconds`` a line that has no end for so long is
    yielded as far as it is there, and what follows counts as the next line.
    """
    line = _Line(limit)
    while (chunk := _read(descriptor, line.wait(partial_seconds))) != b"":
        *whole, rest = chunk.split(b"\n") if chunk else [b""]
        for part in whole:
            line.add(part)
            if not line.is_rest():
                yield line.take()
            line = _Line(limit)
        line.add(rest)
        if line.wait(partial_seconds) == 0.0 and (partial := line.take_partial())[0]:
            yield partial
    if line.content or line.cut:
        yield line.take()


def _read(descriptor: int, seconds: float | None) -> bytes | None:
    """Return the pipe's next bytes, none at its end, and None when none came in time."""
    if seconds is not None:
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        if not ready.poll(seconds * 1000):
            return None
    return os.read(descriptor, _CHUNK)


class _Line:
    """A line whose end has not been read yet."""

    def __init__(self, limit: int) -> None:
        self.content = bytearray()
        self.cut = False
        """True when more was read than is kept."""
        self._limit = limit
        self._since = 0.0
        self._reported = False

    def add(self, part: bytes) -> None:
        """Append bytes, as far as the limit allows."""
        if part and not self.content:
            self._since = time.monotonic()
        self.cut = _extend(self.content, part, self._limit) or self.cut

    def wait(self, partial_seconds: float | None) -> float | None:
        """Return the seconds until it is to be reported in part; None for never."""
        if partial_seconds is None or not self.content:
            return None
        return max(0.0, self._since + partial_seconds - time.monotonic())

    def is_rest(self) -> bool:
        """Return True when nothing but the end followed what was reported."""
        return self._reported and not self.content

    def take(self) -> tuple[bytes, bool]:
        """Return the line."""
        return bytes(self.content), self.cut

    def take_partial(self) -> tuple[bytes, bool]:
        """Return what is there and keep what should not be torn: a bar's state, a character."""
        whole = self.content.rfind(b"\r") + 1 or _whole_characters(self.content)
        part = bytes(self.content[:whole]), self.cut
        del self.content[:whole]
        self.cut = False
        self._reported = True
        self._since = time.monotonic()
        return part


def _whole_characters(content: bytearray) -> int:
    """Return how many bytes hold whole characters of UTF-8."""
    for back in range(1, min(4, len(content))):
        byte = content[-back]
        if byte >= 0xC0:
            size = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(content) - back if size > back else len(content)
    return len(content)


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

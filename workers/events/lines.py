"""Lines from a pipe in a storable form: of limited length, in valid UTF-8, without NUL."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Iterator

from tailrace.formats.limits import MAX_LINE_BYTES

CUT_MARK = " …"
"""End of a shortened line."""

_CHUNK = 65_536


PARTIAL_SECONDS = 5.0
"""Age at which an unfinished line is reported, because a progress bar may never end."""


def read_lines(
    descriptor: int, limit: int, *, partial_seconds: float | None = None
) -> Iterator[tuple[bytes, bool]]:
    """Yield lines without their ends until the pipe closes, in memory bounded by ``limit``.

    Each line is yielded as its first ``limit`` bytes, and True if it was longer. Text after the
    last newline counts as a line. With ``partial_seconds``, a line that has no end for that time is
    yielded as read so far, and the text after it counts as the next line.
    """
    line = _Line(limit)
    while (chunk := _read(descriptor, line.wait(partial_seconds))) != b"":
        *ended_parts, rest = chunk.split(b"\n") if chunk else [b""]
        for part in ended_parts:
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
    """Return the pipe's next bytes, empty at its end; ``None`` if none came in time."""
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
        """True if bytes beyond the limit were dropped."""
        self._limit = limit
        self._since = 0.0
        self._reported = False

    def add(self, part: bytes) -> None:
        """Append bytes up to the limit."""
        if part and not self.content:
            self._since = time.monotonic()
        self.cut = _extend(self.content, part, self._limit) or self.cut

    def wait(self, partial_seconds: float | None) -> float | None:
        """Return the seconds until the unfinished line must be reported; ``None`` for never."""
        if partial_seconds is None or not self.content:
            return None
        return max(0.0, self._since + partial_seconds - time.monotonic())

    def is_rest(self) -> bool:
        """Return True if only the end followed the part that was reported."""
        return self._reported and not self.content

    def take(self) -> tuple[bytes, bool]:
        """Return the line."""
        return bytes(self.content), self.cut

    def take_partial(self) -> tuple[bytes, bool]:
        """Return the line so far, without its last incomplete state of a bar or character."""
        size = self.content.rfind(b"\r") + 1 or _whole_characters(self.content)
        part = bytes(self.content[:size]), self.cut
        del self.content[:size]
        self.cut = False
        self._reported = True
        self._since = time.monotonic()
        return part


def _whole_characters(content: bytearray) -> int:
    """Return the number of leading bytes that hold complete characters of UTF-8."""
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
    """Return a log line's text as a terminal would show it, in storable form.

    A line that carriage returns overwrote (a progress bar) keeps its last state. Invalid UTF-8 and
    NUL become U+FFFD. The text has at most :data:`MAX_LINE_BYTES` bytes of UTF-8.
    """
    text = raw.rstrip(b"\r").rpartition(b"\r")[2].decode("utf-8", "replace").replace("\0", "\ufffd")
    encoded = text.encode()
    if not cut and len(encoded) <= MAX_LINE_BYTES:
        return text
    room = MAX_LINE_BYTES - len(CUT_MARK.encode())
    return encoded[:room].decode("utf-8", "ignore") + CUT_MARK

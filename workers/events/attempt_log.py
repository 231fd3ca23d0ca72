"""The log of one attempt: lines made storable, spooled, and the last ones kept at hand."""

from __future__ import annotations

import threading
import time
from collections import deque

from tailrace.formats.limits import MAX_TAIL_LINES
from tailrace.formats.stage_protocol import LogLevel
from workers.events.lines import printable
from workers.events.messages import log_line_event
from workers.events.spool import Spool

BURST_SECONDS = 10.0
"""How long a log may be silent and then catch up."""


class AttemptLog:
    """Takes log lines from the stage process and from the worker itself. Thread-safe.

    Lines beyond the rate are counted, and the count is a line of the log in their place.
    """

    def __init__(self, spool: Spool, lines_per_second: float) -> None:
        """Write to a spool, at most so many lines a second, ten seconds' worth at once."""
        self._spool = spool
        self._tail: deque[str] = deque(maxlen=MAX_TAIL_LINES)
        self._lock = threading.Lock()
        self._rate = lines_per_second
        self._room = lines_per_second * BURST_SECONDS
        self._looked_at = time.monotonic()
        self._dropped = 0

    @property
    def tail(self) -> list[str]:
        """The last lines, for the error of a failed stage (StageError.log_tail)."""
        return list(self._tail)

    def write(self, text: str, level: LogLevel = LogLevel.INFO) -> None:
        """Add a text, which may have several lines; blocks while the spool is full.

        Raises:
            SpoolClosedError: The attempt is over.
        """
        for line in text.split("\n"):
            self.write_raw(line.encode("utf-8", "replace"), level=level)

    def write_raw(self, line: bytes, *, cut: bool = False, level: LogLevel = LogLevel.INFO) -> None:
        """Add one line as it was read, ``cut`` when there was more of it; as :meth:`write`."""
        stored = printable(line, cut=cut)
        self._tail.append(stored)
        with self._lock:
            if self._has_room():
                self._tell_dropped()
                self._spool.append(log_line_event(stored, level))
            else:
                self._dropped += 1

    def close(self) -> None:
        """Say what was dropped since the last line; as :meth:`write`."""
        with self._lock:
            self._tell_dropped()

    def _has_room(self) -> bool:
        now = time.monotonic()
        earned = (now - self._looked_at) * self._rate
        self._room = min(self._room + earned, self._rate * BURST_SECONDS)
        self._looked_at = now
        if self._room < 1.0:
            return False
        self._room -= 1.0
        return True

    def _tell_dropped(self) -> None:
        if self._dropped:
            text = f"{self._dropped} log lines were dropped here: more than {self._rate:g} a second"
            self._dropped = 0
            self._spool.append(log_line_event(text, LogLevel.WARNING))

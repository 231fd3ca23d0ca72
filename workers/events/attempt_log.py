"""The log of one attempt: its lines, limited in rate and spooled, and the last ones as its tail."""

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
"""Time whose worth of log lines may arrive in one burst."""


class AttemptLog:
    """Log of an attempt, with lines from the stage process and from the worker. Thread-safe.

    Lines that exceed the rate are dropped; a line with their number takes their place.
    """

    def __init__(self, spool: Spool, lines_per_second: float) -> None:
        """Write to a spool, with a maximum rate that a burst of ten seconds' worth may exceed."""
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
        """Add a text of one or more lines; block while the spool is full.

        Raises:
            SpoolClosedError: The attempt is over.
        """
        for line in text.split("\n"):
            self.write_raw(line.encode("utf-8", "replace"), level=level)

    def write_raw(self, line: bytes, *, cut: bool = False, level: LogLevel = LogLevel.INFO) -> None:
        """Add a raw line, ``cut`` if it was longer; errors are those of :meth:`write`."""
        stored = printable(line, cut=cut)
        self._tail.append(stored)
        with self._lock:
            if self._has_room():
                self._tell_dropped()
                self._spool.append(log_line_event(stored, level))
            else:
                self._dropped += 1

    def close(self) -> None:
        """Add the number of lines dropped since the last one; errors are those of :meth:`write`."""
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

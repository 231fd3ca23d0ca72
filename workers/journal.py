"""The log of one attempt: lines made storable, spooled, and the last ones kept at hand."""

from __future__ import annotations

from collections import deque

from tailrace.formats.stage_job import LogLevel
from workers.events import log_record
from workers.lines import printable
from workers.spool import Spool

TAIL_LINES = 20
"""Log lines kept for the error of a failed stage (StageError.log_tail)."""


class Journal:
    """Takes log lines from the stage process and from the worker itself. Thread-safe."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)

    @property
    def tail(self) -> list[str]:
        """The last lines, at most 20."""
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
        self._spool.append(log_record(stored, level))

"""Spool of one attempt: events on disk that the control plane has not acknowledged yet."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from tailrace.formats.limits import BATCH_BYTES, MAX_EVENTS
from tailrace.v1 import stage_pb2

_SCHEMA = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE events (sequence INTEGER PRIMARY KEY, body BLOB NOT NULL);
"""
# The file need not survive a crash: a spool is worthless once its attempt's lease is lost.


class SpoolClosedError(Exception):
    """The attempt is over; no event can be added."""


class Spool:
    """Bounded queue of events on disk, numbered from 1. Thread-safe.

    While ``max_bytes`` wait for acknowledgement, :meth:`append` blocks, and with it the reader of
    the stage process's pipe and finally the process itself.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Create the file ``path``.

        Raises:
            OSError: The disk is full or broken.
        """
        self._changed = threading.Condition()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._database.close()
            raise OSError(f"events cannot be stored on disk: {error}") from error
        self._max_bytes = max_bytes
        self._bytes = 0
        self._closed = False
        self.last_sequence = 0
        """Sequence number of the newest event; 0 if there is none."""
        self.acknowledged = 0
        """Sequence number up to which the control plane has stored events; they are deleted
        here."""

    def append(self, event: stage_pb2.StageEvent) -> int:
        """Add an event and return its sequence number; block while the spool is full.

        Raises:
            SpoolClosedError: The spool is closed, perhaps since this call began.
            OSError: The disk is full or broken.
        """
        body = event.SerializeToString()
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._bytes < self._max_bytes)
            if self._closed:
                raise SpoolClosedError
            try:
                self._database.execute(
                    "INSERT INTO events VALUES (?, ?)", (self.last_sequence + 1, body)
                )
            except sqlite3.Error as error:
                raise OSError(f"an event cannot be stored on disk: {error}") from error
            self.last_sequence += 1
            self._bytes += len(body)
            self._changed.notify_all()
            return self.last_sequence

    def batch(self, first: int) -> list[bytes]:
        """Return the serialized events of one message from ``first`` on; none once closed."""
        with self._changed:
            if self._closed:
                return []
            rows = self._database.execute(
                "SELECT body FROM events WHERE sequence >= ? ORDER BY sequence LIMIT ?",
                (first, MAX_EVENTS),
            )
            bodies: list[bytes] = []
            size = 0
            with contextlib.closing(rows):
                for (body,) in rows:
                    size += len(body)
                    if bodies and size > BATCH_BYTES:
                        break
                    bodies.append(body)
            return bodies

    def acknowledge(self, sequence: int) -> None:
        """Delete the events up to ``sequence``; a lower number than before changes nothing."""
        with self._changed:
            if sequence <= self.acknowledged or self._closed:
                return
            (size,) = self._database.execute(
                "SELECT coalesce(sum(length(body)), 0) FROM events WHERE sequence <= ?", (sequence,)
            ).fetchone()
            self._database.execute("DELETE FROM events WHERE sequence <= ?", (sequence,))
            self._bytes -= size
            self.acknowledged = min(sequence, self.last_sequence)
            self._changed.notify_all()

    def wait(self, condition: Callable[[], bool], timeout: float) -> bool:
        """Wait for ``condition``, checked after each change; return False after ``timeout`` s."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def wake(self) -> None:
        """Make all waiting threads check their conditions."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Refuse further events and close the file; a waiting :meth:`append` raises its error."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._database.close()
            self._changed.notify_all()

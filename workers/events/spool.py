"""Events of one attempt that the control plane has not acknowledged yet, on disk."""

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
# Nothing here has to survive a crash: a spool is worthless once its attempt's lease is lost.


class SpoolClosedError(Exception):
    """The attempt is over; nothing more can be added."""


class Spool:
    """A queue on disk, numbered from 1. Thread-safe.

    It is bounded: once ``max_bytes`` wait for acknowledgement, :meth:`append` blocks, and with it
    the reader of the stage process's pipe and in the end the process itself.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Make the file ``path``; raises ``OSError`` when the disk is full or broken."""
        self._changed = threading.Condition()
        self._database = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        try:
            self._database.executescript(_SCHEMA)
        except sqlite3.Error as error:
            self._database.close()
            raise OSError(f"events cannot be kept on disk: {error}") from error
        self._max_bytes = max_bytes
        self._bytes = 0
        self._closed = False
        self.last_sequence = 0
        """Number of the newest event; 0 when there is none."""
        self.acknowledged = 0
        """All events up to here are durable elsewhere and gone from here."""

    def append(self, event: stage_pb2.StageEvent) -> int:
        """Add an event and return its sequence. Blocks while the spool is full.

        Raises:
            SpoolClosedError: The spool was closed, perhaps while this waited.
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
                raise OSError(f"an event cannot be kept on disk: {error}") from error
            self.last_sequence += 1
            self._bytes += len(body)
            self._changed.notify_all()
            return self.last_sequence

    def batch(self, first: int) -> list[bytes]:
        """Serialized events from ``first`` on, as many as one message takes; none once closed."""
        with self._changed:
            if self._closed:
                return []
            rows = self._database.execute(
                "SELECT body FROM events WHERE sequence >= ? ORDER BY sequence LIMIT ?",
                (first, MAX_EVENTS),
            )
            found: list[bytes] = []
            size = 0
            with contextlib.closing(rows):
                for (body,) in rows:
                    size += len(body)
                    if found and size > BATCH_BYTES:
                        break
                    found.append(body)
            return found

    def acknowledge(self, sequence: int) -> None:
        """Drop everything up to ``sequence``; going back changes nothing."""
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
        """Wait until ``condition``, looked at after each change; False after ``timeout`` s."""
        with self._changed:
            return self._changed.wait_for(condition, timeout)

    def wake(self) -> None:
        """Let everyone who waits look again."""
        with self._changed:
            self._changed.notify_all()

    def close(self) -> None:
        """Take nothing more and free the file; whoever waits in :meth:`append` gets an error."""
        with self._changed:
            if not self._closed:
                self._closed = True
                self._database.close()
            self._changed.notify_all()

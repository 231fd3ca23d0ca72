"""Moments at which a test may break something: ``before(Moment.COMPLETE)``.

Where ``TAILRACE_FAULTS`` is unset, which is everywhere but in such tests, both functions do
nothing. Set, it names a folder. A process that comes to a moment for which a file
``{moment}.{before|after}.armed`` lies there takes that file, by renaming it to
``{moment}.{before|after}.reached.{pid}``, and stands still until the file is gone, for at most
:data:`PATIENCE_SECONDS`. So one process stops at one exact place, once, while the test does what it
wants to whom it wants.

The variable is read here and not in the settings of one of the three layers, since all of them
pass such moments, and the stage process has no settings.
"""

from __future__ import annotations

import enum
import os
import time
from pathlib import Path

VARIABLE = "TAILRACE_FAULTS"
"""Names the folder; see above."""

PATIENCE_SECONDS = 30.0
"""Longest standstill, should the test be gone."""

_POLL_SECONDS = 0.005


class Moment(enum.StrEnum):
    """Where the promise of exactly-once effect could break."""

    OUTBOX_INSERT = "outbox-insert"
    """Control plane: queues an attempt, in the transaction."""
    PUBLISH = "publish"
    """Control plane: hands a chain to the broker."""
    MARK_SENT = "mark-sent"
    """Control plane: notes that the broker has it."""
    ACQUIRE = "acquire"
    """Worker: asks for the lease."""
    SPAWN = "spawn"
    """Worker: starts the stage process."""
    HEARTBEAT = "heartbeat"
    """Worker: sends a heartbeat with a lease."""
    CHECKPOINT = "checkpoint"
    """Stage process: writes a checkpoint."""
    EVENTS = "events"
    """Worker: sends a batch of events."""
    UPLOAD = "upload"
    """Worker: uploads a checkpoint or an output."""
    COMPLETE = "complete"
    """Worker: reports the result."""
    CHAIN = "chain"
    """Worker: sends the chain's next message (before) and confirms it (after)."""
    LOG_END = "log-end"
    """Control plane: ends an attempt, and so its log, in the transaction."""


def _pass(moment: Moment) -> None:
    """Nobody waits for anything."""


def _before(moment: Moment) -> None:
    _stand_still(Path(os.environ[VARIABLE]), f"{moment}.before")


def _after(moment: Moment) -> None:
    _stand_still(Path(os.environ[VARIABLE]), f"{moment}.after")


def _stand_still(folder: Path, place: str) -> None:
    reached = folder / f"{place}.reached.{os.getpid()}"
    try:
        (folder / f"{place}.armed").rename(reached)
    except FileNotFoundError:
        return
    deadline = time.monotonic() + PATIENCE_SECONDS
    while reached.exists() and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)


before = _before if VARIABLE in os.environ else _pass
"""Called right before the moment."""

after = _after if VARIABLE in os.environ else _pass
"""Called right after it."""

"""Fault points at which a test can stop a process: ``before(Moment.COMPLETE)``.

``TAILRACE_FAULTS`` names a folder; it is set in such tests only, and without it both functions do
nothing. A process that reaches a moment with a file ``{moment}.{before|after}.armed`` in that
folder claims the file by renaming it to ``{moment}.{before|after}.reached.{pid}``, and blocks until
the file is removed, for at most :data:`PATIENCE_SECONDS`. So one process stops at one exact place,
once, and the test can kill it, or others, meanwhile.

The variable is read here instead of in settings because all three layers have fault points, and the
stage process has no settings.
"""

from __future__ import annotations

import enum
import os
import time
from pathlib import Path

VARIABLE = "TAILRACE_FAULTS"
"""Variable that names the folder."""

PATIENCE_SECONDS = 30.0
"""Longest time that a process blocks, in case the test has ended."""

_POLL_SECONDS = 0.005


class Moment(enum.StrEnum):
    """A moment at which the promise of exactly-once effects could break."""

    OUTBOX_INSERT = "outbox-insert"
    """Control plane: queue an attempt, inside the transaction."""
    PUBLISH = "publish"
    """Control plane: publish a chain to the broker."""
    MARK_SENT = "mark-sent"
    """Control plane: record that the broker has the chain."""
    ACQUIRE = "acquire"
    """Worker: request the lease."""
    SPAWN = "spawn"
    """Worker: start the stage process."""
    HEARTBEAT = "heartbeat"
    """Worker: send a heartbeat with a lease."""
    CHECKPOINT = "checkpoint"
    """Stage process: write a checkpoint."""
    ROLLOUTS = "rollouts"
    """Stage process: commit sampled answers (before), learn from them (after)."""
    EVENTS = "events"
    """Worker: send a batch of events."""
    UPLOAD = "upload"
    """Worker: upload a checkpoint or an output."""
    COMPLETE = "complete"
    """Worker: report the result."""
    CHAIN = "chain"
    """Worker: send the chain's next message (before) and confirm it (after)."""
    LOG_END = "log-end"
    """Control plane: end an attempt, and so its log, inside the transaction."""


def _pass(moment: Moment) -> None:
    """Do nothing: no test has set the variable."""


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
"""Function to call right before the moment."""

after = _after if VARIABLE in os.environ else _pass
"""Function to call right after the moment."""

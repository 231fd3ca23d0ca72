"""Worker of the embedded stack that is started again when it ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from tailrace.cli import exit_codes
from tailrace.cli.embedded.child import Child
from tailrace.cli.errors import CommandError
from tailrace.formats.backoff import backoff

MAX_RESTARTS = 5
"""Consecutive restarts, each shorter than :data:`STANDING_SECONDS`, before the stack gives up."""

STANDING_SECONDS = 60.0
"""Lifetime after which a start counts as good, so that the count begins at zero again."""

_FIRST_WAIT = 1.0
_MAX_WAIT = 16.0


class LocalWorker:
    """Worker that outlives its process; the control plane assigns its stages again.

    Args:
        spawn: Starts the process; called from the thread that calls :meth:`tend`.
        name: Name of the worker in the control plane.
    """

    def __init__(self, spawn: Callable[[], Child], name: str) -> None:
        self._spawn = spawn
        self._name = name
        self._restarts = 0
        self._started = time.monotonic()
        self._due: float | None = None
        self.child = spawn()
        """Newest process."""

    def tend(self) -> str | None:
        """Start an ended process again after a wait; return a message if anything happened.

        The wait doubles from 1 to 16 seconds. A clean end, as after a drain, is not counted.

        Raises:
            CommandError: The process ended too many times in a row.
        """
        now = time.monotonic()
        if self._due is not None:
            if now < self._due:
                return None
            self._due = None
            self._started = now
            # No process of its group may remain.
            self.child.stop(0)
            self.child = self._spawn()
            return f"{self.child.name} is started again"
        if self.child.end is None:
            return None
        if self.child.ended_well:
            self._restarts = 0
            self._due = now + _FIRST_WAIT
            return (
                f"the {self.child.name} ended cleanly, as after a drain, and is started again; if "
                f"it is drained, it waits for `tailrace workers undrain {self._name}`"
            )
        if now - self._started > STANDING_SECONDS:
            self._restarts = 0
        if self._restarts == MAX_RESTARTS:
            raise CommandError(
                f"{self.child.obituary()}\n  it was started {MAX_RESTARTS + 1} times in a row",
                exit_codes.FAULT,
            )
        self._restarts += 1
        wait = backoff(self._restarts, _FIRST_WAIT, _MAX_WAIT)
        self._due = now + wait
        return f"{self.child.obituary()}\n  it is started again in {wait:.0f} s"

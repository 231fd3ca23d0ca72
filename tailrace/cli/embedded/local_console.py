"""Console of the embedded stack, whose end never ends the stack."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from tailrace.cli.embedded.child import Child
from tailrace.cli.embedded.listen import require_free
from tailrace.cli.errors import CommandError
from tailrace.formats.backoff import backoff

DEFAULT_CONSOLE = "127.0.0.1:7480"
"""Address of the console unless another is given."""

MAX_RESTARTS = 5
"""Consecutive restarts, each shorter than :data:`STANDING_SECONDS`, before it stays down."""

STANDING_SECONDS = 60.0
"""Lifetime after which a start counts as good, so that the count begins at zero again."""

_FIRST_WAIT = 1.0
_MAX_WAIT = 16.0
_READY = re.compile(r"^console on (\S+)$", re.MULTILINE)


class LocalConsole:
    """Console that is started again when it ends, and given up without an error.

    Args:
        spawn: Starts the process.
        listen: Address that it serves, ``host:port``.
    """

    def __init__(self, spawn: Callable[[], Child], listen: str) -> None:
        self.child: Child | None = None
        """Newest process; ``None`` before the first start and once it is given up."""
        self.url = ""
        """URL of the console, once it listens."""
        self._spawn = spawn
        self._listen = listen
        self._restarts = 0
        self._started = 0.0
        self._due: float | None = 0.0

    def tend(self) -> str | None:
        """Start it, report its URL, start it again after an end; return a message, if any."""
        now = time.monotonic()
        if self._due is not None:
            return self._start(now) if now >= self._due else None
        if self.child is None:
            return None
        if self.child.end is None:
            return self._ready()
        if now - self._started > STANDING_SECONDS:
            self._restarts = 0
        return self._ended(self.child, now)

    def _start(self, now: float) -> str | None:
        self._due = None
        try:
            require_free(self._listen, "--console")
        except CommandError as error:
            return f"no console: {error}"
        if self.child is not None:
            # No process of its group may remain.
            self.child.stop(0)
        self._started = now
        self.url = ""
        self.child = self._spawn()
        return None

    def _ready(self) -> str | None:
        if self.url or self.child is None:
            return None
        line = _READY.search(self.child.output())
        if line is None:
            return None
        self.url = line[1]
        return f"console on {self.url}"

    def _ended(self, child: Child, now: float) -> str:
        if self._restarts == MAX_RESTARTS:
            self.child = None
            return f"{child.obituary()}\n  it is not started again; runs go on without it"
        self._restarts += 1
        wait = backoff(self._restarts, _FIRST_WAIT, _MAX_WAIT)
        self._due = now + wait
        return f"{child.obituary()}\n  it is started again in {wait:.0f} s"

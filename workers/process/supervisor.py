"""Supervision of a stage process until its end: directives, timeout, memory limit and kill."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from workers.pool.directives import Directive, Directives
from workers.process.memory_limit import MemoryWatch, Overuse
from workers.process.stage_process import StageProcess

POLL_SECONDS = 0.1
"""Polling interval, which is also the longest delay in noticing the end of the process."""

_SIGNALS = {
    Directive.RELEASE: signal.SIGUSR1,
    Directive.CANCEL: signal.SIGTERM,
    Directive.ABORT: signal.SIGTERM,
}


@dataclass(frozen=True)
class Ending:
    """End of a stage process."""

    status: int
    """Exit status; the negative number of the signal that killed the process."""
    directive: Directive
    """Directive that the process was signalled to follow; CONTINUE if none."""
    timed_out: bool
    """True if it was stopped because of its timeout."""
    out_of_memory: bool
    """True if the kernel killed a process in our control group for memory meanwhile."""
    seconds: float
    """Running time."""
    overuse: Overuse | None = None
    """Memory usage for which the worker killed it; ``None`` if it did not."""


class Supervisor:
    """Supervisor of one stage process, in the thread that spawned it."""

    def __init__(
        self,
        process: StageProcess,
        directives: Directives,
        *,
        timeout: float,
        grace: float,
        memory_bytes: int | None = None,
        meanwhile: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Supervise a process that was just spawned.

        Args:
            process: The process.
            directives: Directives for the attempt.
            timeout: Timeout of the stage in seconds.
            grace: Seconds between the signal to stop and the kill of the process group.
            memory_bytes: Memory limit of the process and its children; ``None`` for no limit.
            meanwhile: Callback at each poll with the seconds so far; must not block for long.
        """
        self._process = process
        self._directives = directives
        self._grace = grace
        self._meanwhile = meanwhile
        self._memory = MemoryWatch(process.pid, memory_bytes)
        self._overuse: Overuse | None = None
        self._began = time.monotonic()
        self._timeout_at = self._began + timeout
        self._kill_at: float | None = None
        self._followed = Directive.CONTINUE
        self._timed_out = False

    def run(self) -> Ending:
        """Block until the process has ended and its group is gone."""
        try:
            while not self._process.has_ended():
                self._overuse = self._memory.overuse()
                if self._overuse is not None or self._overdue():
                    break
                self._meanwhile(time.monotonic() - self._began)
                self._directives.wait(self._followed, POLL_SECONDS)
        finally:
            # Even if this thread is interrupted: no process may outlive its supervisor.
            status = self._process.finish()
        return Ending(
            status=status,
            directive=self._followed,
            timed_out=self._timed_out,
            out_of_memory=self._process.ran_out_of_memory(),
            seconds=time.monotonic() - self._began,
            overuse=self._overuse,
        )

    def _overdue(self) -> bool:
        """Signal a new directive or the timeout; return True if the group must be killed now."""
        directive = self._directives.strongest
        if directive is Directive.LEASE_LOST:
            self._followed = directive
            return True
        now = time.monotonic()
        if directive > self._followed:
            self._followed = directive
            self._ask_to_stop(_SIGNALS[directive], now)
        elif now >= self._timeout_at and not self._timed_out and self._kill_at is None:
            self._timed_out = True
            self._ask_to_stop(signal.SIGTERM, now)
        return self._kill_at is not None and now >= self._kill_at

    def _ask_to_stop(self, number: signal.Signals, now: float) -> None:
        self._process.send(number)
        # A cancellation during a release does not restart the grace period.
        self._kill_at = min(self._kill_at or now + self._grace, now + self._grace)

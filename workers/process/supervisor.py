"""Runs a stage process to its end: signals as directed, the timeout, the kill."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from workers.pool.directives import Directive, Directives
from workers.process.memory_limit import MemoryWatch, Overuse
from workers.process.stage_process import StageProcess

POLL_SECONDS = 0.1
"""How often the process is looked at; bounds how late its end is noticed."""

_SIGNALS = {
    Directive.RELEASE: signal.SIGUSR1,
    Directive.CANCEL: signal.SIGTERM,
    Directive.ABORT: signal.SIGTERM,
}


@dataclass(frozen=True)
class Ending:
    """How a stage process ended."""

    status: int
    """Exit status; negative is the number of the signal that killed it."""
    directive: Directive
    """The directive it was told to follow, CONTINUE when it was left alone."""
    timed_out: bool
    """Whether it was stopped for running longer than it may."""
    out_of_memory: bool
    """Whether the kernel killed something here for memory meanwhile."""
    seconds: float
    """How long it ran."""
    overuse: Overuse | None = None
    """The memory for which the worker killed it, if it did."""


class Supervisor:
    """Watches one stage process from the thread that spawned it."""

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
        """Watch a process that was just spawned.

        Args:
            process: The process.
            directives: What shall happen to it.
            timeout: Longest execution in seconds.
            grace: Seconds between asking it to stop and killing its group.
            memory_bytes: Most memory that it and its children may hold; then they are killed.
            meanwhile: Called at each look with the seconds so far; must not block for long.
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
        """Block until the process has ended and its whole group is gone."""
        try:
            while not self._process.has_ended():
                self._overuse = self._memory.overuse()
                if self._overuse is not None or self._overdue():
                    break
                self._meanwhile(time.monotonic() - self._began)
                self._directives.wait(self._followed, POLL_SECONDS)
        finally:
            # Also when this thread is interrupted: nothing may outlive its supervisor.
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
        """Pass on what is new; True when the group shall be killed now."""
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
        # A cancellation during a release does not start the grace period anew.
        self._kill_at = min(self._kill_at or now + self._grace, now + self._grace)

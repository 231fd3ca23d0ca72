"""Directives for an attempt, from heartbeats, event streams, signals and the worker itself."""

from __future__ import annotations

import enum
import threading
import time

from tailrace.v1 import stage_pb2


class Directive(enum.IntEnum):
    """Instruction about an attempt; a higher value overrides a lower one."""

    CONTINUE = 0
    """Continue."""
    RELEASE = 1
    """Save a checkpoint, stop and hand the attempt back."""
    CANCEL = 2
    """Stop, because the run is being cancelled."""
    ABORT = 3
    """Stop, because of the worker's own ``fault``."""
    LEASE_LOST = 4
    """Kill the stage at once and report nothing, because the lease has expired or moved."""


_FROM_WIRE = {
    stage_pb2.DIRECTIVE_RELEASE: Directive.RELEASE,
    stage_pb2.DIRECTIVE_DRAIN: Directive.RELEASE,
    stage_pb2.DIRECTIVE_CANCEL: Directive.CANCEL,
    stage_pb2.DIRECTIVE_LEASE_LOST: Directive.LEASE_LOST,
}


class Directives:
    """The strongest directive so far for one attempt. Directives are never revoked. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._strongest = Directive.CONTINUE
        self._drained_at: float | None = None
        self.fault = ""
        """Reason of an ABORT; empty without one."""

    @property
    def strongest(self) -> Directive:
        """The strongest directive so far."""
        return self._strongest

    @property
    def lease_lost(self) -> bool:
        """True once nothing more may be reported."""
        return self._strongest is Directive.LEASE_LOST

    def direct(self, directive: stage_pb2.Directive.ValueType) -> None:
        """Add a directive of the control plane; an unknown one has no effect."""
        self._raise_to(_FROM_WIRE.get(directive, Directive.CONTINUE))

    def drain(self) -> None:
        """Release the attempt, because the worker is shutting down."""
        self._drained_at = self._drained_at or time.monotonic()
        self._raise_to(Directive.RELEASE)

    def draining_seconds(self) -> float | None:
        """Return the seconds since :meth:`drain` was called; ``None`` if it was not."""
        return None if self._drained_at is None else time.monotonic() - self._drained_at

    def abort(self, fault: str) -> None:
        """Abort the attempt for a fault of the worker."""
        with self._changed:
            self.fault = self.fault or fault
        self._raise_to(Directive.ABORT)

    def lose(self) -> None:
        """Record that the lease is lost."""
        self._raise_to(Directive.LEASE_LOST)

    def wait(self, above: Directive, timeout: float) -> bool:
        """Wait for a stronger directive than ``above``; return False after ``timeout`` seconds."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._strongest <= above:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
            return True

    def _raise_to(self, directive: Directive) -> None:
        with self._changed:
            if directive > self._strongest:
                self._strongest = directive
                self._changed.notify_all()

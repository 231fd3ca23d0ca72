"""What an attempt shall do, collected from everywhere it can be said."""

from __future__ import annotations

import enum
import threading
import time

from tailrace.v1 import stage_pb2


class Directive(enum.IntEnum):
    """What shall happen to an attempt; a later one overrides an earlier one."""

    CONTINUE = 0
    """Go on."""
    RELEASE = 1
    """Save a checkpoint, stop, hand the attempt back."""
    CANCEL = 2
    """Stop; the run is being cancelled."""
    ABORT = 3
    """Stop; the worker itself cannot go on with it and says why in ``fault``."""
    LEASE_LOST = 4
    """Kill at once and report nothing: the lease is somebody else's, or nobody's."""


_FROM_WIRE = {
    stage_pb2.DIRECTIVE_RELEASE: Directive.RELEASE,
    stage_pb2.DIRECTIVE_DRAIN: Directive.RELEASE,
    stage_pb2.DIRECTIVE_CANCEL: Directive.CANCEL,
    stage_pb2.DIRECTIVE_LEASE_LOST: Directive.LEASE_LOST,
}


class Directives:
    """The strongest wish so far, for one attempt. Thread-safe; wishes are never taken back."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._strongest = Directive.CONTINUE
        self._drained_at: float | None = None
        self.fault = ""
        """Why, with ABORT."""

    @property
    def strongest(self) -> Directive:
        """The strongest wish."""
        return self._strongest

    @property
    def lease_lost(self) -> bool:
        """True once nothing more may be reported."""
        return self._strongest is Directive.LEASE_LOST

    def direct(self, directive: stage_pb2.Directive.ValueType) -> None:
        """Take a directive of the control plane; one that is not known here changes nothing."""
        self._raise_to(_FROM_WIRE.get(directive, Directive.CONTINUE))

    def drain(self) -> None:
        """The worker shuts down."""
        self._drained_at = self._drained_at or time.monotonic()
        self._raise_to(Directive.RELEASE)

    def draining_seconds(self) -> float | None:
        """How long ago :meth:`drain` was called; None when it was not."""
        return None if self._drained_at is None else time.monotonic() - self._drained_at

    def abort(self, fault: str) -> None:
        """The worker cannot go on with the attempt."""
        with self._changed:
            self.fault = self.fault or fault
        self._raise_to(Directive.ABORT)

    def lose(self) -> None:
        """The lease is lost."""
        self._raise_to(Directive.LEASE_LOST)

    def wait(self, above: Directive, timeout: float) -> bool:
        """Wait until there is a stronger wish than ``above``; False after ``timeout`` seconds."""
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

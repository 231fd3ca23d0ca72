"""Exit codes of every command, for scripts."""

from __future__ import annotations

from tailrace import errors
from tailrace.errors import TailraceError
from tailrace.v1 import run_pb2

OK = 0
"""Done; a followed run ended SUCCEEDED."""

RUN_FAILED = 1
"""A followed run ended FAILED."""

BAD_INPUT = 2
"""Wrong usage, a wrong field, a file that cannot be read, something over a limit."""

NOT_FOUND = 3
"""The run, dataset or model does not exist."""

CONFLICT = 4
"""The id is taken, or the run is not in a state that allows it."""

UNAVAILABLE = 5
"""No control plane answered in time."""

REFUSED = 6
"""The caller may not do this."""

RUN_CANCELLED = 7
"""A followed run ended CANCELLED."""

DIFFERS = 8
"""The runs that were compared are not equal."""

GATE_FAILED = 9
"""A run ended SUCCEEDED, but one of its gates does not hold."""

FAULT = 70
"""A fault of the control plane or of this program (EX_SOFTWARE of sysexits.h)."""

INTERRUPTED = 130
"""Ctrl-C (128 + SIGINT); a run that was followed goes on."""

_OF_ERROR: dict[type[TailraceError], int] = {
    errors.InvalidArgument: BAD_INPUT,
    errors.OutOfRange: BAD_INPUT,
    errors.ResourceExhausted: BAD_INPUT,
    errors.NotFound: NOT_FOUND,
    errors.AlreadyExists: CONFLICT,
    errors.FailedPrecondition: CONFLICT,
    errors.Aborted: CONFLICT,
    errors.Unavailable: UNAVAILABLE,
    errors.DeadlineExceeded: UNAVAILABLE,
    errors.PermissionDenied: REFUSED,
    errors.Unauthenticated: REFUSED,
}

_OF_RUN = {
    run_pb2.RUN_STATE_SUCCEEDED: OK,
    run_pb2.RUN_STATE_CANCELLED: RUN_CANCELLED,
}


def of_error(error: TailraceError) -> int:
    """The exit code of a failed call."""
    return _OF_ERROR.get(type(error), FAULT)


def of_run(run: run_pb2.Run) -> int:
    """The exit code of a command that followed a run to its end."""
    held = all(gate.outcome == run_pb2.GATE_OUTCOME_PASSED for gate in run.gates)
    return _OF_RUN.get(run.state, RUN_FAILED) if held else GATE_FAILED

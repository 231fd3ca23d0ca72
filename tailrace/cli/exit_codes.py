"""Exit codes of every command, for scripts."""

from __future__ import annotations

from tailrace import errors
from tailrace.errors import TailraceError
from tailrace.v1 import run_pb2

OK = 0
"""Success; a followed run ended SUCCEEDED."""

RUN_FAILED = 1
"""A followed run ended FAILED."""

BAD_INPUT = 2
"""Wrong usage, a wrong field, an unreadable file, or a value over a limit."""

NOT_FOUND = 3
"""The run, dataset or model does not exist."""

CONFLICT = 4
"""The id is taken, or the state of the run or worker forbids the command."""

UNAVAILABLE = 5
"""No control plane answered in time."""

REFUSED = 6
"""The caller may not do this."""

RUN_CANCELLED = 7
"""A followed run ended CANCELLED."""

DIFFERS = 8
"""The compared runs are not equal, or the audit log is not as it was recorded."""

GATE_FAILED = 9
"""A run ended SUCCEEDED, but one of its gates does not hold."""

FAULT = 70
"""A fault of the control plane or of this program (EX_SOFTWARE of sysexits.h)."""

INTERRUPTED = 130
"""Ctrl-C (128 + SIGINT); a followed run continues."""

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
    """Return the exit code of a failed call."""
    return _OF_ERROR.get(type(error), FAULT)


def of_run(run: run_pb2.Run) -> int:
    """Return the exit code of a command that followed a run to its end."""
    gates_hold = all(gate.outcome == run_pb2.GATE_OUTCOME_PASSED for gate in run.gates)
    return _OF_RUN.get(run.state, RUN_FAILED) if gates_hold else GATE_FAILED

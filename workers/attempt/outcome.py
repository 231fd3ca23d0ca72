"""Outcomes of attempts: the end of a stage process, classified for the report."""

from __future__ import annotations

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

import grpc

from tailrace.errors import TailraceError
from tailrace.formats.limits import MAX_ERROR_BYTES
from tailrace.formats.stage_protocol import ErrorEvent, ResultEvent, StoppedEvent
from tailrace.v1 import run_pb2
from workers.events.pipe_reader import StageReport
from workers.pool.directives import Directive
from workers.process.memory_limit import Overuse
from workers.process.supervisor import Ending
from workers.stage_client import STORED_BYTES


@dataclass(frozen=True)
class Succeeded:
    """Success, reported with CompleteStage."""

    result: ResultEvent
    """Result event of the stage process."""


@dataclass(frozen=True)
class Stopped:
    """An end that a directive asked for, reported with ReleaseStage."""


@dataclass(frozen=True)
class Failed:
    """Failure, reported with FailStage."""

    error: run_pb2.StageError
    """The error to report."""


@dataclass(frozen=True)
class Abandoned:
    """An end that is not reported: the lease is lost, or the worker has no time left."""


Outcome = Succeeded | Stopped | Failed | Abandoned


@dataclass(frozen=True)
class _Reason:
    code: grpc.StatusCode
    retryable: bool


_REASONS = {
    "STAGE_CRASHED": _Reason(grpc.StatusCode.INTERNAL, retryable=True),
    "STAGE_KILLED": _Reason(grpc.StatusCode.ABORTED, retryable=True),
    "STAGE_TIMEOUT": _Reason(grpc.StatusCode.DEADLINE_EXCEEDED, retryable=True),
    "OUT_OF_MEMORY": _Reason(grpc.StatusCode.RESOURCE_EXHAUSTED, retryable=False),
    "TOO_MANY_STORED_BYTES": _Reason(grpc.StatusCode.RESOURCE_EXHAUSTED, retryable=False),
    "WORKER_FAULT": _Reason(grpc.StatusCode.UNAVAILABLE, retryable=True),
}
"""Reasons of the worker itself. Another attempt continues from the newest checkpoint, so it can
succeed after a crash, a kill and even a timeout; a stage that needs too much memory, or whose
artifacts the project may not store, would need the same again."""

_GIB = 1024**3
_SMALLER = "use a smaller batch_size, max_seq_length or model, or a pool with more memory"
_MEMORY = re.compile(
    r"RESOURCE_EXHAUSTED|\bMemoryError\b|\bout of memory\b|\bbad_alloc\b", re.IGNORECASE
)


def classify_ending(
    ending: Ending, report: StageReport, log_tail: Sequence[str], *, fault: str, timeout: float
) -> Outcome:
    """Return the outcome of an attempt whose process has ended.

    Args:
        ending: End of the process.
        report: Final event of the process.
        log_tail: Last lines of its log.
        fault: Reason why the worker aborted the attempt; empty if it did not.
        timeout: Timeout of the stage in seconds.
    """
    if ending.directive is Directive.LEASE_LOST:
        return Abandoned()
    if ending.status == 0 and not report.violation and isinstance(report.final_event, ResultEvent):
        # It finished before a cancellation or a timeout reached it.
        return Succeeded(report.final_event)
    if ending.directive in (Directive.RELEASE, Directive.CANCEL):
        return Stopped()
    if ending.directive is Directive.ABORT:
        return worker_fault(fault, log_tail)
    error = _error_of(ending, report, log_tail, timeout)
    if ending.status < 0:
        error.signal = error.signal or _signal_name(ending.status)
    else:
        error.exit_code = ending.status
    return Failed(error)


def worker_fault(message: str, log_tail: Sequence[str] = ()) -> Failed:
    """Return the failure of a worker that cannot execute the stage, unlike others perhaps."""
    return Failed(_error("WORKER_FAULT", message, log_tail))


def refused(error: TailraceError) -> Failed:
    """Return the failure of an attempt whose result the control plane refused."""
    if error.reason == STORED_BYTES:
        return Failed(_error(STORED_BYTES, error.message, ()))
    return worker_fault(f"the control plane refused the result: {error}")


def pool_process_lost(slot: str, status: int | None) -> run_pb2.StageError:
    """Return the error of an attempt whose pool process is gone.

    Args:
        slot: Slot of the pool process.
        status: Exit status of the process, negative for a signal; ``None`` if unknown.
    """
    if status is None:
        end = "vanished"
    elif status < 0:
        end = f"was ended by {_signal_name(status)}"
    else:
        end = f"ended with status {status}"
    cause = ", perhaps by the kernel for lack of memory" if status == -signal.SIGKILL else ""
    message = f"the worker's pool process of slot {slot} {end} while it executed the stage{cause}"
    error = worker_fault(message).error
    if status is not None and status < 0:
        error.signal = _signal_name(status)
    elif status is not None:
        error.exit_code = status
    return error


def _error_of(
    ending: Ending, report: StageReport, log_tail: Sequence[str], timeout: float
) -> run_pb2.StageError:
    if ending.timed_out:
        message = (
            f"the stage ran longer than its timeout of {timeout:g} s; raise execution.*.timeout"
        )
        return _error("STAGE_TIMEOUT", message, log_tail)
    if ending.overuse is not None:
        return _error("OUT_OF_MEMORY", _overuse(ending.overuse), log_tail)
    if isinstance(report.final_event, ErrorEvent):
        return _own_error(report.final_event, log_tail)
    if _out_of_memory(ending, log_tail):
        message = f"the stage process ran out of memory: {_SMALLER}"
        return _error("OUT_OF_MEMORY", message, log_tail)
    if ending.status < 0:
        message = f"the stage process was ended by {_signal_name(ending.status)}"
        return _error("STAGE_KILLED", message, log_tail)
    if isinstance(report.final_event, StoppedEvent):
        signal_name = "SIGUSR1" if report.final_event.released else "SIGTERM"
        message = f"a process other than the worker stopped the stage process with {signal_name}"
        error = _error("STAGE_KILLED", message, log_tail)
        error.signal = signal_name
        return error
    if report.violation:
        message = f"the stage process broke its protocol: {report.violation}"
    elif ending.status == 0:
        message = "the stage process ended without a result"
    else:
        message = f"the stage process ended with status {ending.status}; see the last log lines"
    return _error("STAGE_CRASHED", message, log_tail)


def _overuse(overuse: Overuse) -> str:
    used, limit = overuse.used_bytes / _GIB, overuse.limit_bytes / _GIB
    return (
        f"the stage process used {used:.2f} GiB of memory and may use {limit:.2f} GiB here: "
        f"{_SMALLER}; the worker's operator sets the limit with TAILRACE_STAGE_MEMORY_BYTES"
    )


def _own_error(event: ErrorEvent, log_tail: Sequence[str]) -> run_pb2.StageError:
    code = grpc.StatusCode.UNAVAILABLE if event.retryable else grpc.StatusCode.FAILED_PRECONDITION
    return run_pb2.StageError(
        code=code.value[0],
        reason=event.reason,
        message=_shorten(event.message),
        retryable=event.retryable,
        log_tail=log_tail,
    )


def _shorten(message: str) -> str:
    """Return what the control plane keeps of a message: the rest might not fit into a request."""
    return message.encode("utf-8", "replace")[:MAX_ERROR_BYTES].decode("utf-8", "ignore")


def _out_of_memory(ending: Ending, log_tail: Sequence[str]) -> bool:
    if ending.status == -signal.SIGKILL:
        return ending.out_of_memory
    return ending.status != 0 and any(_MEMORY.search(line) for line in log_tail)


def _error(reason: str, message: str, log_tail: Sequence[str]) -> run_pb2.StageError:
    meaning = _REASONS[reason]
    return run_pb2.StageError(
        code=meaning.code.value[0],
        reason=reason,
        message=message,
        retryable=meaning.retryable,
        log_tail=log_tail,
    )


def _signal_name(status: int) -> str:
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal {-status}"

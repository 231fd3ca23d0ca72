"""Outcomes of ended processes: every way a process can end has its reason."""

from __future__ import annotations

import signal
from typing import Any

import grpc
import pytest

from tailrace.errors import InvalidArgument, ResourceExhausted
from tailrace.formats.limits import MAX_ERROR_BYTES
from tailrace.formats.results import JudgeResult
from tailrace.formats.stage_protocol import ErrorEvent, ResultEvent, StoppedEvent
from workers.attempt.outcome import (
    Abandoned,
    Failed,
    Outcome,
    Stopped,
    Succeeded,
    classify_ending,
    refused,
    worker_fault,
)
from workers.events.pipe_reader import StageReport
from workers.pool.directives import Directive
from workers.process.memory_limit import Overuse
from workers.process.supervisor import Ending

RESULT = ResultEvent(judge=JudgeResult())
ERROR = ErrorEvent("OVERLONG", "too long", retryable=False)


def outcome(
    status: int = 0,
    last: Any = None,
    *,
    directive: Directive = Directive.CONTINUE,
    timed_out: bool = False,
    oom: bool = False,
    tail: list[str] | None = None,
    broken: str = "",
    overuse: Overuse | None = None,
) -> Outcome:
    ending = Ending(status, directive, timed_out, oom, 1.0, overuse)
    return classify_ending(
        ending, StageReport(last, broken), tail or [], fault="disk full", timeout=8
    )


def reason(attempt_outcome: Outcome) -> str:
    assert isinstance(attempt_outcome, Failed)
    return attempt_outcome.error.reason


def test_a_result_with_status_zero_is_a_success_whatever_was_wished_meanwhile() -> None:
    for directive in (Directive.CONTINUE, Directive.RELEASE, Directive.CANCEL, Directive.ABORT):
        assert outcome(last=RESULT, directive=directive) == Succeeded(RESULT)
    assert outcome(last=RESULT, timed_out=True) == Succeeded(RESULT)
    assert outcome(last=RESULT, directive=Directive.LEASE_LOST) == Abandoned()


def test_a_stage_that_holds_too_much_memory_is_told_how_much() -> None:
    attempt_outcome = outcome(-signal.SIGKILL, ERROR, overuse=Overuse(3 << 30, 5 << 29))
    assert reason(attempt_outcome) == "OUT_OF_MEMORY"
    assert isinstance(attempt_outcome, Failed)
    assert "used 3.00 GiB of memory and may use 2.50 GiB here" in attempt_outcome.error.message
    assert "TAILRACE_STAGE_MEMORY_BYTES" in attempt_outcome.error.message
    assert not attempt_outcome.error.retryable


def test_a_message_of_any_length_fits_into_a_report() -> None:
    error = ErrorEvent(reason="TOO_CHATTY", message="ż" * (1 << 20))
    attempt_outcome = outcome(1, error)
    assert isinstance(attempt_outcome, Failed)
    assert attempt_outcome.error.message == "ż" * (MAX_ERROR_BYTES // 2)


def test_a_result_does_not_excuse_a_crash() -> None:
    assert reason(outcome(1, RESULT)) == "STAGE_CRASHED"
    assert reason(outcome(-signal.SIGKILL, RESULT)) == "STAGE_KILLED"
    assert reason(outcome(0, RESULT, broken="an event line is not JSON")) == "STAGE_CRASHED"


@pytest.mark.parametrize("status", [0, 1, -signal.SIGKILL, -signal.SIGUSR1])
@pytest.mark.parametrize("directive", [Directive.RELEASE, Directive.CANCEL])
def test_it_may_stop_as_it_likes_when_told_to(status: int, directive: Directive) -> None:
    assert outcome(status, StoppedEvent(released=False), directive=directive) == Stopped()


@pytest.mark.parametrize(
    ("attempt_outcome", "expected_reason", "code"),
    [
        (outcome(3), "STAGE_CRASHED", grpc.StatusCode.INTERNAL),
        (outcome(0), "STAGE_CRASHED", grpc.StatusCode.INTERNAL),
        (outcome(-signal.SIGSEGV), "STAGE_KILLED", grpc.StatusCode.ABORTED),
        (outcome(-signal.SIGKILL), "STAGE_KILLED", grpc.StatusCode.ABORTED),
        (outcome(-15, timed_out=True), "STAGE_TIMEOUT", grpc.StatusCode.DEADLINE_EXCEEDED),
        (outcome(0, StoppedEvent(released=True)), "STAGE_KILLED", grpc.StatusCode.ABORTED),
        (
            outcome(-signal.SIGKILL, oom=True),
            "OUT_OF_MEMORY",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
        (
            outcome(1, tail=["jaxlib.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory"]),
            "OUT_OF_MEMORY",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
        (outcome(1, tail=["MemoryError"]), "OUT_OF_MEMORY", grpc.StatusCode.RESOURCE_EXHAUSTED),
        (outcome(1, ERROR), "OVERLONG", grpc.StatusCode.FAILED_PRECONDITION),
        (outcome(0, directive=Directive.ABORT), "WORKER_FAULT", grpc.StatusCode.UNAVAILABLE),
        (worker_fault("no room"), "WORKER_FAULT", grpc.StatusCode.UNAVAILABLE),
        (refused(InvalidArgument("no")), "WORKER_FAULT", grpc.StatusCode.UNAVAILABLE),
        (
            refused(ResourceExhausted("no room", reason="TOO_MANY_STORED_BYTES")),
            "TOO_MANY_STORED_BYTES",
            grpc.StatusCode.RESOURCE_EXHAUSTED,
        ),
    ],
)
def test_every_failure_has_its_reason_and_code(
    attempt_outcome: Outcome, expected_reason: str, code: grpc.StatusCode
) -> None:
    assert isinstance(attempt_outcome, Failed)
    assert (attempt_outcome.error.reason, attempt_outcome.error.code) == (
        expected_reason,
        code.value[0],
    )
    assert attempt_outcome.error.message


def test_the_error_carries_how_it_ended_and_the_last_lines() -> None:
    killed = outcome(-signal.SIGKILL, tail=["one", "two"])
    assert isinstance(killed, Failed)
    assert killed.error.signal == "SIGKILL"
    assert not killed.error.HasField("exit_code")
    assert list(killed.error.log_tail) == ["one", "two"]
    crashed = outcome(3)
    assert isinstance(crashed, Failed)
    assert (crashed.error.exit_code, crashed.error.signal) == (3, "")
    stopped = outcome(0, StoppedEvent(released=False))
    assert isinstance(stopped, Failed)
    assert stopped.error.signal == "SIGTERM"
    late = outcome(-9, timed_out=True)
    assert isinstance(late, Failed)
    assert "8 s" in late.error.message
    assert outcome(-64) != outcome(-63)


def test_memory_is_not_blamed_for_a_kill_without_evidence() -> None:
    assert reason(outcome(-signal.SIGKILL, tail=["out of memory"])) == "STAGE_KILLED"
    assert reason(outcome(-signal.SIGTERM, oom=True)) == "STAGE_KILLED"

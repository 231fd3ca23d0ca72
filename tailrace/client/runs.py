"""Calls of RunService."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.client.call import Last, Paged, Stream, Unary, new_request_id, resource
from tailrace.client.log_check import LogCheck
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.protomap import enum_number, spec_to_proto
from tailrace.v1 import evaluation_pb2, run_pb2, run_pb2_grpc, run_spec_pb2

_Stub = run_pb2_grpc.RunServiceStub

TERMINAL_STATES = frozenset(
    {run_pb2.RUN_STATE_SUCCEEDED, run_pb2.RUN_STATE_FAILED, run_pb2.RUN_STATE_CANCELLED}
)
"""States that only a retry leaves."""


def create_run(
    spec: RunSpec | run_spec_pb2.RunSpec | Mapping[str, Any],
    *,
    run_id: str = "",
    request_id: str | None = None,
    validate_only: bool = False,
) -> Unary[run_pb2.Run]:
    """Submit a run, and return it as it was accepted.

    Args:
        spec: A :class:`~tailrace.RunSpec`, its message, or plain data as in a YAML run file.
        run_id: Id of the run (default: the server's choice).
        request_id: Id that makes the call repeatable (default: generated).
        validate_only: Check everything, store nothing, and return the run that would be created.

    Raises:
        SpecError: Every wrong field of plain data.
        InvalidArgument: The server refuses the spec.
        NotFound: The dataset, the model or a run that the spec names is missing.
        AlreadyExists: The id belongs to another run.
    """
    if isinstance(spec, Mapping):
        spec = parse(RunSpec, spec)
    message = spec_to_proto(spec) if isinstance(spec, RunSpec) else spec
    request = run_pb2.CreateRunRequest(
        run_id=run_id,
        spec=message,
        request_id=request_id or new_request_id(),
        validate_only=validate_only,
    )
    return Unary(lambda channel: _Stub(channel).CreateRun, request)


def get_run(name: str) -> Unary[run_pb2.Run]:
    """Return a run with its stages, attempts and history.

    Raises:
        NotFound: There is no such run.
    """
    request = run_pb2.GetRunRequest(name=resource("runs", name))
    return Unary(lambda channel: _Stub(channel).GetRun, request)


def list_runs(
    *, filter: str = "", order_by: str = "", page_size: int = 0, limit: int | None = None
) -> Paged[run_pb2.ListRunsResponse, run_pb2.Run]:
    """Iterate over runs, newest first; pages are fetched as they are needed.

    Args:
        filter: Conditions joined with AND (AIP-160): ``state = RUNNING``,
            ``create_time >= "2026-01-01T00:00:00Z"``, ``labels.team = "search"``,
            ``dataset = "golden-v2"``, ``model = "gpt2-nano"``, ``eval_set = "eval_v2"``,
            ``judge = "contains"``.
        order_by: ``create_time``, ``loss``, ``score`` or ``duration``, each alone or with
            ``desc`` (default: ``create_time desc``). Runs without a value are left out.
        page_size: Runs per request (default: the server's choice).
        limit: Maximum number of runs (default: all).

    Raises:
        InvalidArgument: The filter or the order is invalid.
    """
    request = run_pb2.ListRunsRequest(page_size=page_size, filter=filter, order_by=order_by)
    return Paged(lambda channel: _Stub(channel).ListRuns, request, lambda page: page.runs, limit)


def cancel_run(name: str) -> Unary[run_pb2.Run]:
    """Cancel a run; a repetition changes nothing.

    Raises:
        NotFound: There is no such run.
        FailedPrecondition: The run has ended in another state.
    """
    request = run_pb2.CancelRunRequest(name=resource("runs", name))
    return Unary(lambda channel: _Stub(channel).CancelRun, request)


def retry_run(name: str, *, request_id: str | None = None) -> Unary[run_pb2.Run]:
    """Queue a failed or cancelled run again from its first unfinished stage.

    Raises:
        NotFound: There is no such run.
        FailedPrecondition: The run is in another state.
    """
    request = run_pb2.RetryRunRequest(
        name=resource("runs", name), request_id=request_id or new_request_id()
    )
    return Unary(lambda channel: _Stub(channel).RetryRun, request)


def watch_run(
    name: str, *, after_revision: int = 0
) -> Stream[run_pb2.WatchRunResponse, run_pb2.Run]:
    """Yield the current run, then the run after each change, until it has ended.

    A broken stream continues after the last revision, so that no revision is repeated.

    Raises:
        NotFound: There is no such run.
        Unavailable: The control plane stayed away for the retry policy's ``reconnect_timeout``.
    """
    request = run_pb2.WatchRunRequest(name=resource("runs", name), after_revision=after_revision)
    return Stream(lambda channel: _Stub(channel).WatchRun, request, _advance_watch)


_LONGEST_WAIT = 10 * 365 * 24 * 3600
"""Seconds from which a limit counts as none."""


def wait_for_run(name: str, *, timeout: float | None = None) -> Last[run_pb2.Run]:
    """Return a run once it has ended: ``SUCCEEDED``, ``FAILED`` or ``CANCELLED``.

    It reconnects while the control plane is unavailable.

    Args:
        name: Name of the run.
        timeout: Maximum number of seconds to wait (default: no limit).

    Raises:
        NotFound: There is no such run.
        DeadlineExceeded: The run has not ended in time; it goes on.
        Unavailable: The control plane stayed away for the retry policy's ``reconnect_timeout``.
        ValueError: The timeout is not a number above 0.
    """
    name = resource("runs", name)
    if timeout is not None:
        if not isinstance(timeout, (int, float)) or not timeout > 0:
            raise ValueError(f"timeout must be a number of seconds above 0, not {timeout!r}")
        # gRPC has no deadlines as far away as that.
        timeout = None if timeout > _LONGEST_WAIT else timeout
    overdue = f"{name} has not ended after {timeout:g} s; it goes on" if timeout is not None else ""
    return Last(dataclasses.replace(watch_run(name), timeout=timeout), overdue)


def stream_logs(
    name: str,
    *,
    follow: bool = False,
    cursor: str = "",
    stage: str = "",
    min_level: str = "",
    contains: str = "",
) -> Stream[run_pb2.StreamLogsResponse, run_pb2.StreamLogsResponse]:
    """Yield log lines in batches, each of one attempt.

    A broken stream continues at its cursor: every line arrives exactly once, in order. An
    unfiltered log that is read from its start is compared with the store's count and digest.

    Args:
        name: Name of the run.
        follow: Wait for new lines until the run has ended.
        cursor: ``cursor`` of an earlier batch, of any process, to continue after it.
        stage: Only lines of this stage.
        min_level: Lowest level: ``debug``, ``info``, ``warning`` or ``error``.
        contains: Only lines with this text.

    Raises:
        NotFound: There is no such run.
        InvalidArgument: The cursor, the stage or a filter is invalid.
        Unavailable: The control plane stayed away for the retry policy's ``reconnect_timeout``.
        DataLoss: The log arrived incomplete.
        ValueError: The level is unknown.
    """
    level = enum_number(run_pb2.LogLevel.DESCRIPTOR, min_level) if min_level else 0
    request = run_pb2.StreamLogsRequest(
        name=resource("runs", name),
        cursor=cursor,
        follow=follow,
        stage=stage,
        min_level=run_pb2.LogLevel.ValueType(level),
        contains=contains,
    )
    check = LogCheck() if not (cursor or min_level or contains) else None
    return Stream(
        lambda channel: _Stub(channel).StreamLogs,
        request,
        lambda request, batch: _advance_logs(request, batch, check),
    )


def list_log_lines(
    name: str,
    stage: str,
    *,
    attempt: int = 0,
    sequence: int = 0,
    backwards: bool = False,
    page_size: int = 0,
    min_level: str = "",
    contains: str = "",
) -> Unary[run_pb2.ListLogLinesResponse]:
    """Return log lines of one attempt from a place on, without reading those before it.

    The page may have fewer lines than ``page_size`` before the end; ``next_sequence`` is the place
    to continue, 0 at the end.

    Args:
        name: Name of the run.
        stage: Id of the stage.
        attempt: Number of the attempt (default: the newest).
        sequence: Number of the first line to consider (default: the first, or backwards the last).
        backwards: Read towards the start of the log.
        page_size: Maximum number of lines (default: the server's choice).
        min_level: Lowest level: ``debug``, ``info``, ``warning`` or ``error``.
        contains: Only lines with this text.

    Raises:
        NotFound: There is no such run.
        InvalidArgument: There is no such stage or attempt.
        ValueError: The level is unknown.
    """
    level = enum_number(run_pb2.LogLevel.DESCRIPTOR, min_level) if min_level else 0
    request = run_pb2.ListLogLinesRequest(
        name=resource("runs", name),
        stage=stage,
        attempt=attempt,
        sequence=sequence,
        backwards=backwards,
        page_size=page_size,
        min_level=run_pb2.LogLevel.ValueType(level),
        contains=contains,
    )
    return Unary(lambda channel: _Stub(channel).ListLogLines, request)


def stream_metrics(
    name: str, *, follow: bool = False, cursor: str = "", metric_names: Sequence[str] = ()
) -> Stream[run_pb2.StreamMetricsResponse, run_pb2.StreamMetricsResponse]:
    """Yield metric points in batches, each of one attempt.

    A broken stream continues at its cursor: every point arrives exactly once, in order.

    Args:
        name: Name of the run.
        follow: Wait for new points until the run has ended.
        cursor: ``cursor`` of an earlier batch, of any process, to continue after it.
        metric_names: Only these metrics (default: all).

    Raises:
        NotFound: There is no such run.
        InvalidArgument: The cursor is invalid.
        Unavailable: The control plane stayed away for the retry policy's ``reconnect_timeout``.
    """
    request = run_pb2.StreamMetricsRequest(
        name=resource("runs", name), cursor=cursor, follow=follow, metric_names=metric_names
    )
    return Stream(lambda channel: _Stub(channel).StreamMetrics, request, _advance_cursor)


def list_predictions(
    run: str, *, eval_set: str = "", page_size: int = 0, limit: int | None = None
) -> Paged[run_pb2.ListPredictionsResponse, evaluation_pb2.Prediction]:
    """Iterate over a run's predictions, sorted by eval set and item.

    Args:
        run: Name of the run.
        eval_set: Only this eval set: ``name`` for any version, or ``name@version``.
        page_size: Predictions per request (default: the server's choice).
        limit: Maximum number of predictions (default: all).

    Raises:
        NotFound: There is no such run.
    """
    request = run_pb2.ListPredictionsRequest(
        parent=resource("runs", run), page_size=page_size, eval_set=eval_set
    )
    return Paged(
        lambda channel: _Stub(channel).ListPredictions,
        request,
        lambda page: page.predictions,
        limit,
    )


def list_verdicts(
    run: str,
    *,
    eval_set: str = "",
    judge: str = "",
    outcome: str = "",
    page_size: int = 0,
    limit: int | None = None,
) -> Paged[run_pb2.ListVerdictsResponse, evaluation_pb2.Verdict]:
    """Iterate over a run's verdicts, sorted by eval set and item.

    Args:
        run: Name of the run.
        eval_set: Only this eval set: ``name`` for any version, or ``name@version``.
        judge: Only this judge.
        outcome: Only this outcome: ``pass``, ``fail`` or ``error``.
        page_size: Verdicts per request (default: the server's choice).
        limit: Maximum number of verdicts (default: all).

    Raises:
        NotFound: There is no such run.
        ValueError: The outcome is unknown.
    """
    number = enum_number(evaluation_pb2.Outcome.DESCRIPTOR, outcome) if outcome else 0
    request = run_pb2.ListVerdictsRequest(
        parent=resource("runs", run),
        page_size=page_size,
        eval_set=eval_set,
        judge=judge,
        outcome=evaluation_pb2.Outcome.ValueType(number),
    )
    return Paged(
        lambda channel: _Stub(channel).ListVerdicts, request, lambda page: page.verdicts, limit
    )


def compare_runs(names: Sequence[str]) -> Unary[run_pb2.CompareRunsResponse]:
    """Compare runs with the first of them: specs, final metrics, verdicts on shared items.

    Raises:
        NotFound: One of the runs is missing.
        InvalidArgument: Fewer than 2 or more than 10 runs, or a run named twice.
    """
    request = run_pb2.CompareRunsRequest(names=[resource("runs", name) for name in names])
    return Unary(lambda channel: _Stub(channel).CompareRuns, request)


def _advance_watch(
    request: run_pb2.WatchRunRequest, response: run_pb2.WatchRunResponse
) -> list[run_pb2.Run]:
    if response.run.revision <= request.after_revision:
        return []
    request.after_revision = response.run.revision
    return [response.run]


def _advance_logs(
    request: run_pb2.StreamLogsRequest, batch: run_pb2.StreamLogsResponse, check: LogCheck | None
) -> list[run_pb2.StreamLogsResponse]:
    if check is not None:
        check.add(batch)
    return _advance_cursor(request, batch)


def _advance_cursor(request: Any, response: Any) -> list[Any]:
    request.cursor = response.cursor
    return [response]

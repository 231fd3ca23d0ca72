"""Store new runs: all that are submitted at the same time in one transaction."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import AlreadyExists, DomainError, Unavailable
from services.domain.run import Run, RunState, new_run_id, new_run_uid
from services.domain.stage import Stage, StageState
from services.runtime.meanwhile import meanwhile
from services.runtime.relay_queue import HOLD
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import outbox, requests, runs, stages
from services.storage.rows.capacity import Capacity
from services.usecases.context import Context
from services.usecases.runs.admission import survey
from services.usecases.runs.lifecycle import LockedRun
from services.usecases.runs.quota import check_runs
from services.usecases.runs.resolve import resolve_spec
from services.usecases.runs.template_clock import with_template_date
from services.usecases.runs.view import RunView, view, view_of_new
from services.usecases.stages.advance import advance
from services.usecases.stages.cache import find_result, stage_key
from tailrace.formats.schema import to_mapping
from tailrace.formats.spec.run_spec import RunSpec, StageExecution, StageKind

METHOD = "CreateRun"
"""Under which request ids are remembered."""

_TRIES = 4
"""Transactions until a call gives up whose request id others use at the same time."""


@dataclass(frozen=True, eq=False)
class Submission:
    """A run to be made; its spec is checked, but not yet resolved."""

    project: str
    run_id: str
    """Id wanted; empty for any."""
    spec: RunSpec
    sent: Mapping[str, Any]
    """The spec as it was sent."""
    request_id: str
    """Empty if the call need not be repeatable."""
    digest: str
    """sha256 of what was asked for."""
    respond: Callable[[RunView], Any]
    """Makes the response of the run."""

    @property
    def request(self) -> tuple[str, str]:
        """What is unique about a repeatable call."""
        return self.project, self.request_id


@dataclass(frozen=True)
class _Plan:
    submission: Submission
    run: Run
    stages: list[Stage]
    known: bool
    """Whether the first stage's result is known, so that the run goes on without a worker."""


class _RepeatedError(Exception):
    """One of the calls may have been made before: its request id has to be looked up first."""


Outcomes = dict[Submission, RunView | DomainError]

Response = asyncio.Task[Any] | DomainError
"""What ``respond`` makes of a run; it is at it."""


async def accept(context: Context, submissions: Sequence[Submission]) -> list[Response]:
    """Make new runs, or find what an earlier call with the same request id made.

    Errors: ``InvalidInput``, ``NotFound``, ``AlreadyExists`` (RUN_EXISTS, REQUEST_ID_REUSED).
    """
    settings = context.settings
    # A limit counts what is stored: each run has to see the one before it.
    limited = settings.max_unfinished_runs is not None or settings.max_runs_per_label
    responses: dict[Submission, Response] = {}
    while len(responses) < len(submissions):
        firsts: dict[object, Submission] = {}
        for submission in submissions:
            if submission not in responses:
                # So has a call the one with the same request id.
                firsts.setdefault(
                    submission.request if submission.request_id else submission, submission
                )
        together = list(firsts.values())
        responses |= await _accept(context, together[:1] if limited else together)
    return [responses[submission] for submission in submissions]


async def _accept(context: Context, submissions: list[Submission]) -> dict[Submission, Response]:
    for tried in range(_TRIES):
        try:
            async with context.database.write() as conn:
                # Hardly any call is a repetition, and one that is collides with what it has made.
                outcomes, handed = await _store(conn, context, submissions, look_up=tried > 0)
                responses = {each: _response(each, outcome) for each, outcome in outcomes.items()}
        except _RepeatedError:
            continue
        context.relay_queue.put(handed)
        if len(handed) < len(submissions):
            context.wakeups.wake(OUTBOX)
        return responses
    raise Unavailable("REQUEST_BUSY", "the request id is in use by another call: try again")


def _response(submission: Submission, outcome: RunView | DomainError) -> Response:
    return outcome if isinstance(outcome, DomainError) else meanwhile(submission.respond, outcome)


async def _store(
    conn: AsyncConnection, context: Context, submissions: list[Submission], *, look_up: bool
) -> tuple[Outcomes, list[Sequence[Stage]]]:
    """What becomes of each submission, and what the relay is to publish after the commit.

    Raises ``_RepeatedError`` unless it may look up request ids.
    """
    outcomes: Outcomes = {}
    plans = []
    repeatable = [s.request for s in submissions if s.request_id]
    earlier = await requests.find_requests(conn, METHOD, repeatable if look_up else [])
    for submission in submissions:
        try:
            request = earlier.get(submission.request)
            if request is not None:
                outcomes[submission] = await _made_before(conn, submission, request)
            else:
                plans.append(await _plan(conn, context, submission))
        except DomainError as error:
            outcomes[submission] = error
    free = await runs.add_all(conn, [(plan.run, plan.submission.spec.labels) for plan in plans])
    for plan in plans:
        if plan.run.uid not in free:
            exists = f"{plan.run.name} exists: choose another run_id"
            outcomes[plan.submission] = AlreadyExists("RUN_EXISTS", exists)
    if not look_up and any(s.request_id for s in outcomes):
        # What fails now may have succeeded the first time.
        raise _RepeatedError
    begun, handed = await _begin(conn, context, [p for p in plans if p.run.uid in free])
    return outcomes | begun, handed


async def _begin(
    conn: AsyncConnection, context: Context, plans: list[_Plan]
) -> tuple[Outcomes, list[Sequence[Stage]]]:
    """Store what belongs to runs that were stored; the runs as they then are."""
    await stages.add_all(conn, [(p.run.project, stage) for p in plans for stage in p.stages])
    capacity, handed = await _queue(conn, context, [p for p in plans if not p.known])
    new = {p.submission.request: requests.Request(p.submission.digest, p.run.uid)
           for p in plans if p.submission.request_id}  # fmt: skip
    if not await requests.add_requests(conn, METHOD, new):
        raise _RepeatedError
    outcomes: Outcomes = {}
    for plan in plans:
        if plan.known:
            locked_run = LockedRun(plan.run, plan.stages)
            locked_run, _ = await advance(
                conn, context, locked_run, "its inputs are there", first=True
            )
            outcomes[plan.submission] = await view(conn, locked_run.run)
        else:
            outcomes[plan.submission] = view_of_new(plan.run, plan.stages, capacity)
    return outcomes, handed


async def _queue(
    conn: AsyncConnection, context: Context, plans: list[_Plan]
) -> tuple[Capacity, list[Sequence[Stage]]]:
    """Queue the runs' first stages; the fleet before, and what our relay is to publish."""
    capacity, admitted = await survey(conn, context, [plan.stages[0] for plan in plans])
    now = utc_now()
    claim = outbox.Claim(context.relay_queue.claim, now + HOLD)
    rows = [outbox.Row(plan.run.project, plan.stages[0], now, first=True,
                       claim=claim if plan.run.uid in admitted else None)
            for plan in plans]  # fmt: skip
    handed: list[Sequence[Stage]] = [p.stages for p in plans if p.run.uid in admitted]
    await outbox.add_all(conn, rows)
    return capacity, handed


async def _made_before(
    conn: AsyncConnection, submission: Submission, request: requests.Request
) -> RunView:
    check_repeated(METHOD, submission.request_id, request, submission.digest)
    run = await runs.by_uid(conn, request.run_uid)
    if run is None:
        raise RuntimeError(f"run {request.run_uid} vanished, its request id did not")
    return await view(conn, run)


def check_repeated(method: str, request_id: str, request: requests.Request, digest: str) -> None:
    """Raise ``AlreadyExists`` (REQUEST_ID_REUSED) when a request id stood for something else."""
    if request.digest != digest:
        raise AlreadyExists(
            "REQUEST_ID_REUSED", f"request_id {request_id!r} was used for another {method} request"
        )


async def _plan(conn: AsyncConnection, context: Context, submission: Submission) -> _Plan:
    run, planned = await build(conn, context, submission)
    await check_runs(conn, context.settings, submission.project, submission.spec.labels)
    first = planned[0]
    pending = dataclasses.replace(first, state=StageState.PENDING, queue_time=None)
    key = await stage_key(conn, LockedRun(run, [pending, *planned[1:]]), first)
    known = await find_result(conn, context.blobs, run, key) is not None
    begun = pending if known else dataclasses.replace(first, cache_key=key)
    return _Plan(submission, run, [begun, *planned[1:]], known)


async def build(
    conn: AsyncConnection, context: Context, submission: Submission
) -> tuple[Run, list[Stage]]:
    """The run that a submission asks for, not stored; raises what :func:`resolve_spec` raises."""
    project, now = submission.project, utc_now()
    spec = await resolve_spec(conn, project, submission.spec)
    spec = await with_template_date(conn, context.blobs, project, spec, now)
    run = Run(
        uid=new_run_uid(),
        project=submission.project,
        run_id=submission.run_id or new_run_id(),
        spec=dict(submission.sent),
        resolved_spec=to_mapping(spec),
        state=RunState.QUEUED,
        revision=1,
        create_time=now,
        start_time=None,
        end_time=None,
        update_time=now,
    )
    return run, [_stage(run, spec, i, kind) for i, kind in enumerate(spec.stage_kinds())]


def _stage(run: Run, spec: RunSpec, ordinal: int, kind: StageKind) -> Stage:
    execution: StageExecution = getattr(spec.execution, kind.value)
    first = ordinal == 0
    return Stage(
        run_uid=run.uid,
        stage_id=kind.value,
        ordinal=ordinal,
        kind=kind,
        pool=execution.pool,
        state=StageState.QUEUED if first else StageState.PENDING,
        attempt=1,
        failures=0,
        max_attempts=spec.retry.max_attempts,
        progress=None,
        error=None,
        result=None,
        cached_from="",
        queue_time=run.create_time if first else None,
        start_time=None,
        end_time=None,
    )

"""Storing of new runs: runs submitted at the same time share one transaction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.access.audit import change_of
from services.domain.caller import Caller
from services.domain.errors import AlreadyExists, DomainError, Unavailable
from services.domain.run import (
    Run,
    RunModel,
    RunState,
    StoredSpec,
    new_run_id,
    new_run_uid,
)
from services.domain.stage import Stage, StageState
from services.runtime.relay_queue import HOLD
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import outbox, requests, run_sources, runs, stages
from services.storage.rows.access import audit
from services.usecases.content import model_uses
from services.usecases.context import Context
from services.usecases.quotas.runs import check_unfinished, lock_projects, place_wait
from services.usecases.runs.admission import admit
from services.usecases.runs.lifecycle import LockedRun
from services.usecases.runs.model_source import FIELD, find_source, run_model
from services.usecases.runs.request_ids import check_repeated
from services.usecases.runs.resolve import resolve_spec
from services.usecases.runs.template_clock import with_template_date
from services.usecases.runs.view import RunView, view, view_of_new
from services.usecases.stages.advance import advance
from services.usecases.stages.cache import find_result, stage_key
from tailrace.formats.spec.run_spec import RunSpec, StageExecution, StageKind

METHOD = "CreateRun"
"""Method under which request ids are remembered."""

_TRIES = 4
"""Maximum number of transactions for a request id that other calls use at the same time."""


@dataclass(frozen=True, eq=False)
class NewRun:
    """A run to create; its spec is checked, but not yet resolved."""

    caller: Caller
    run_id: str
    """Requested id; empty for a generated one."""
    spec: RunSpec
    original_spec: Mapping[str, Any]
    """The spec as the client sent it."""
    request_id: str
    """Empty if the call need not be repeatable."""
    digest: str
    """sha256 of the request."""

    @property
    def project(self) -> str:
        """Project of the run."""
        return self.caller.project

    @property
    def request_key(self) -> tuple[str, str]:
        """Identity of a repeatable call."""
        return self.project, self.request_id


@dataclass(frozen=True)
class PlannedRun(LockedRun):
    """A run to store, with its stages."""

    source_uid: str = ""
    """Run whose model it starts from; empty without one."""
    waits: bool = False
    """True if that run has to end first."""


class _RepeatedError(Exception):
    """One of the calls may be a repetition: its request id has to be looked up first."""


Views = dict[NewRun, RunView]


async def accept_runs(
    context: Context, new_runs: Sequence[NewRun]
) -> Sequence[RunView | DomainError]:
    """Store new runs, or find those that earlier calls with the same request ids created.

    Errors: ``InvalidInput``, ``NotFound``, ``AlreadyExists`` (RUN_EXISTS, REQUEST_ID_REUSED).

    Raises:
        Unavailable: Other calls keep using one of the request ids (REQUEST_BUSY).
    """
    for attempt in range(_TRIES):
        try:
            async with context.database.write() as conn:
                # Retries are rare: a retry hits the unique constraint and is then looked up.
                outcomes, queued = await _store(conn, context, new_runs, look_up=attempt > 0)
        except _RepeatedError:
            continue
        context.relay_queue.put(queued)
        if len(queued) < len(new_runs):
            context.wakeups.wake(OUTBOX)
        return [outcomes[new_run] for new_run in new_runs]
    raise Unavailable("REQUEST_BUSY", "the request id is in use by another call: try again")


async def _store(
    conn: AsyncConnection, context: Context, new_runs: Sequence[NewRun], *, look_up: bool
) -> tuple[dict[NewRun, RunView | DomainError], list[Sequence[Stage]]]:
    """Return the outcome of each new run, and the runs to queue for the relay after the commit.

    Raises ``_RepeatedError`` unless it may look up request ids.
    """
    outcomes: dict[NewRun, RunView | DomainError] = {}
    plans: dict[NewRun, PlannedRun] = {}
    await lock_projects(conn, context, (new_run.project for new_run in new_runs))
    repeatable = [new_run.request_key for new_run in new_runs if new_run.request_id]
    earlier = await requests.find_requests(conn, METHOD, repeatable if look_up else [])
    for new_run in new_runs:
        request = earlier.get(new_run.request_key)
        try:
            if request is not None:
                outcomes[new_run] = await _view_of_repeated(conn, context, new_run, request)
            else:
                plans[new_run] = await _plan(conn, context, new_run)
        except DomainError as error:
            outcomes[new_run] = error
    labelled = [(plan.run, new_run.spec.labels) for new_run, plan in plans.items()]
    stored_uids = await runs.add_all(conn, labelled)
    for new_run in [new_run for new_run in plans if plans[new_run].run.uid not in stored_uids]:
        exists = f"{plans.pop(new_run).run.name} exists: choose another run_id"
        outcomes[new_run] = AlreadyExists("RUN_EXISTS", exists)
    if not look_up and any(new_run.request_id for new_run in outcomes):
        # A call that fails now may have succeeded the first time.
        raise _RepeatedError
    await stages.add_all(
        conn, [(plan.run.project, stage) for plan in plans.values() for stage in plan.stages]
    )
    await run_sources.add_all(
        conn, {plan.run.uid: plan.source_uid for plan in plans.values() if plan.source_uid}
    )
    now = utc_now()
    await audit.add_all(
        conn, [change_of(new_run.caller, plan.run.name, now) for new_run, plan in plans.items()]
    )
    views, queued = await _start(conn, context, plans)
    created = {
        new_run.request_key: requests.Request(new_run.digest, plan.run.uid)
        for new_run, plan in plans.items()
        if new_run.request_id
    }
    if not await requests.add_requests(conn, METHOD, created):
        raise _RepeatedError
    return outcomes | views, queued


async def _start(
    conn: AsyncConnection, context: Context, plans: Mapping[NewRun, PlannedRun]
) -> tuple[Views, list[Sequence[Stage]]]:
    """Queue the runs' first stages; advance the runs whose first stage has a cached result."""
    queued = [plan for plan in plans.values() if plan.stages[0].state is StageState.QUEUED]
    firsts = [(plan.run.project, plan.stages[0]) for plan in queued]
    capacity, admitted = await admit(conn, context, firsts)
    now = utc_now()
    claim = outbox.Claim(context.relay_queue.claim, now + HOLD)
    rows = [
        outbox.NewEntry(plan.run.project, plan.stages[0], now, first=True,
                   claim=claim if plan.run.uid in admitted else None)
        for plan in queued
    ]  # fmt: skip
    await outbox.add_all(conn, rows)
    views: Views = {}
    for new_run, plan in plans.items():
        if plan.stages[0].state is StageState.QUEUED:
            wait = await place_wait(conn, context, plan.run.project)
            views[new_run] = view_of_new(plan.run, plan.stages, capacity, wait)
        elif plan.waits:
            views[new_run] = await view(conn, context, plan.run)
        else:
            advanced, _ = await advance(conn, context, plan, "its inputs are ready", first=True)
            views[new_run] = await view(conn, context, advanced.run)
    return views, [plan.stages for plan in queued if plan.run.uid in admitted]


async def _view_of_repeated(
    conn: AsyncConnection, context: Context, new_run: NewRun, request: requests.Request
) -> RunView:
    check_repeated(METHOD, new_run.request_id, request, new_run.digest)
    run = await runs.find_by_uid(conn, request.run_uid)
    if run is None:
        raise RuntimeError(f"run {request.run_uid} vanished, its request id did not")
    return await view(conn, context, run)


async def _plan(conn: AsyncConnection, context: Context, new_run: NewRun) -> PlannedRun:
    """Return the run to store.

    Its first stage is PENDING where its result is cached, or where it waits for another run.
    """
    run, planned = await plan_run(conn, context, new_run, lock=True)
    await check_unfinished(conn, context, new_run.project, new_run.spec.labels)
    first, *later = planned
    actor = new_run.caller.subject
    source = run_model(run.resolved_spec)
    source_uid = RunModel.parse(source, FIELD).run_id if source else ""
    if first.state is StageState.PENDING:
        return PlannedRun(run, planned, actor, source_uid, waits=True)
    pending = PlannedRun(run, [_pending(first), *later], actor, source_uid)
    key = await stage_key(conn, pending, first)
    if await find_result(conn, context.blobs.of(run.project), run, key) is not None:
        return pending
    first = dataclasses.replace(first, cache_key=key)
    return PlannedRun(run, [first, *later], actor, source_uid)


def _pending(first: Stage) -> Stage:
    return dataclasses.replace(first, state=StageState.PENDING, queue_time=None)


async def plan_run(
    conn: AsyncConnection, context: Context, new_run: NewRun, *, lock: bool = False
) -> tuple[Run, list[Stage]]:
    """Return the run to create and its stages; the first is PENDING if it waits for another run.

    ``lock`` keeps that run from ending before the transaction does, and imported models that are
    named from being deleted. Errors are those of
    :func:`resolve_spec` and :meth:`SourceRun.is_ready`.
    """
    project, now = new_run.project, utc_now()
    if lock:
        await model_uses.keep_models(conn, project, new_run.spec)
    spec = await resolve_spec(conn, project, new_run.spec)
    if run_model(spec) is not None:
        await model_uses.require_models(conn, project, spec)
    spec = await with_template_date(conn, context.blobs.of(project), project, spec, now)
    run = Run(
        uid=new_run_uid(),
        project=project,
        run_id=new_run.run_id or new_run_id(),
        spec=dict(new_run.original_spec),
        stored_spec=StoredSpec.of(spec),
        state=RunState.QUEUED,
        revision=1,
        create_time=now,
        start_time=None,
        end_time=None,
        update_time=now,
        creator=new_run.caller.subject,
    )
    first, *later = [_stage(run, spec, i, kind) for i, kind in enumerate(spec.stage_kinds())]
    name = run_model(spec)
    if name is not None:
        source = await find_source(conn, project, name, lock=lock)
        if not await source.is_ready(conn):
            first = _pending(first)
    return run, [first, *later]


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

"""RetryRun: queue a failed or cancelled run again from its first stage without a result."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import Caller
from services.domain.errors import FailedPrecondition, InvalidInput
from services.domain.run import RunState
from services.domain.stage import StageState, next_unfinished
from services.runtime.wakeups import OUTBOX
from services.storage.rows import requests, runs
from services.storage.rows.access import audit
from services.usecases.content.model_uses import keep_models, require_models
from services.usecases.context import Context
from services.usecases.quotas.runs import check_unfinished, lock_projects
from services.usecases.runs.lifecycle import (
    LockedRun,
    lock_named_run,
    move_run,
    move_stage,
    queue_stage,
)
from services.usecases.runs.model_source import SourceRun, find_source, run_model
from services.usecases.runs.request_ids import repeated_request, request_id_violations
from services.usecases.runs.view import RunView, view
from tailrace.formats.canonical import sha256_json

METHOD = "RetryRun"
"""Method under which request ids are remembered."""

_REASON = "retried by request"


async def retry_run(context: Context, caller: Caller, run_id: str, request_id: str) -> RunView:
    """Queue a new attempt of the first unfinished stage and raise its attempt limit.

    Existing results stay.

    Raises:
        InvalidInput: The request id is not valid.
        NotFound: The run, or a model that it loads, does not exist.
        AlreadyExists: The request id was used for another run (REQUEST_ID_REUSED).
        FailedPrecondition: The run is not FAILED or CANCELLED, or has all results
            (RUN_NOT_RETRYABLE), or the run whose model it starts from was not retried
            (SOURCE_RUN_FAILED, SOURCE_RUN_CANCELLED).
        QuotaExceeded: There are too many unfinished runs (TOO_MANY_RUNS).
    """
    if violations := request_id_violations(request_id):
        raise InvalidInput(violations)
    digest = sha256_json({"run_id": run_id})
    async with context.database.write() as conn:
        if request_id:
            repeated = await repeated_request(conn, caller.project, METHOD, request_id, digest)
            if repeated is not None:
                return await view(conn, context, repeated)
        await lock_projects(conn, context, [caller.project])
        source = await _lock_source(conn, caller.project, run_id)
        locked_run = await lock_named_run(conn, caller, run_id)
        run = locked_run.run
        if run.state not in (RunState.FAILED, RunState.CANCELLED):
            raise FailedPrecondition(
                "RUN_NOT_RETRYABLE",
                f"{run.name} is {run.state}: only FAILED and CANCELLED runs are retried",
            )
        await check_unfinished(conn, context, run.project, run.resolved_spec.labels)
        locked_run = await _queue_again(conn, locked_run, source)
        await audit.record(conn, caller, run.name)
        if request_id:
            request = requests.Request(digest, run.uid)
            await requests.add_request(conn, caller.project, METHOD, request_id, request)
        retried = await view(conn, context, locked_run.run)
    context.wakeups.wake(OUTBOX, run.uid)
    return retried


async def _lock_source(conn: AsyncConnection, project: str, run_id: str) -> SourceRun | None:
    """Lock the run whose model a run starts from, if there is one, before the run itself.

    Keeps the models that the run loads. Raises ``NotFound`` for one that is deleted.
    """
    spec = (await runs.get(conn, project, run_id)).resolved_spec
    await keep_models(conn, project, spec)
    await require_models(conn, project, spec)
    name = run_model(spec)
    return None if name is None else await find_source(conn, project, name, lock=True)


async def _queue_again(
    conn: AsyncConnection, locked_run: LockedRun, source: SourceRun | None
) -> LockedRun:
    stage = next_unfinished(locked_run.stages)
    if stage is None:
        # Cancelled while its last stage completed: it has all results.
        raise FailedPrecondition(
            "RUN_NOT_RETRYABLE", f"{locked_run.run.name} has every result: nothing to run again"
        )
    waits = source is not None and not await source.is_ready(conn)
    locked_run = await move_run(conn, locked_run, RunState.QUEUED, _REASON, end_time=None)
    for later in locked_run.stages:
        if later.ordinal > stage.ordinal and later.state is StageState.CANCELLED:
            locked_run = await move_stage(
                conn, locked_run, later, StageState.PENDING, _REASON, end_time=None
            )
    limit = stage.failures + locked_run.run.resolved_spec.retry.max_attempts
    if waits:
        waiting = {"max_attempts": limit, "error": None, "end_time": None, "progress": None}
        return await move_stage(conn, locked_run, stage, StageState.PENDING, _REASON, **waiting)
    return await queue_stage(
        conn,
        locked_run,
        stage,
        _REASON,
        first=True,
        attempt=stage.attempt + 1,
        max_attempts=limit,
        progress=None,
    )

"""Runs that wait for another run's model: queued or failed once that run has ended."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import DomainError
from services.domain.run import RUN_TERMINAL, RunState
from services.domain.stage import StageError, StageState, next_unfinished
from services.storage.engine.columns import utc_now
from services.storage.rows import run_sources
from services.usecases.context import Context
from services.usecases.runs.lifecycle import LockedRun, lock_run, move_run, move_stage
from services.usecases.runs.model_source import find_source, run_model
from services.usecases.stages.advance import advance


async def settle_waiting(conn: AsyncConnection, context: Context, ended: LockedRun) -> list[str]:
    """Queue or fail the runs that wait for a run which this transaction has ended.

    Their histories name the same actor.

    A transaction that creates or retries a waiting run holds a lock on its source, so that it
    either commits before the source ends, and is found here, or sees the source's last state.
    Sources are locked before the runs that wait for them.

    Returns:
        The uids of the changed runs, whose watchers must be woken after the commit.
    """
    if ended.run.state not in RUN_TERMINAL:
        return []
    changed = []
    for uid in await run_sources.list_queued(conn, ended.run.uid):
        waiting_run = await lock_run(conn, uid, ended.actor)
        if waiting_run is not None and _waits(waiting_run):
            settled = await _settle(conn, context, waiting_run)
            changed += [uid, *await settle_waiting(conn, context, settled)]
    return changed


def _waits(locked_run: LockedRun) -> bool:
    stage = next_unfinished(locked_run.stages)
    return (
        locked_run.run.state is RunState.QUEUED
        and stage is not None
        and stage.state is StageState.PENDING
    )


async def _settle(conn: AsyncConnection, context: Context, locked_run: LockedRun) -> LockedRun:
    run = locked_run.run
    source = await find_source(conn, run.project, run_model(run.resolved_spec) or "")
    try:
        if not await source.is_ready(conn):
            return locked_run
    except DomainError as error:
        return await _fail(conn, locked_run, error)
    reason = f"{source.run.name} is {source.run.state}"
    advanced, _ = await advance(conn, context, locked_run, reason, first=True)
    return advanced


async def _fail(conn: AsyncConnection, locked_run: LockedRun, error: DomainError) -> LockedRun:
    stage = next_unfinished(locked_run.stages)
    if stage is None:
        raise RuntimeError(f"run {locked_run.run.uid} waits without an unfinished stage")
    now = utc_now()
    stage_error = StageError(error.code, error.reason, error.message)
    locked_run = await move_stage(
        conn, locked_run, stage, StageState.FAILED, error.reason, error=stage_error, end_time=now
    )
    reason = f"{stage.stage_id}: {error.reason}"
    return await move_run(conn, locked_run, RunState.FAILED, reason, end_time=now)

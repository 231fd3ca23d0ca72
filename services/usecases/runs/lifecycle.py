"""Transitions of a locked run that several use cases share.

Locks are taken in the order run, stages, attempt, outbox; a lock on the run covers the rest. Each
transition writes the stage, the history and the run's revision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import Caller, worker_subject
from services.domain.errors import LeaseLost
from services.domain.lease import parse_token
from services.domain.run import RUN_TERMINAL, Run, RunState
from services.domain.stage import (
    STAGE_DONE,
    Attempt,
    AttemptState,
    Stage,
    StageError,
    StageState,
    last_loss,
    main_scores,
)
from services.domain.worker import Worker
from services.storage.engine.columns import utc_now
from services.storage.rows import (
    attempts,
    evaluations,
    history,
    outbox,
    runs,
    runs_with_stages,
    stages,
)
from services.usecases.context import Context
from tailrace.formats.backoff import backoff


@dataclass(frozen=True)
class LockedRun:
    """Run and its stages under the transaction's lock, after the latest transition."""

    run: Run
    stages: list[Stage]
    actor: str
    """Actor of this transaction, for the history of the run: a caller's subject, ``worker:ID``,
    or :data:`~services.domain.access.audit.CONTROL_PLANE`."""

    def stage(self, stage_id: str) -> Stage | None:
        """Return the stage with this id, if there is one."""
        return next((stage for stage in self.stages if stage.stage_id == stage_id), None)

    def with_stage(self, moved: Stage, run: Run) -> LockedRun:
        """Return the locked run with its changed run and stage."""
        stages = [moved if stage.stage_id == moved.stage_id else stage for stage in self.stages]
        return replace(self, run=run, stages=stages)


@dataclass(frozen=True)
class OpenLease:
    """Attempt of a lease token, with its locked run; the attempt may have ended."""

    locked_run: LockedRun
    stage: Stage
    attempt: Attempt

    def require_alive(self) -> None:
        """Raise :class:`LeaseLost` unless the attempt is the stage's running one."""
        if self.attempt.state is not AttemptState.RUNNING:
            raise LeaseLost


async def lock_run(conn: AsyncConnection, run_uid: str, actor: str) -> LockedRun | None:
    """Lock a run and its stages for ``actor``; return ``None`` if it does not exist."""
    run_with_stages = await runs_with_stages.lock(conn, run_uid)
    return None if run_with_stages is None else LockedRun(*run_with_stages, actor)


async def lock_named_run(conn: AsyncConnection, caller: Caller, run_id: str) -> LockedRun:
    """Lock the run of the caller that an id or a uid names, and its stages. Raises ``NotFound``."""
    run = await runs.get(conn, caller.project, run_id)
    locked_run = await lock_run(conn, run.uid, caller.subject)
    if locked_run is None:
        raise RuntimeError(f"run {run.uid} vanished")
    return locked_run


async def lock_run_for(
    conn: AsyncConnection, run_uid: str, worker_id: str
) -> tuple[Worker | None, LockedRun | None]:
    """Lock a run and its stages; also return the worker of the call, if it is registered."""
    worker, run_with_stages = await runs_with_stages.lock_for_worker(conn, run_uid, worker_id)
    if run_with_stages is None:
        return worker, None
    return worker, LockedRun(*run_with_stages, worker_subject(worker_id))


async def open_lease(conn: AsyncConnection, token: str) -> OpenLease:
    """Lock the run of a lease token.

    The attempt may have ended: :meth:`OpenLease.require_alive` checks it.

    Raises:
        LeaseLost: The token was never valid for the attempt.
    """
    lease = parse_token(token)
    if lease is None:
        raise LeaseLost
    run_with_stages = await runs_with_stages.lock(conn, lease.task_id.run_uid)
    attempt = await attempts.get(conn, lease.task_id)
    if run_with_stages is None or attempt is None or not lease.matches(attempt.lease_digest):
        raise LeaseLost
    locked_run = LockedRun(*run_with_stages, worker_subject(attempt.worker_id))
    stage = locked_run.stage(lease.task_id.stage)
    if stage is None:
        raise LeaseLost
    return OpenLease(locked_run, stage, attempt)


async def peek_lease(conn: AsyncConnection, token: str) -> Attempt:
    """Return the attempt of a lease token without a lock. Raises :class:`LeaseLost`."""
    lease = parse_token(token)
    attempt = None if lease is None else await attempts.get(conn, lease.task_id)
    if lease is None or attempt is None or not lease.matches(attempt.lease_digest):
        raise LeaseLost
    return attempt


async def require_lease(context: Context, token: str) -> Attempt:
    """Return the attempt of a token, whether or not it still runs; costs one read.

    Raises:
        LeaseLost: The token was never valid.
    """
    if parse_token(token) is None:
        raise LeaseLost
    async with context.database.read() as conn:
        return await peek_lease(conn, token)


async def move_stage(
    conn: AsyncConnection,
    locked_run: LockedRun,
    stage: Stage,
    to: StageState,
    reason: str,
    **columns: Any,
) -> LockedRun:
    """Change a stage's state together with other columns."""
    moved = await stages.move(conn, stage, to, **columns)
    change = history.Change(stage.stage_id, stage.state, to)
    return locked_run.with_stage(
        moved, await runs.record_stage(conn, locked_run.run, change, reason, locked_run.actor)
    )


async def begin_stage(
    conn: AsyncConnection, locked_run: LockedRun, stage: Stage, reason: str, now: datetime
) -> LockedRun:
    """Set a stage RUNNING, and the run, too, if this is its first stage to run."""
    columns = {"start_time": stage.start_time or now, "progress": None, "error": None}
    if locked_run.run.state is not RunState.QUEUED:
        return await move_stage(conn, locked_run, stage, StageState.RUNNING, reason, **columns)
    moved = await stages.move(conn, stage, StageState.RUNNING, **columns)
    change = history.Change(stage.stage_id, stage.state, StageState.RUNNING)
    start_time = locked_run.run.start_time or now
    run = await runs.move(
        conn,
        locked_run.run,
        RunState.RUNNING,
        reason,
        locked_run.actor,
        after=change,
        start_time=start_time,
    )
    return locked_run.with_stage(moved, run)


async def move_run(
    conn: AsyncConnection, locked_run: LockedRun, to: RunState, reason: str, **columns: Any
) -> LockedRun:
    """Change the run's state together with other columns."""
    run = await runs.move(conn, locked_run.run, to, reason, locked_run.actor, **columns)
    if to in RUN_TERMINAL:
        await _record_figures(conn, run, locked_run.stages)
    return replace(locked_run, run=run)


async def _record_figures(conn: AsyncConnection, run: Run, run_stages: list[Stage]) -> None:
    """Store the figures by which lists find and sort an ended run."""
    scores = main_scores(run_stages)
    duration = None
    if run.start_time is not None and run.end_time is not None:
        duration = (run.end_time - run.start_time).total_seconds()
    main_score = next(iter(scores.values()), None)
    await runs.record_figures(conn, run.uid, last_loss(run_stages), main_score, duration)
    rows = [evaluations.RunScore(*key, score) for key, score in scores.items()]
    await evaluations.store_scores(conn, run, rows)


async def queue_stage(
    conn: AsyncConnection,
    locked_run: LockedRun,
    stage: Stage,
    reason: str,
    *,
    delay: float = 0.0,
    first: bool = False,
    **columns: Any,
) -> LockedRun:
    """Queue a stage's current attempt for publication after ``delay`` seconds."""
    now = utc_now()
    columns = {"queue_time": stage.queue_time or now, "end_time": None, **columns}
    locked_run = await move_stage(conn, locked_run, stage, StageState.QUEUED, reason, **columns)
    queued = locked_run.stage(stage.stage_id)
    if queued is None:
        raise RuntimeError(f"stage {stage.task_id} vanished under the lock")
    due = now + timedelta(seconds=delay)
    await outbox.add_all(conn, [outbox.NewEntry(locked_run.run.project, queued, due, first=first)])
    return locked_run


async def end_cancelled(conn: AsyncConnection, locked_run: LockedRun, reason: str) -> LockedRun:
    """End the run and its stages without a result as CANCELLED; remove its outbox rows."""
    now = utc_now()
    for stage in locked_run.stages:
        if stage.state not in STAGE_DONE:
            locked_run = await move_stage(
                conn, locked_run, stage, StageState.CANCELLED, reason, end_time=now, progress=None
            )
    await outbox.remove(conn, locked_run.run.uid)
    return await move_run(conn, locked_run, RunState.CANCELLED, reason, end_time=now)


async def after_failure(
    conn: AsyncConnection, locked_run: LockedRun, stage: Stage, error: StageError
) -> tuple[LockedRun, bool]:
    """Continue a run after an attempt that counts as failed; return True if another is queued.

    A CANCELLING run ends CANCELLED. Otherwise another attempt is queued after the policy's
    back-off, or the stage and the run end FAILED.
    """
    if locked_run.run.state is RunState.CANCELLING:
        return await end_cancelled(conn, locked_run, f"cancelled; {error.reason}"), False
    failures = stage.failures + 1
    if error.retryable and failures < stage.max_attempts:
        policy = locked_run.run.resolved_spec.retry
        delay = backoff(failures, policy.initial_backoff, policy.max_backoff)
        locked_run = await queue_stage(
            conn,
            locked_run,
            stage,
            f"another attempt after {error.reason}",
            delay=delay,
            attempt=stage.attempt + 1,
            failures=failures,
            error=error,
            progress=None,
        )
        return locked_run, True
    now = utc_now()
    failed = {"failures": failures, "error": error, "end_time": now}
    locked_run = await move_stage(
        conn, locked_run, stage, StageState.FAILED, error.reason, **failed
    )
    locked_run = await move_run(
        conn, locked_run, RunState.FAILED, f"{stage.stage_id}: {error.reason}", end_time=now
    )
    return locked_run, False

"""Moves that several use cases share, on a run that the transaction has locked.

Locks are taken in the order run, stages, attempt, outbox; whoever holds the run holds the rest.
Each move writes the stage, the history and the run's revision.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.errors import LeaseLost
from services.domain.lease import parse_token
from services.domain.run import Run, RunState
from services.domain.stage import (
    STAGE_DONE,
    Attempt,
    AttemptState,
    Stage,
    StageError,
    StageState,
    backoff,
)
from services.domain.worker import Worker
from services.storage.engine.columns import utc_now
from services.storage.rows import attempts, history, outbox, runs, stages, whole
from services.usecases.context import Context


@dataclass(frozen=True)
class Held:
    """A run and its stages under the transaction's lock, as they are after each move."""

    run: Run
    stages: list[Stage]

    def stage(self, stage_id: str) -> Stage | None:
        """The stage with this id."""
        return next((stage for stage in self.stages if stage.stage_id == stage_id), None)

    def with_(self, moved: Stage, run: Run) -> Held:
        """The run as it now is, and one of its stages."""
        stages = [moved if each.stage_id == moved.stage_id else each for each in self.stages]
        return Held(run, stages)


@dataclass(frozen=True)
class Leased:
    """What a lease token leads to; ``attempt`` may have ended."""

    held: Held
    stage: Stage
    attempt: Attempt

    def require_alive(self) -> None:
        """Raise :class:`LeaseLost` unless the attempt is the stage's running one."""
        if self.attempt.state is not AttemptState.RUNNING:
            raise LeaseLost


async def hold(conn: AsyncConnection, run_uid: str) -> Held | None:
    """Lock a run and its stages."""
    found = await whole.hold(conn, run_uid)
    return None if found is None else Held(*found)


async def hold_for(
    conn: AsyncConnection, run_uid: str, worker_id: str
) -> tuple[Worker | None, Held | None]:
    """Lock a run and its stages; with the worker that asks, if it is known."""
    worker, found = await whole.hold_for(conn, run_uid, worker_id)
    return worker, None if found is None else Held(*found)


async def open_lease(conn: AsyncConnection, token: str) -> Leased:
    """Lock the run that a lease token belongs to.

    Raises :class:`LeaseLost` for a token that never was this attempt's; whether the attempt still
    runs is for the caller to see.
    """
    lease = parse_token(token)
    held = None if lease is None else await hold(conn, lease.task_id.run_uid)
    if lease is None or held is None:
        raise LeaseLost
    attempt = await attempts.get(conn, lease.task_id)
    stage = held.stage(lease.task_id.stage)
    if attempt is None or stage is None or not lease.opens(attempt.lease_digest):
        raise LeaseLost
    return Leased(held, stage, attempt)


async def peek_lease(conn: AsyncConnection, token: str) -> Attempt:
    """The attempt of a lease token, without a lock. Raises :class:`LeaseLost` as above."""
    lease = parse_token(token)
    attempt = None if lease is None else await attempts.get(conn, lease.task_id)
    if lease is None or attempt is None or not lease.opens(attempt.lease_digest):
        raise LeaseLost
    return attempt


async def require_lease(context: Context, token: str) -> None:
    """Raise :class:`LeaseLost` for a token that never was an attempt's; costs one read."""
    if parse_token(token) is None:
        raise LeaseLost
    async with context.database.read() as conn:
        await peek_lease(conn, token)


async def move_stage(
    conn: AsyncConnection, held: Held, stage: Stage, to: StageState, reason: str, **columns: Any
) -> Held:
    """Change a stage's state; other columns along with it."""
    moved = await stages.move(conn, stage, to, **columns)
    change = history.Change(stage.stage_id, stage.state, to)
    return held.with_(moved, await runs.record_stage(conn, held.run, change, reason))


async def begin_stage(
    conn: AsyncConnection, held: Held, stage: Stage, reason: str, now: datetime
) -> Held:
    """Set a stage RUNNING, and with it the run where this is its first."""
    columns = {"start_time": stage.start_time or now, "progress": None, "error": None}
    if held.run.state is not RunState.QUEUED:
        return await move_stage(conn, held, stage, StageState.RUNNING, reason, **columns)
    moved = await stages.move(conn, stage, StageState.RUNNING, **columns)
    change = history.Change(stage.stage_id, stage.state, StageState.RUNNING)
    started = held.run.start_time or now
    run = await runs.move(
        conn, held.run, RunState.RUNNING, reason, after=change, start_time=started
    )
    return held.with_(moved, run)


async def move_run(
    conn: AsyncConnection, held: Held, to: RunState, reason: str, **columns: Any
) -> Held:
    """Change the run's state; other columns along with it."""
    return replace(held, run=await runs.move(conn, held.run, to, reason, **columns))


async def queue_stage(
    conn: AsyncConnection,
    held: Held,
    stage: Stage,
    reason: str,
    *,
    delay: float = 0.0,
    first: bool = False,
    **columns: Any,
) -> Held:
    """Queue a stage's current attempt, to be published after ``delay`` seconds."""
    now = utc_now()
    columns = {"queue_time": stage.queue_time or now, "end_time": None, **columns}
    held = await move_stage(conn, held, stage, StageState.QUEUED, reason, **columns)
    queued = held.stage(stage.stage_id)
    if queued is None:
        raise RuntimeError(f"stage {stage.task_id} vanished under the lock")
    due = now + timedelta(seconds=delay)
    await outbox.add_all(conn, [outbox.Row(held.run.project, queued, due, first=first)])
    return held


async def end_cancelled(conn: AsyncConnection, held: Held, reason: str) -> Held:
    """End the run CANCELLED with all stages that have no result yet; drop what was queued."""
    now = utc_now()
    for stage in held.stages:
        if stage.state not in STAGE_DONE:
            held = await move_stage(
                conn, held, stage, StageState.CANCELLED, reason, end_time=now, progress=None
            )
    await outbox.remove(conn, held.run.uid)
    return await move_run(conn, held, RunState.CANCELLED, reason, end_time=now)


async def after_failure(
    conn: AsyncConnection, held: Held, stage: Stage, error: StageError
) -> tuple[Held, bool]:
    """What follows an attempt that counts as failed; whether another attempt is due.

    While the run is CANCELLING it ends CANCELLED; otherwise another attempt is queued after the
    policy's backoff, or the stage and the run end FAILED.
    """
    if held.run.state is RunState.CANCELLING:
        return await end_cancelled(conn, held, f"cancelled; {error.reason}"), False
    failures = stage.failures + 1
    if error.retryable and failures < stage.max_attempts:
        policy = held.run.resolved_spec["retry"]
        delay = backoff(failures, policy["initial_backoff"], policy["max_backoff"])
        held = await queue_stage(
            conn,
            held,
            stage,
            f"another attempt after {error.reason}",
            delay=delay,
            attempt=stage.attempt + 1,
            failures=failures,
            error=error,
            progress=None,
        )
        return held, True
    now = utc_now()
    failed = {"failures": failures, "error": error, "end_time": now}
    held = await move_stage(conn, held, stage, StageState.FAILED, error.reason, **failed)
    held = await move_run(
        conn, held, RunState.FAILED, f"{stage.stage_id}: {error.reason}", end_time=now
    )
    return held, False

"""Expiry of attempts and workers whose heartbeats stopped."""

from __future__ import annotations

from services.domain.access.audit import CONTROL_PLANE
from services.domain.errors import Code
from services.domain.stage import Attempt, AttemptState, StageError, StageState
from services.domain.worker import Worker, worker_name
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import attempts, workers
from services.usecases.context import Context
from services.usecases.runs.lifecycle import after_failure, lock_run
from services.usecases.runs.waiting import settle_waiting
from tailrace.formats.dispatch import TaskId


async def expire_attempt(context: Context, seen: Attempt, reason: str = "") -> bool:
    """End an attempt unless a heartbeat was counted since ``seen`` was read; return success.

    ``reason`` is for people; by default, that the heartbeats stopped.
    """
    error = StageError(
        code=Code.UNAVAILABLE,
        reason="LEASE_EXPIRED",
        message=reason
        or f"{worker_name(seen.worker_id)} sent no heartbeat for a whole lease: its process "
        "or host died, or it cannot reach the control plane",
        retryable=True,
    )
    async with context.database.write() as conn:
        locked_run = await lock_run(conn, seen.run_uid, CONTROL_PLANE)
        stage = None if locked_run is None else locked_run.stage(seen.stage_id)
        if locked_run is None or stage is None:
            return False
        ended = await attempts.end(
            conn, seen, AttemptState.EXPIRED, unbeaten=True, error=error, end_time=utc_now()
        )
        if not ended:
            return False
        if stage.state is not StageState.RUNNING or stage.attempt != seen.number:
            raise RuntimeError(
                f"attempt {seen.number} of {stage.task_id} was running, but not its stage"
            )
        locked_run, _ = await after_failure(conn, locked_run, stage, error)
        waiting = await settle_waiting(conn, context, locked_run)
    context.celery_events.attempt_failed(
        TaskId(seen.run_uid, seen.stage_id, seen.number),
        stage.kind,
        stage.pool,
        seen.worker_id,
        error.reason,
    )
    context.wakeups.wake(OUTBOX, seen.run_uid, *waiting)
    return True


async def expire_worker(context: Context, seen: Worker) -> bool:
    """Mark a worker OFFLINE unless a heartbeat was counted since ``seen`` was read.

    Returns whether it was marked.
    """
    async with context.database.write() as conn:
        expired = await workers.expire(conn, seen)
    if expired:
        context.celery_events.worker_offline(seen.worker_id)
        context.wakeups.wake(OUTBOX)
    return expired

"""FailStage and ReleaseStage: end an attempt that has no result."""

from __future__ import annotations

from services.domain.errors import InvalidInput
from services.domain.run import RunState
from services.domain.stage import AttemptState, StageError
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import attempts
from services.usecases.context import Context
from services.usecases.runs.lifecycle import (
    after_failure,
    end_cancelled,
    open_lease,
    queue_stage,
)
from services.usecases.runs.waiting import settle_waiting

REASONS = ("CANCELLED", "DRAINED", "PREEMPTED")
"""Reasons for which a worker releases an attempt."""

_ENDED = frozenset({AttemptState.RELEASED, AttemptState.CANCELLED})


async def fail_stage(context: Context, token: str, error: StageError) -> bool:
    """End the attempt and return whether another one is due.

    Repetitions return the same. Raises ``LeaseLost``.
    """
    async with context.database.write() as conn:
        lease = await open_lease(conn, token)
        if lease.attempt.state is AttemptState.FAILED:
            return bool((lease.attempt.answer or {})["will_retry"])
        lease.require_alive()
        locked_run, will_retry = await after_failure(conn, lease.locked_run, lease.stage, error)
        ended = await attempts.end(
            conn,
            lease.attempt,
            AttemptState.FAILED,
            error=error,
            end_time=utc_now(),
            answer={"will_retry": will_retry},
        )
        if not ended:
            raise RuntimeError(f"attempt {lease.stage.task_id} ended under the lock")
        waiting = await settle_waiting(conn, context, locked_run)
    context.wakeups.wake(OUTBOX, locked_run.run.uid, *waiting)
    return will_retry


async def release_stage(context: Context, token: str, reason: str) -> None:
    """Queue the stage again at once, or end the run if it is CANCELLING.

    The attempt does not count against the limit. Repetitions change nothing. Raises ``LeaseLost``
    and ``InvalidInput``.
    """
    if reason not in REASONS:
        raise InvalidInput.field("reason", f"must be one of {', '.join(REASONS)}, not {reason!r}")
    async with context.database.write() as conn:
        lease = await open_lease(conn, token)
        if lease.attempt.state in _ENDED:
            return
        lease.require_alive()
        locked_run, stage = lease.locked_run, lease.stage
        if locked_run.run.state is RunState.CANCELLING:
            state = AttemptState.CANCELLED
            locked_run = await end_cancelled(conn, locked_run, "cancelled")
        else:
            state = AttemptState.RELEASED
            why = f"attempt {stage.attempt} was handed back: {reason}"
            number = stage.attempt + 1
            locked_run = await queue_stage(
                conn, locked_run, stage, why, attempt=number, progress=None
            )
        if not await attempts.end(conn, lease.attempt, state, end_time=utc_now()):
            raise RuntimeError(f"attempt {stage.task_id} ended under the lock")
        waiting = await settle_waiting(conn, context, locked_run)
    context.wakeups.wake(OUTBOX, locked_run.run.uid, *waiting)

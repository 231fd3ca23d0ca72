"""FailStage: record a failed attempt."""

from __future__ import annotations

from services.domain.stage import AttemptState, StageError
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import attempts
from services.usecases.context import Context
from services.usecases.runs.lifecycle import after_failure, open_lease


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
    context.wakeups.wake(OUTBOX, locked_run.run.uid)
    return will_retry

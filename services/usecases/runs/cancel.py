"""CancelRun: end a run at once, or ask its running stage to stop."""

from __future__ import annotations

from services.domain.caller import Caller
from services.domain.errors import FailedPrecondition
from services.domain.run import RunState
from services.domain.stage import StageState
from services.runtime.wakeups import OUTBOX
from services.storage.rows.access import audit
from services.usecases.context import Context
from services.usecases.runs.lifecycle import end_cancelled, lock_named_run, move_run
from services.usecases.runs.view import RunView, view
from services.usecases.runs.waiting import settle_waiting

_REASON = "cancelled by request"


async def cancel_run(context: Context, caller: Caller, run_id: str) -> RunView:
    """Cancel a run; a run that is CANCELLING or CANCELLED stays unchanged.

    Raises ``NotFound`` and ``FailedPrecondition`` (RUN_TERMINAL: SUCCEEDED or FAILED).
    """
    async with context.database.write() as conn:
        locked_run = await lock_named_run(conn, caller, run_id)
        run = locked_run.run
        if run.state in (RunState.SUCCEEDED, RunState.FAILED):
            raise FailedPrecondition(
                "RUN_TERMINAL", f"{run.name} is {run.state} already: nothing to cancel"
            )
        if run.state in (RunState.QUEUED, RunState.RUNNING):
            if any(stage.state is StageState.RUNNING for stage in locked_run.stages):
                locked_run = await move_run(conn, locked_run, RunState.CANCELLING, _REASON)
            else:
                locked_run = await end_cancelled(conn, locked_run, _REASON)
            await audit.record(conn, caller, run.name)
        waiting = await settle_waiting(conn, context, locked_run)
        cancelled = await view(conn, context, locked_run.run)
    context.wakeups.wake(OUTBOX, run.uid, *waiting)
    return cancelled

"""CancelRun: end a run at once, or ask its running stage to stop."""

from __future__ import annotations

from services.domain.errors import FailedPrecondition
from services.domain.run import RunState
from services.domain.stage import StageState
from services.storage.rows import runs
from services.usecases.context import Context
from services.usecases.runs.lifecycle import end_cancelled, hold, move_run
from services.usecases.runs.view import RunView, view

_REASON = "cancelled by request"


async def cancel_run(context: Context, project: str, run_id: str) -> RunView:
    """Cancel a run; one that is being cancelled or is cancelled stays as it is.

    Raises ``NotFound`` and ``FailedPrecondition`` (RUN_TERMINAL: SUCCEEDED or FAILED).
    """
    async with context.database.write() as conn:
        found = await runs.get(conn, project, run_id)
        held = await hold(conn, found.uid)
        if held is None:
            raise RuntimeError(f"run {found.uid} vanished")
        if held.run.state in (RunState.SUCCEEDED, RunState.FAILED):
            raise FailedPrecondition(
                "RUN_TERMINAL", f"{found.name} is {held.run.state} already: nothing to cancel"
            )
        if held.run.state in (RunState.QUEUED, RunState.RUNNING):
            if any(stage.state is StageState.RUNNING for stage in held.stages):
                held = await move_run(conn, held, RunState.CANCELLING, _REASON)
            else:
                held = await end_cancelled(conn, held, _REASON)
        cancelled = await view(conn, held.run)
    context.wakeups.wake(found.uid)
    return cancelled

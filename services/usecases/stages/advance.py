"""The next step of a run once a stage has its result: reuse, queue, or end."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import RunState
from services.domain.stage import next_unfinished
from services.storage.engine.columns import utc_now
from services.usecases.context import Context
from services.usecases.runs.gates import check_gates
from services.usecases.runs.lifecycle import LockedRun, move_run, queue_stage
from services.usecases.stages.cache import find_result, reuse, stage_key


async def advance(
    conn: AsyncConnection,
    context: Context,
    locked_run: LockedRun,
    reason: str,
    *,
    successor_task_id: str = "",
    first: bool = False,
) -> tuple[LockedRun, bool]:
    """Reuse known results, then queue the next stage or end the run.

    Returns:
        The run, and whether the Celery chain continues: only if its next message,
        ``successor_task_id``, is for the queued stage.
    """
    while (next_stage := next_unfinished(locked_run.stages)) is not None:
        key = await stage_key(conn, locked_run, next_stage)
        cached = await find_result(
            conn, context.blobs.of(locked_run.run.project), locked_run.run, key
        )
        if cached is not None:
            locked_run = await reuse(conn, locked_run, next_stage, cached)
            continue
        proceed = successor_task_id == str(next_stage.task_id)
        # The worker's chain has some time to publish the successor before the relay does.
        delay = context.settings.dispatch_grace_seconds if proceed else 0.0
        locked_run = await queue_stage(
            conn, locked_run, next_stage, reason, delay=delay, first=first, cache_key=key
        )
        return locked_run, proceed
    now = utc_now()
    done: dict[str, Any] = {"start_time": locked_run.run.start_time or now, "end_time": now}
    done["gates"] = await check_gates(conn, locked_run) or None
    return await move_run(
        conn, locked_run, RunState.SUCCEEDED, "every stage is done", **done
    ), False

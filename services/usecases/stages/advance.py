"""How a run goes on once a stage's result is there: reuse, queue, or end."""

from __future__ import annotations

from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import RunState
from services.domain.stage import next_unfinished
from services.storage.engine.columns import utc_now
from services.usecases.context import Context
from services.usecases.runs.gates import check_gates
from services.usecases.runs.lifecycle import Held, move_run, queue_stage
from services.usecases.stages.cache import find_result, reuse, stage_key


async def advance(
    conn: AsyncConnection,
    context: Context,
    held: Held,
    reason: str,
    *,
    successor_task_id: str = "",
    first: bool = False,
) -> tuple[Held, bool]:
    """Reuse what is known, queue the next stage or end the run.

    Returns whether the Celery chain, whose next message is ``successor_task_id``, carries on: only
    when that is the stage that is queued.
    """
    while (following := next_unfinished(held.stages)) is not None:
        key = await stage_key(conn, held, following)
        found = await find_result(conn, context.blobs, held.run, key)
        if found is not None:
            held = await reuse(conn, held, following, found)
            continue
        proceed = successor_task_id == str(following.task_id)
        # The worker's chain gets a while to publish the successor before the relay does.
        delay = context.settings.dispatch_grace_seconds if proceed else 0.0
        held = await queue_stage(
            conn, held, following, reason, delay=delay, first=first, cache_key=key
        )
        return held, proceed
    now = utc_now()
    done: dict[str, Any] = {"start_time": held.run.start_time or now, "end_time": now}
    done["gates"] = await check_gates(conn, held) or None
    return await move_run(conn, held, RunState.SUCCEEDED, "every stage is done", **done), False

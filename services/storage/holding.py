"""A run and its stages, read and locked in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import Run
from services.domain.stage import Stage
from services.domain.worker import WorkerState
from services.storage import workers
from services.storage.runs import runs
from services.storage.stages import stage_of, stages

_OF_RUN = [column.name for column in runs.c]
_OF_STAGE = [column.name for column in stages.c]

# Rows are locked as they come: the run with its first stage, so that whoever has the run has all.
# SQLite leaves FOR UPDATE out: its one writer is the lock.
_HELD = (
    sa.select(runs, stages)
    .join(stages, stages.c.run_uid == runs.c.uid)
    .where(runs.c.uid == sa.bindparam("uid"))
    .order_by(stages.c.ordinal)
    .with_for_update(of=[runs, stages])
)
_HELD_FOR = _HELD.add_columns(workers.STATE)


async def hold(conn: AsyncConnection, uid: str) -> tuple[Run, list[Stage]] | None:
    """A run with its stages in order of execution; nobody else changes them until the end."""
    return _held([*await conn.execute(_HELD, {"uid": uid})])


async def hold_for(
    conn: AsyncConnection, uid: str, worker_id: str
) -> tuple[WorkerState | None, tuple[Run, list[Stage]] | None]:
    """As :func:`hold`, with the state of a worker that asks, if it is known."""
    rows = [*await conn.execute(_HELD_FOR, {"uid": uid, "worker_id": worker_id})]
    if rows:
        return rows[0][-1], _held(rows)
    return await conn.scalar(sa.select(workers.STATE), {"worker_id": worker_id}), None


def _held(rows: Sequence[sa.Row[Any]]) -> tuple[Run, list[Stage]] | None:
    if not rows:
        return None
    run = Run(**dict(zip(_OF_RUN, rows[0], strict=False)))
    first = len(_OF_RUN)
    return run, [stage_of(dict(zip(_OF_STAGE, row[first:], strict=False))) for row in rows]

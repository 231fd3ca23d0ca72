"""Whole runs: a run and its stages, read, and locked where wanted, in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import Run
from services.domain.stage import Stage
from services.domain.worker import Worker
from services.storage.rows import workers
from services.storage.rows.runs import COLUMNS, missing, rows_named, run_of, runs
from services.storage.rows.stages import stage_of, stages

_OF_RUN = [column.name for column in runs.c]
_OF_STAGE = [column.name for column in stages.c]

_WHOLE = (
    sa.select(*COLUMNS, *stages.c)
    .join(stages, stages.c.run_uid == runs.c.uid)
    .order_by(stages.c.ordinal)
)
# Rows are locked as they come: the run with its first stage, so that whoever has the run has all.
# SQLite leaves FOR UPDATE out: its one writer is the lock.
_HELD = _WHOLE.where(runs.c.uid == sa.bindparam("uid")).with_for_update(of=[runs, stages])
_HELD_FOR = _HELD.outerjoin(workers.workers, workers.IS_GIVEN).add_columns(*workers.COLUMNS)


WholeRun = tuple[Run, list[Stage]]
"""A run with its stages in order of execution."""


async def get(conn: AsyncConnection, project: str, run_id: str) -> WholeRun:
    """A run by its id or uid. Raises ``NotFound`` (RUN_NOT_FOUND)."""
    found = _whole(await rows_named(conn, _WHOLE, project, run_id))
    if found is None:
        raise missing(run_id)
    return found


async def hold(conn: AsyncConnection, uid: str) -> WholeRun | None:
    """A run by its uid; nobody else changes it or its stages until the transaction ends."""
    return _whole([*await conn.execute(_HELD, {"uid": uid})])


async def hold_for(
    conn: AsyncConnection, uid: str, worker_id: str
) -> tuple[Worker | None, WholeRun | None]:
    """As :func:`hold`, with the worker that asks, if it is known."""
    rows = [*await conn.execute(_HELD_FOR, {"uid": uid, "worker_id": worker_id})]
    if rows:
        return workers.worker_of(rows[0][-len(workers.COLUMNS) :]), _whole(rows)
    return await workers.get(conn, worker_id), None


def _whole(rows: Sequence[sa.Row[Any]]) -> WholeRun | None:
    if not rows:
        return None
    first = len(COLUMNS)
    run = run_of(dict(zip(_OF_RUN, rows[0], strict=False)))
    return run, [stage_of(dict(zip(_OF_STAGE, row[first:], strict=False))) for row in rows]

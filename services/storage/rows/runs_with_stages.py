"""Runs with their stages, read or locked in one statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import Run
from services.domain.stage import Stage
from services.domain.worker import Worker
from services.storage.rows import workers
from services.storage.rows.runs import COLUMNS, not_found, rows_named, run_of, runs
from services.storage.rows.stages import stage_of, stages

_RUN_COLUMNS = [column.name for column in COLUMNS]
_STAGE_COLUMNS = [column.name for column in stages.c]

_WITH_STAGES = (
    sa.select(*COLUMNS, *stages.c)
    .join(stages, stages.c.run_uid == runs.c.uid)
    .order_by(stages.c.ordinal)
)
# The run is locked together with its first stage, so that the holder of the run holds all stages.
# SQLite ignores FOR UPDATE: its single writer is the lock.
_LOCKED = _WITH_STAGES.where(runs.c.uid == sa.bindparam("uid")).with_for_update(of=[runs, stages])
_LOCKED_WITH_WORKER = _LOCKED.outerjoin(workers.workers, workers.IS_GIVEN).add_columns(
    *workers.COLUMNS
)


RunWithStages = tuple[Run, list[Stage]]
"""A run with its stages in order of execution."""


async def get(conn: AsyncConnection, project: str, run_id: str) -> RunWithStages:
    """Return a run by its id or uid; raise ``NotFound`` (RUN_NOT_FOUND)."""
    run_with_stages = _run_with_stages(await rows_named(conn, _WITH_STAGES, project, run_id))
    if run_with_stages is None:
        raise not_found(run_id)
    return run_with_stages


async def lock(conn: AsyncConnection, uid: str) -> RunWithStages | None:
    """Lock a run, by its uid, and its stages until the transaction ends."""
    return _run_with_stages([*await conn.execute(_LOCKED, {"uid": uid})])


async def lock_for_worker(
    conn: AsyncConnection, uid: str, worker_id: str
) -> tuple[Worker | None, RunWithStages | None]:
    """Lock a run as :func:`lock` and return the calling worker, if it is registered."""
    rows = [*await conn.execute(_LOCKED_WITH_WORKER, {"uid": uid, "worker_id": worker_id})]
    if rows:
        return workers.worker_of(rows[0][-len(workers.COLUMNS) :]), _run_with_stages(rows)
    return await workers.get(conn, worker_id), None


def _run_with_stages(rows: Sequence[sa.Row[Any]]) -> RunWithStages | None:
    if not rows:
        return None
    first = len(COLUMNS)
    run = run_of(dict(zip(_RUN_COLUMNS, rows[0], strict=False)))
    return run, [stage_of(dict(zip(_STAGE_COLUMNS, row[first:], strict=False))) for row in rows]

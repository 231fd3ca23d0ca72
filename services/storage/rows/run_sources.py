"""Runs that start from the models of other runs, in the database."""

from __future__ import annotations

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import RunState
from services.storage.engine.columns import metadata
from services.storage.rows.runs import runs

run_sources = sa.Table(
    "run_sources",
    metadata,
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), primary_key=True),
    sa.Column("source_uid", sa.ForeignKey("runs.uid"), nullable=False),
    sa.Index("ix_run_sources_source", "source_uid", "run_uid"),
)
"""The run, ``source_uid``, whose model a run starts from; fixed when the run is created."""

_INSERT = run_sources.insert()
_QUEUED = (
    sa.select(run_sources.c.run_uid)
    .join(runs, runs.c.uid == run_sources.c.run_uid)
    .where(run_sources.c.source_uid == sa.bindparam("source"), runs.c.state == RunState.QUEUED)
    .order_by(runs.c.create_time, runs.c.uid)
)


async def add_all(conn: AsyncConnection, sources: Mapping[str, str]) -> None:
    """Store the uids of the source runs by the uids of new runs."""
    rows = [{"run_uid": uid, "source_uid": source} for uid, source in sources.items()]
    if rows:
        await conn.execute(_INSERT, rows)


async def list_queued(conn: AsyncConnection, source_uid: str) -> list[str]:
    """Return the uids of the QUEUED runs that start from a run's model, oldest first."""
    return [row.run_uid for row in await conn.execute(_QUEUED, {"source": source_uid})]

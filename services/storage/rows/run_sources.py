"""Runs that start from the models of other runs, in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import RUN_TERMINAL, Run, RunState
from services.storage.engine.columns import metadata
from services.storage.rows.runs import COLUMNS, run_of, runs

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


async def page_unfinished(
    conn: AsyncConnection, project: str, texts: Sequence[str], *, after: str, limit: int
) -> list[Run]:
    """Return runs that are not terminal and start from another run or hold a text in their specs.

    They are in the order of their uids, those after ``after``.
    """
    spec = sa.cast(runs.c.resolved_spec, sa.Text)
    is_sourced = sa.exists().where(run_sources.c.run_uid == runs.c.uid)
    holds = [spec.contains(json.dumps(text), autoescape=True) for text in texts]
    query = sa.select(*COLUMNS).where(
        runs.c.project == project,
        runs.c.state.not_in(RUN_TERMINAL),
        runs.c.uid > after,
        sa.or_(is_sourced, *holds),
    )
    rows = (await conn.execute(query.order_by(runs.c.uid).limit(limit))).mappings()
    return [run_of(row) for row in rows]

"""Baselines in the database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.baseline import Baseline
from services.domain.errors import NotFound
from services.storage.engine.columns import UtcDateTime, metadata
from services.storage.engine.insert import upsert

baselines = sa.Table(
    "baselines",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("baseline_id", sa.String(63), primary_key=True),
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), nullable=False),
    sa.Column("run_id", sa.String(63), nullable=False),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("update_time", UtcDateTime, nullable=False),
)
"""Names for runs; a name refers to one run at a time."""


async def put(conn: AsyncConnection, project: str, baseline: Baseline) -> None:
    """Store a baseline in place of an earlier one of the same name."""
    row = {field: getattr(baseline, field) for field in baseline.__dataclass_fields__}
    await upsert(conn, baselines, [{"project": project, **row}], ("project", "baseline_id"))


async def find(conn: AsyncConnection, project: str, baseline_id: str) -> Baseline | None:
    """Return a baseline by its id, or ``None``."""
    row = (await conn.execute(_SELECT.where(_is(project, baseline_id)))).mappings().first()
    return None if row is None else Baseline(**row)


async def get(conn: AsyncConnection, project: str, baseline_id: str) -> Baseline:
    """Return a baseline by its id; raise ``NotFound`` (BASELINE_NOT_FOUND)."""
    baseline = await find(conn, project, baseline_id)
    if baseline is None:
        raise NotFound(
            "BASELINE_NOT_FOUND",
            f"baselines/{baseline_id} does not exist; `tailrace baselines list` names all",
        )
    return baseline


async def page(conn: AsyncConnection, project: str, *, after: str, limit: int) -> list[Baseline]:
    """Return a page of baselines by id, after the id ``after``."""
    query = _SELECT.where(baselines.c.project == project, baselines.c.baseline_id > after)
    rows = await conn.execute(query.order_by(baselines.c.baseline_id).limit(limit))
    return [Baseline(**row) for row in rows.mappings()]


async def remove(conn: AsyncConnection, project: str, baseline_id: str) -> bool:
    """Delete a baseline; return whether it existed."""
    result = await conn.execute(sa.delete(baselines).where(_is(project, baseline_id)))
    return result.rowcount == 1


def _is(project: str, baseline_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(baselines.c.project == project, baselines.c.baseline_id == baseline_id)


_SELECT = sa.select(*(column for column in baselines.c if column.name != "project"))

"""Queries on tables that have one row per version, keyed (project, id, version)."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.version import VersionReference


async def find(
    conn: AsyncConnection, table: sa.Table, id_column: str, project: str, wanted: VersionReference
) -> sa.RowMapping | None:
    """A version's row, the newest where the reference names none."""
    query = sa.select(table).where(table.c.project == project, table.c[id_column] == wanted.id)
    if wanted.version is not None:
        query = query.where(table.c.version == wanted.version)
    query = query.order_by(table.c.version.desc()).limit(1)
    return (await conn.execute(query)).mappings().first()


async def page(
    conn: AsyncConnection,
    table: sa.Table,
    id_column: str,
    project: str,
    *,
    after: str,
    limit: int,
) -> list[sa.RowMapping]:
    """The row of the newest version of each id that sorts after ``after``, by id."""
    id_ = table.c[id_column]
    newest = (
        sa.select(id_, sa.func.max(table.c.version).label("version"))
        .where(table.c.project == project, id_ > after)
        .group_by(id_)
        .order_by(id_)
        .limit(limit)
        .subquery()
    )
    same = sa.and_(id_ == newest.c[id_column], table.c.version == newest.c.version)
    query = sa.select(table).join(newest, same).where(table.c.project == project).order_by(id_)
    return [*(await conn.execute(query)).mappings()]

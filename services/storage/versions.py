"""Queries on tables that have one row per version, keyed (project, id, version)."""

from __future__ import annotations

from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.artifact import Artifact
from services.domain.version import VersionReference
from services.storage.artifacts import artifact_of, first_recorded


async def find(
    conn: AsyncConnection, table: sa.Table, id_column: str, project: str, wanted: VersionReference
) -> sa.RowMapping | None:
    """A version's row, the newest where the reference names none."""
    query = _find(table, id_column, newest=wanted.version is None)
    sought: dict[str, Any] = {"project": project, "id": wanted.id}
    if wanted.version is not None:
        sought["version"] = wanted.version
    row: sa.RowMapping | None = (await conn.execute(query, sought)).mappings().first()
    return row


async def artifact(
    conn: AsyncConnection, table: sa.Table, id_column: str, project: str, wanted: VersionReference
) -> Artifact | None:
    """The files of a version that the reference names."""
    sought = {"project": project, "id": wanted.id, "version": wanted.version}
    row = (await conn.execute(_artifact(table, id_column), sought)).mappings().first()
    return None if row is None else artifact_of(row)


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


@cache
def _find(table: sa.Table, id_column: str, *, newest: bool) -> sa.Select[Any]:
    """A row by project and id; its version is a parameter too unless the newest is wanted."""
    query = sa.select(table).where(
        table.c.project == sa.bindparam("project"), table.c[id_column] == sa.bindparam("id")
    )
    if newest:
        return query.order_by(table.c.version.desc()).limit(1)
    return query.where(table.c.version == sa.bindparam("version"))


@cache
def _artifact(table: sa.Table, id_column: str) -> sa.Select[Any]:
    return first_recorded(
        _find(table, id_column, newest=False).with_only_columns(table.c.artifact_digest)
    )

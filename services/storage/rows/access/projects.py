"""Projects in the database."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.access.project import Project
from services.storage.engine.columns import UtcDateTime, metadata, utc_now
from services.storage.engine.insert import insert_new
from services.storage.rows.access.tokens import tokens
from services.storage.rows.artifacts import artifacts
from services.storage.rows.baselines import baselines
from services.storage.rows.models import models
from services.storage.rows.runs import runs
from services.storage.rows.versions import DATASETS, EVAL_SETS

projects = sa.Table(
    "projects",
    metadata,
    sa.Column("project_id", sa.String(63), primary_key=True),
    sa.Column("description", sa.Text, nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
    sa.Column("delete_time", UtcDateTime),
)
"""Projects, ``default`` among them. A deleted one keeps its row, so that its id is not used again:
tokens, page tokens and caches of the old project must not be valid in a new one.
"""

_LIVE = projects.c.delete_time.is_(None)
_COLUMNS = (projects.c.project_id, projects.c.description, projects.c.create_time)

_CONTENT = {
    "runs": runs,
    "datasets": DATASETS.table,
    "eval sets": EVAL_SETS.table,
    "models": models,
    "baselines": baselines,
    "artifacts": artifacts,
    "tokens in force": tokens,
}
"""Tables with a row per thing that keeps a project from being deleted, by the word for it."""


async def exists(conn: AsyncConnection, project: str) -> bool:
    """Return True if a project exists and is not deleted."""
    return await find(conn, project) is not None


async def find(conn: AsyncConnection, project: str) -> Project | None:
    """Return a project that is not deleted, or ``None``."""
    query = sa.select(*_COLUMNS).where(projects.c.project_id == project, _LIVE)
    row = (await conn.execute(query)).mappings().first()
    return None if row is None else Project(**row)


async def add(conn: AsyncConnection, project: Project) -> bool:
    """Store a project; return False if its id is or was in use."""
    row = {
        "project_id": project.project_id,
        "description": project.description,
        "create_time": project.create_time,
    }
    return await insert_new(conn, projects, row, ("project_id",))


async def page(
    conn: AsyncConnection, among: Collection[str] | None, *, after: str, limit: int
) -> list[Project]:
    """Return a page of projects by id, after the id ``after``; ``among`` restricts their ids."""
    query = sa.select(*_COLUMNS).where(projects.c.project_id > after, _LIVE)
    if among is not None:
        query = query.where(projects.c.project_id.in_(among))
    rows = await conn.execute(query.order_by(projects.c.project_id).limit(limit))
    return [Project(**row) for row in rows.mappings()]


async def list_content(conn: AsyncConnection, project: str) -> list[str]:
    """Return the words for what a project still has."""
    words = []
    for word, table in _CONTENT.items():
        query = sa.select(sa.literal(1)).where(table.c.project == project, *_unfinished(table))
        if (await conn.execute(query.limit(1))).first() is not None:
            words.append(word)
    return words


def _unfinished(table: sa.Table) -> list[Any]:
    if table is tokens:
        is_due = tokens.c.expire_time.is_(None) | (tokens.c.expire_time > utc_now())
        return [tokens.c.revoke_time.is_(None), is_due]
    return []


async def mark_deleted(conn: AsyncConnection, project: str) -> bool:
    """Delete a project, whose row stays; return False if it was deleted before."""
    named = sa.update(projects).where(projects.c.project_id == project, _LIVE)
    updated = await conn.execute(named.values(delete_time=utc_now()))
    return updated.rowcount > 0

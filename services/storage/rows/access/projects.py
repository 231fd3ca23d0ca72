"""Projects in the database."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.storage.engine.columns import UtcDateTime, metadata

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


async def exists(conn: AsyncConnection, project: str) -> bool:
    """Return True if a project exists and is not deleted."""
    query = sa.select(projects.c.project_id).where(
        projects.c.project_id == project, projects.c.delete_time.is_(None)
    )
    return (await conn.execute(query)).first() is not None

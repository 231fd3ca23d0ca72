"""Quotas of projects that differ from the settings, and what projects use now."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.quota import Quota
from services.domain.run import RUN_TERMINAL, RunState
from services.storage.engine.columns import BigInt, UtcDateTime, metadata
from services.storage.engine.insert import upsert
from services.storage.rows.artifacts import artifacts
from services.storage.rows.outbox import outbox
from services.storage.rows.runs import runs

project_quotas = sa.Table(
    "project_quotas",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("quota", sa.String(32), primary_key=True),
    sa.Column("most", BigInt),
    sa.Column("update_time", UtcDateTime, nullable=False),
)
"""Limits that an administrator has set; ``most`` is NULL for no limit."""

Limits = Mapping[Quota, int | None]
"""Limits by quota; ``None`` for no limit."""

_ALL = sa.select(project_quotas.c.project, project_quotas.c.quota, project_quotas.c.most)

# A run is counted in one of both parts, and moves in one transaction from the second to the first:
# one statement sees it once.
_OF_PROJECTS: sa.BindParameter[list[str]] = sa.bindparam("projects", expanding=True)
_STARTED = (
    sa.select(runs.c.project.label("project"), sa.func.count().label("count"))
    .where(runs.c.project.in_(_OF_PROJECTS))
    .where(runs.c.state.in_((RunState.RUNNING, RunState.CANCELLING)))
    .group_by(runs.c.project)
)
_PUBLISHED = (
    sa.select(outbox.c.project, sa.func.count())
    .where(outbox.c.project.in_(_OF_PROJECTS), outbox.c.first, outbox.c.place)
    .group_by(outbox.c.project)
)
_RUNNING = sa.union_all(_STARTED, _PUBLISHED)


async def read(conn: AsyncConnection, project: str | None = None) -> dict[str, dict[Quota, int]]:
    """Return the limits that are set, by project and quota, optionally of one project."""
    query = _ALL if project is None else _ALL.where(project_quotas.c.project == project)
    limits: dict[str, dict[Quota, int]] = {}
    for of_project, quota, most in await conn.execute(query):
        limits.setdefault(of_project, {})[Quota(quota)] = most
    return limits


async def write(
    conn: AsyncConnection, project: str, limits: Limits, reset: Collection[Quota], now: datetime
) -> None:
    """Store limits of a project, and forget those of the quotas ``reset``."""
    rows = [
        {"project": project, "quota": quota, "most": most, "update_time": now}
        for quota, most in limits.items()
    ]
    await upsert(conn, project_quotas, rows, ("project", "quota"))
    if reset:
        of_project = project_quotas.c.project == project
        await conn.execute(
            sa.delete(project_quotas).where(of_project, project_quotas.c.quota.in_(reset))
        )


async def count_running(conn: AsyncConnection, projects: Collection[str]) -> dict[str, int]:
    """Return the number of runs from first publication to end, by project."""
    counts: dict[str, int] = {}
    for project, count in await conn.execute(_RUNNING, {"projects": list(projects)}):
        counts[project] = counts.get(project, 0) + count
    return counts


async def stored_bytes(conn: AsyncConnection, project: str) -> int:
    """Return the size of a project's artifacts, all together."""
    total = sa.select(sa.func.sum(artifacts.c.size_bytes)).where(artifacts.c.project == project)
    return int(await conn.scalar(total) or 0)


async def list_stored(conn: AsyncConnection, project: str, digests: Collection[str]) -> set[str]:
    """Return those of the digests that a project's artifacts have."""
    query = sa.select(artifacts.c.digest).where(
        artifacts.c.project == project, artifacts.c.digest.in_(digests)
    )
    return set(await conn.scalars(query))


async def use_by_project(conn: AsyncConnection, quota: Quota) -> dict[str, int]:
    """Return the use of unfinished runs, running runs or stored bytes by project."""
    if quota is Quota.STORED_BYTES:
        total = sa.func.sum(artifacts.c.size_bytes)
        query = sa.select(artifacts.c.project, total).group_by(artifacts.c.project)
    else:
        query = sa.select(runs.c.project, sa.func.count()).group_by(runs.c.project)
        query = query.where(runs.c.state.not_in(RUN_TERMINAL))
        if quota is Quota.RUNNING_RUNS:
            has_place = sa.exists().where(
                outbox.c.run_uid == runs.c.uid, outbox.c.first, outbox.c.place
            )
            query = query.where(sa.or_(runs.c.state != RunState.QUEUED, has_place))
    return {project: int(use) for project, use in await conn.execute(query)}

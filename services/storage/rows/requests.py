"""Request ids that were used before (AIP-155), with the runs of those requests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.storage.engine.columns import UtcDateTime, metadata, utc_now
from services.storage.engine.insert import insert_all_new

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("method", sa.String(32), primary_key=True),
    sa.Column("request_id", sa.String(128), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("run_uid", sa.ForeignKey("runs.uid"), nullable=False),
    sa.Column("create_time", UtcDateTime, nullable=False),
)
"""Request ids (AIP-155) with the digest of the request and its run."""


_FIND_ALL = sa.select(
    requests.c.project, requests.c.request_id, requests.c.digest, requests.c.run_uid
).where(
    requests.c.project.in_(sa.bindparam("projects", expanding=True)),
    requests.c.method == sa.bindparam("method"),
    requests.c.request_id.in_(sa.bindparam("request_ids", expanding=True)),
)


@dataclass(frozen=True)
class Request:
    """A request id that was used before."""

    digest: str
    """Sha256 of the request's payload."""
    run_uid: str
    """Uid of the run that the request created or changed."""


async def find_request(
    conn: AsyncConnection, project: str, method: str, request_id: str
) -> Request | None:
    """Return the earlier use of a request id, or ``None``."""
    query = sa.select(requests.c.digest, requests.c.run_uid).where(
        requests.c.project == project,
        requests.c.method == method,
        requests.c.request_id == request_id,
    )
    row = (await conn.execute(query)).mappings().first()
    return None if row is None else Request(**row)


async def add_request(
    conn: AsyncConnection, project: str, method: str, request_id: str, request: Request
) -> None:
    """Store a request id; the caller has checked it under :func:`advisory_lock`."""
    if not await add_requests(conn, method, {(project, request_id): request}):
        raise RuntimeError(f"request id {request_id!r} was used under its lock")


async def find_requests(
    conn: AsyncConnection, method: str, keys: Sequence[tuple[str, str]]
) -> dict[tuple[str, str], Request]:
    """Return the earlier uses of request ids, by project and request id."""
    if not keys:
        return {}
    parameters = {
        "method": method,
        "projects": list({project for project, _ in keys}),
        "request_ids": [request_id for _, request_id in keys],
    }
    rows = await conn.execute(_FIND_ALL, parameters)
    return {(row.project, row.request_id): Request(row.digest, row.run_uid) for row in rows}


async def add_requests(
    conn: AsyncConnection, method: str, new: Mapping[tuple[str, str], Request]
) -> bool:
    """Store request ids by project and id; return whether none was used before."""
    now = utc_now()
    rows = [
        {
            "project": project,
            "method": method,
            "request_id": request_id,
            "digest": request.digest,
            "run_uid": request.run_uid,
            "create_time": now,
        }
        for (project, request_id), request in new.items()
    ]
    key = ("project", "method", "request_id")
    return len(await insert_all_new(conn, requests, rows, key, requests.c.run_uid)) == len(rows)

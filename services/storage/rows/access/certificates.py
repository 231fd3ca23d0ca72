"""Revocations of workers' certificates in the database."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.storage.engine.columns import UtcDateTime, metadata
from services.storage.engine.insert import upsert

revoked_certificates = sa.Table(
    "revoked_certificates",
    metadata,
    sa.Column("worker_id", sa.String(63), primary_key=True),
    sa.Column("revoke_time", UtcDateTime, nullable=False),
)
"""Workers whose certificates are refused if they were made at ``revoke_time`` or earlier."""


async def revoke(conn: AsyncConnection, worker_id: str, now: datetime) -> None:
    """Record a revocation in place of an earlier one of the worker."""
    row = {"worker_id": worker_id, "revoke_time": now}
    await upsert(conn, revoked_certificates, [row], ("worker_id",))


async def read_all(conn: AsyncConnection) -> dict[str, datetime]:
    """Return the time of the last revocation by worker."""
    rows = await conn.execute(sa.select(revoked_certificates))
    return {row.worker_id: row.revoke_time for row in rows}

"""Rows of one table, for tests of behaviour that all tables share."""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.worker import Worker, WorkerState
from services.storage.rows.workers import workers as table

KEY = ("project", "worker_id")
MOMENT = datetime(2026, 3, 1, 12, 30, 15, 123456, tzinfo=UTC)


def worker(worker_id: str = "w", heartbeats: int = 0) -> Worker:
    return Worker(
        worker_id,
        WorkerState.ONLINE,
        "h",
        ["cpu"],
        [],
        {},
        {},
        1,
        heartbeats,
        MOMENT,
        MOMENT,
        instance_digest="",
        secret_digest="",
        drained=False,
    )


def row(**changes: object) -> dict[str, object]:
    row = worker()
    fields = {name: getattr(row, name) for name in row.__dataclass_fields__}
    return {"project": "default", **fields, **changes}


async def count(conn: AsyncConnection) -> int:
    return int((await conn.execute(sa.select(sa.func.count()).select_from(table))).scalar_one())

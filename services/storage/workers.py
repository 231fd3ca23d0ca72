"""Workers in the database."""

from __future__ import annotations

import json
from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.worker import Worker, WorkerState
from services.storage.database import (
    DEFAULT_PROJECT,
    BigInt,
    UtcDateTime,
    enum_type,
    metadata,
    upsert,
    utc_now,
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("project", sa.String(63), primary_key=True),
    sa.Column("worker_id", sa.String(63), primary_key=True),
    sa.Column("state", enum_type(WorkerState, "worker_state"), nullable=False),
    sa.Column("hostname", sa.String(256), nullable=False),
    sa.Column("pools", sa.JSON, nullable=False),
    sa.Column("slots", sa.JSON, nullable=False),
    sa.Column("versions", sa.JSON, nullable=False),
    sa.Column("judges", sa.JSON, nullable=False),
    sa.Column("protocol_version", sa.Integer, nullable=False),
    sa.Column("heartbeats", BigInt, nullable=False),
    sa.Column("register_time", UtcDateTime, nullable=False),
    sa.Column("heartbeat_time", UtcDateTime, nullable=False),
)
"""Worker processes that ever registered; one that serves all projects is in ``default``."""


async def register(conn: AsyncConnection, worker: Worker) -> None:
    """Store a worker in place of an earlier one of the same id."""
    row = {field: getattr(worker, field) for field in worker.__dataclass_fields__}
    await upsert(conn, workers, [{"project": DEFAULT_PROJECT, **row}], ("project", "worker_id"))


async def get(conn: AsyncConnection, worker_id: str) -> Worker | None:
    """A worker by its id."""
    row = (await conn.execute(_SELECT.where(_is(worker_id)))).mappings().first()
    return None if row is None else Worker(**row)


async def beat(conn: AsyncConnection, worker_id: str, *, draining: bool) -> Worker | None:
    """Count a heartbeat; the worker as it is then, if it is known.

    One that drains goes on to do so, whatever its next heartbeats say.
    """
    drains = sa.or_(sa.literal(draining), workers.c.state == WorkerState.DRAINING)
    state = sa.case((drains, WorkerState.DRAINING), else_=WorkerState.ONLINE)
    statement = (
        sa.update(workers)
        .where(_is(worker_id))
        .values(heartbeats=workers.c.heartbeats + 1, state=state, heartbeat_time=utc_now())
        .returning(*_SELECT.selected_columns)
    )
    row = (await conn.execute(statement)).mappings().first()
    return None if row is None else Worker(**row)


async def drain(conn: AsyncConnection, worker_id: str) -> bool:
    """Have a worker take no more; whether it is there to hear of it."""
    statement = sa.update(workers).where(_is(worker_id), workers.c.state != WorkerState.OFFLINE)
    return (await conn.execute(statement.values(state=WorkerState.DRAINING))).rowcount == 1


async def quarantine(conn: AsyncConnection, worker: Worker, reasons: Mapping[str, str]) -> None:
    """Note why which of a worker's slots take no stage."""
    slots = [{**slot, "quarantine": reasons.get(slot["id"], "")} for slot in worker.slots]
    if slots != [{"quarantine": "", **slot} for slot in worker.slots]:
        await conn.execute(sa.update(workers).where(_is(worker.worker_id)).values(slots=slots))


async def expire(conn: AsyncConnection, worker: Worker) -> bool:
    """Mark a worker OFFLINE if no heartbeat was counted since it was read; whether it was so."""
    statement = sa.update(workers).where(
        _is(worker.worker_id),
        workers.c.state != WorkerState.OFFLINE,
        workers.c.heartbeats == worker.heartbeats,
    )
    return (await conn.execute(statement.values(state=WorkerState.OFFLINE))).rowcount == 1


async def live(conn: AsyncConnection) -> list[Worker]:
    """The workers that are not OFFLINE."""
    query = _SELECT.where(
        workers.c.project == DEFAULT_PROJECT, workers.c.state != WorkerState.OFFLINE
    )
    return [Worker(**row) for row in (await conn.execute(query)).mappings()]


async def slots_served(conn: AsyncConnection) -> dict[str, int]:
    """How many slots of live workers serve each pool; counted by the database, fleets are large."""
    pools = sa.cast(workers.c.pools, sa.Text)
    query = (
        sa.select(pools, sa.func.sum(sa.func.json_array_length(workers.c.slots)))
        .where(workers.c.project == DEFAULT_PROJECT, workers.c.state == WorkerState.ONLINE)
        .group_by(pools)
    )
    served: dict[str, int] = {}
    for names, slots in await conn.execute(query):
        for pool in json.loads(names):
            served[pool] = served.get(pool, 0) + int(slots)
    return served


async def page(conn: AsyncConnection, *, after: str, limit: int) -> list[Worker]:
    """Workers by id, after the one with id ``after``."""
    query = _SELECT.where(workers.c.project == DEFAULT_PROJECT, workers.c.worker_id > after)
    rows = await conn.execute(query.order_by(workers.c.worker_id).limit(limit))
    return [Worker(**row) for row in rows.mappings()]


def _is(worker_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(workers.c.project == DEFAULT_PROJECT, workers.c.worker_id == worker_id)


_SELECT = sa.select(*(column for column in workers.c if column.name != "project"))

"""Workers in the database."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.caller import DEFAULT_PROJECT
from services.domain.worker import Worker, WorkerState
from services.storage.engine.columns import (
    BigInt,
    UtcDateTime,
    enum_type,
    metadata,
    utc_now,
)
from services.storage.engine.insert import upsert
from tailrace.formats.broker import MAX_PROBLEM

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
    sa.Column("broker_error", sa.String(MAX_PROBLEM), nullable=False, server_default=""),
    sa.Column("instance_digest", sa.String(64), nullable=False),
    sa.Column("secret_digest", sa.String(64), nullable=False),
    sa.Column("drained", sa.Boolean(create_constraint=False), nullable=False),
)
"""Registered workers; a worker that serves all projects is in ``default``."""

IS_ONLINE = sa.and_(workers.c.project == DEFAULT_PROJECT, workers.c.state == WorkerState.ONLINE)
"""Condition for workers that take stages."""


IS_GIVEN = sa.and_(
    workers.c.project == DEFAULT_PROJECT, workers.c.worker_id == sa.bindparam("worker_id")
)
"""Condition for the worker with the id ``worker_id``."""

COLUMNS = [column for column in workers.c if column.name != "project"]
"""Columns of a worker, for statements that join it to others."""


def worker_of(values: Sequence[Any]) -> Worker | None:
    """Return the worker of a row's :data:`COLUMNS`, or ``None`` if no worker was joined."""
    fields = dict(zip((column.name for column in COLUMNS), values, strict=True))
    return None if fields["worker_id"] is None else Worker(**fields)


async def register(conn: AsyncConnection, worker: Worker) -> None:
    """Store a worker in place of an earlier one of the same id."""
    row = {field: getattr(worker, field) for field in worker.__dataclass_fields__}
    await upsert(conn, workers, [{"project": DEFAULT_PROJECT, **row}], ("project", "worker_id"))


async def get(conn: AsyncConnection, worker_id: str) -> Worker | None:
    """Return a worker by its id, or ``None``."""
    row = (await conn.execute(_GET, {"worker_id": worker_id})).mappings().first()
    return None if row is None else Worker(**row)


async def lock(conn: AsyncConnection, worker_ids: Iterable[str]) -> dict[str, Worker]:
    """Lock workers until the transaction ends; return the registered ones by id."""
    in_fleet = sa.and_(workers.c.project == DEFAULT_PROJECT, workers.c.worker_id.in_(worker_ids))
    # One order of locking for all replicas, or two of them could deadlock.
    lock = _SELECT.where(in_fleet).order_by(workers.c.worker_id).with_for_update()
    rows = (await conn.execute(lock)).mappings()
    return {row["worker_id"]: Worker(**row) for row in rows}


async def record_heartbeats(
    conn: AsyncConnection, locked: Iterable[Worker], states: Mapping[str, WorkerState]
) -> dict[str, Worker]:
    """Count a heartbeat of each locked worker; return the changed workers by id."""
    now = utc_now()
    workers_by_id = {
        worker.worker_id: dataclasses.replace(
            worker, state=states[worker.worker_id], heartbeat_time=now
        )
        for worker in locked
    }
    for state in {worker.state for worker in workers_by_id.values()}:
        ids = [worker_id for worker_id, worker in workers_by_id.items() if worker.state is state]
        values: dict[str, Any] = {"state": state, "heartbeat_time": now}
        statement = sa.update(workers).where(
            workers.c.project == DEFAULT_PROJECT, workers.c.worker_id.in_(ids)
        )
        await conn.execute(statement.values(heartbeats=workers.c.heartbeats + 1, **values))
    return workers_by_id


async def set_drained(conn: AsyncConnection, worker_id: str, *, drained: bool) -> None:
    """Start or end an operator's drain, and change the state of a worker that is alive."""
    mark = sa.update(workers).where(_is(worker_id)).values(drained=drained)
    await conn.execute(mark)
    state = WorkerState.DRAINING if drained else WorkerState.ONLINE
    alive = sa.update(workers).where(_is(worker_id), workers.c.state != WorkerState.OFFLINE)
    await conn.execute(alive.values(state=state))


async def forget(conn: AsyncConnection, worker_id: str) -> bool:
    """Remove a worker that is OFFLINE; return whether it was removed."""
    statement = sa.delete(workers).where(_is(worker_id), workers.c.state == WorkerState.OFFLINE)
    return (await conn.execute(statement)).rowcount == 1


async def record_problems(
    conn: AsyncConnection, worker: Worker, quarantine: Mapping[str, str], broker_error: str
) -> None:
    """Store the reasons of quarantined slots, by slot id, and the broker connection's error."""
    slots = [{**slot, "quarantine": quarantine.get(slot["id"], "")} for slot in worker.slots]
    changed: dict[str, Any] = {}
    if slots != [{"quarantine": "", **slot} for slot in worker.slots]:
        changed["slots"] = slots
    if broker_error != worker.broker_error:
        changed["broker_error"] = broker_error
    if changed:
        await conn.execute(sa.update(workers).where(_is(worker.worker_id)).values(**changed))


async def list_without_broker(conn: AsyncConnection) -> list[Worker]:
    """Return the online workers without a broker connection, by id."""
    query = _SELECT.where(IS_ONLINE, workers.c.broker_error != "").order_by(workers.c.worker_id)
    return [Worker(**row) for row in (await conn.execute(query)).mappings()]


async def list_drained(conn: AsyncConnection, pools: Set[str]) -> list[Worker]:
    """Return the workers of some pools that an operator has drained and that are alive, by id."""
    is_waiting = sa.and_(workers.c.state == WorkerState.DRAINING, workers.c.drained)
    query = _SELECT.where(workers.c.project == DEFAULT_PROJECT, is_waiting)
    rows = (await conn.execute(query.order_by(workers.c.worker_id))).mappings()
    return [worker for row in rows if pools & set((worker := Worker(**row)).pools)]


async def expire(conn: AsyncConnection, worker: Worker) -> bool:
    """Mark a worker OFFLINE if no heartbeat was counted since it was read; return success."""
    statement = sa.update(workers).where(
        _is(worker.worker_id),
        workers.c.state != WorkerState.OFFLINE,
        workers.c.heartbeats == worker.heartbeats,
    )
    return (await conn.execute(statement.values(state=WorkerState.OFFLINE))).rowcount == 1


async def list_live(conn: AsyncConnection) -> list[Worker]:
    """Return the workers that are not OFFLINE."""
    return [Worker(**row) for row in (await conn.execute(_LIVE)).mappings()]


async def count_by_state(conn: AsyncConnection) -> dict[WorkerState, int]:
    """Return the number of workers in each state."""
    query = sa.select(workers.c.state, sa.func.count()).group_by(workers.c.state)
    rows = await conn.execute(query.where(workers.c.project == DEFAULT_PROJECT))
    return {state: int(count) for state, count in rows}


async def page(
    conn: AsyncConnection, *, after: str, limit: int, seen_since: datetime | None = None
) -> list[Worker]:
    """Return a page of workers by id, after the id ``after``.

    ``seen_since`` leaves out workers that are OFFLINE and have sent no heartbeat since then.
    """
    query = _SELECT.where(workers.c.project == DEFAULT_PROJECT, workers.c.worker_id > after)
    if seen_since is not None:
        is_alive = workers.c.state != WorkerState.OFFLINE
        query = query.where(is_alive | (workers.c.heartbeat_time >= seen_since))
    rows = await conn.execute(query.order_by(workers.c.worker_id).limit(limit))
    return [Worker(**row) for row in rows.mappings()]


def _is(worker_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(workers.c.project == DEFAULT_PROJECT, workers.c.worker_id == worker_id)


_SELECT = sa.select(*COLUMNS)
_GET = _SELECT.where(IS_GIVEN)
_LIVE = _SELECT.where(workers.c.project == DEFAULT_PROJECT, workers.c.state != WorkerState.OFFLINE)

"""Attempts in the database, and the compare-and-sets on their leases."""

from __future__ import annotations

import dataclasses
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.stage import Attempt, AttemptState, StageError
from services.storage.database import BigInt, UtcDateTime, enum_type, metadata
from tailrace.formats import faults
from tailrace.formats.dispatch import TaskId
from tailrace.formats.faults import Moment

_RUNNING = sa.text("state = 'RUNNING'")

attempts = sa.Table(
    "attempts",
    metadata,
    sa.Column("run_uid", sa.String(32), primary_key=True),
    sa.Column("stage_id", sa.String(63), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("ordinal", sa.Integer, nullable=False),
    sa.Column("state", enum_type(AttemptState, "attempt_state"), nullable=False),
    sa.Column("worker_id", sa.String(63), nullable=False),
    sa.Column("slot", sa.String(63), nullable=False),
    sa.Column("lease_salt", sa.String(32), nullable=False),
    sa.Column("lease_digest", sa.String(64), nullable=False),
    sa.Column("heartbeats", BigInt, nullable=False),
    sa.Column("last_event", BigInt, nullable=False),
    sa.Column("log_lines", BigInt, nullable=False),
    sa.Column("log_digest", sa.String(64), nullable=False),
    sa.Column("metric_points", BigInt, nullable=False),
    sa.Column("metric_digest", sa.String(64), nullable=False),
    sa.Column("checkpoint_step", BigInt, nullable=False),
    sa.Column("error", sa.JSON(none_as_null=True)),
    sa.Column("answer", sa.JSON(none_as_null=True)),
    sa.Column("start_time", UtcDateTime, nullable=False),
    sa.Column("end_time", UtcDateTime),
    sa.ForeignKeyConstraint(["run_uid", "stage_id"], ["stages.run_uid", "stages.stage_id"]),
    # What runs is read often, over all projects, and is little among all that ever ran.
    sa.Index(
        "ix_attempts_running",
        "project",
        "worker_id",
        postgresql_where=_RUNNING,
        sqlite_where=_RUNNING,
    ),
)
"""Executions of stages. An attempt's end is the end marker of its log."""


async def add(conn: AsyncConnection, project: str, attempt: Attempt) -> None:
    """Store a new attempt."""
    await conn.execute(attempts.insert().values(project=project, **_row(attempt)))


async def get(conn: AsyncConnection, task_id: TaskId) -> Attempt | None:
    """The attempt that a task id names."""
    row = (await conn.execute(sa.select(attempts).where(_is(task_id)))).mappings().first()
    return None if row is None else _attempt(row)


async def of_run(conn: AsyncConnection, run_uid: str) -> list[Attempt]:
    """The attempts of a run in the order in which they ran."""
    query = (
        sa.select(attempts)
        .where(attempts.c.run_uid == run_uid)
        .order_by(attempts.c.ordinal, attempts.c.number)
    )
    return [_attempt(row) for row in (await conn.execute(query)).mappings()]


async def running(conn: AsyncConnection, worker_id: str | None = None) -> list[Attempt]:
    """The attempts whose lease is alive; only a worker's where given."""
    # The literal, not a parameter, lets the planner use the partial index.
    query = sa.select(attempts).where(_RUNNING)
    if worker_id is not None:
        query = query.where(attempts.c.worker_id == worker_id)
    return [_attempt(row) for row in (await conn.execute(query)).mappings()]


async def count_running(conn: AsyncConnection) -> int:
    """How many attempts have a lease that is alive."""
    query = sa.select(sa.func.count()).select_from(attempts).where(_RUNNING)
    return int((await conn.execute(query)).scalar_one())


async def beat(conn: AsyncConnection, task_id: TaskId, lease_digest: str) -> bool:
    """Count a heartbeat; whether the lease is alive."""
    statement = (
        sa.update(attempts)
        .where(_is(task_id), attempts.c.state == AttemptState.RUNNING)
        .where(attempts.c.lease_digest == lease_digest)
        .values(heartbeats=attempts.c.heartbeats + 1)
    )
    return (await conn.execute(statement)).rowcount == 1


async def advance(conn: AsyncConnection, attempt: Attempt, **columns: Any) -> bool:
    """Change a running attempt if no event was stored since it was read; whether it was so."""
    statement = sa.update(attempts).where(
        _is(_task_id(attempt)),
        attempts.c.state == AttemptState.RUNNING,
        attempts.c.lease_digest == attempt.lease_digest,
        attempts.c.last_event == attempt.last_event,
    )
    return (await conn.execute(statement.values(**columns))).rowcount == 1


async def end(
    conn: AsyncConnection,
    attempt: Attempt,
    to: AttemptState,
    *,
    unbeaten: bool = False,
    **columns: Any,
) -> bool:
    """End a running attempt; whether it was still running.

    With ``unbeaten`` only if no heartbeat was counted since ``attempt`` was read.
    """
    changed = _row(dataclasses.replace(attempt, state=to, **columns))
    statement = sa.update(attempts).where(
        _is(_task_id(attempt)), attempts.c.state == AttemptState.RUNNING
    )
    if unbeaten:
        statement = statement.where(attempts.c.heartbeats == attempt.heartbeats)
    values = {name: changed[name] for name in ("state", *columns)}
    faults.before(Moment.LOG_END)
    ended = (await conn.execute(statement.values(**values))).rowcount == 1
    faults.after(Moment.LOG_END)
    return ended


def _task_id(attempt: Attempt) -> TaskId:
    return TaskId(attempt.run_uid, attempt.stage_id, attempt.number)


def _is(task_id: TaskId) -> sa.ColumnElement[bool]:
    return sa.and_(
        attempts.c.run_uid == task_id.run_uid,
        attempts.c.stage_id == task_id.stage,
        attempts.c.number == task_id.attempt,
    )


def _row(attempt: Attempt) -> dict[str, Any]:
    row = {field: getattr(attempt, field) for field in attempt.__dataclass_fields__}
    row["error"] = None if attempt.error is None else dataclasses.asdict(attempt.error)
    return row


def _attempt(row: sa.RowMapping) -> Attempt:
    values = {name: value for name, value in row.items() if name != "project"}
    values["error"] = None if row["error"] is None else StageError(**row["error"])
    return Attempt(**values)

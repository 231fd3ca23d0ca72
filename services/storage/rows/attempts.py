"""Attempts in the database, with compare-and-set on their leases."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.lease import LeaseToken
from services.domain.run import RunState
from services.domain.stage import Attempt, AttemptState, StageError
from services.storage.engine.columns import BigInt, UtcDateTime, enum_type, metadata
from services.storage.rows.runs import runs
from tailrace.formats import faults
from tailrace.formats.dispatch import TaskId
from tailrace.formats.faults import Moment

_AT_ONCE = 1000
"""Maximum number of leases in one statement."""

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
    # Running attempts are read often, over all projects, and are few among all attempts.
    sa.Index(
        "ix_attempts_running",
        "project",
        "worker_id",
        postgresql_where=_RUNNING,
        sqlite_where=_RUNNING,
    ),
)
"""Executions of stages. The end of an attempt is the end marker of its log."""


_IS = sa.and_(
    attempts.c.run_uid == sa.bindparam("of_run"),
    attempts.c.stage_id == sa.bindparam("of_stage"),
    attempts.c.number == sa.bindparam("of_number"),
)
_INSERT = attempts.insert()
_GET = sa.select(attempts).where(_IS)
_OF_RUN = (
    sa.select(attempts)
    .where(attempts.c.run_uid == sa.bindparam("of_run"))
    .order_by(attempts.c.ordinal, attempts.c.number)
)
# The literal, not a parameter, lets the planner use the partial index.
_ALL_RUNNING = sa.select(attempts).where(_RUNNING)
_END = sa.update(attempts).where(_IS, attempts.c.state == AttemptState.RUNNING)
_END_UNBEATEN = _END.where(attempts.c.heartbeats == sa.bindparam("read_heartbeats"))
_ADVANCE = _END.where(
    attempts.c.lease_digest == sa.bindparam("read_lease"),
    attempts.c.last_event == sa.bindparam("read_event"),
)


async def add(conn: AsyncConnection, attempt: Attempt) -> None:
    """Store a new attempt."""
    await conn.execute(_INSERT, _row(attempt))


async def get(conn: AsyncConnection, task_id: TaskId) -> Attempt | None:
    """Return the attempt that a task id names."""
    row = (await conn.execute(_GET, _key(task_id))).mappings().first()
    return None if row is None else _attempt(row)


async def list_for_run(conn: AsyncConnection, run_uid: str) -> list[Attempt]:
    """Return the attempts of a run in the order in which they ran."""
    rows = (await conn.execute(_OF_RUN, {"of_run": run_uid})).mappings()
    return [_attempt(row) for row in rows]


async def list_current(
    conn: AsyncConnection, run_uids: Sequence[str]
) -> dict[tuple[str, str], list[Attempt]]:
    """Return the running attempts of runs, by run and stage."""
    if not run_uids:
        return {}
    query = sa.select(attempts).where(
        attempts.c.run_uid.in_(run_uids), attempts.c.state == AttemptState.RUNNING
    )
    by_stage: dict[tuple[str, str], list[Attempt]] = {}
    for row in (await conn.execute(query)).mappings():
        attempt = _attempt(row)
        by_stage.setdefault((attempt.run_uid, attempt.stage_id), []).append(attempt)
    return by_stage


async def list_running(conn: AsyncConnection, worker_id: str | None = None) -> list[Attempt]:
    """Return the attempts whose lease is alive, optionally of one worker."""
    query = _ALL_RUNNING
    if worker_id is not None:
        query = query.where(attempts.c.worker_id == worker_id)
    return [_attempt(row) for row in (await conn.execute(query)).mappings()]


async def record_heartbeats(
    conn: AsyncConnection, leases: Sequence[LeaseToken]
) -> dict[str, RunState]:
    """Count a heartbeat of each lease that is alive; return the states of their runs by token."""
    alive: dict[str, RunState] = {}
    for start in range(0, len(leases), _AT_ONCE):
        alive |= await _record_heartbeats(conn, leases[start : start + _AT_ONCE])
    return alive


async def _record_heartbeats(
    conn: AsyncConnection, leases: Sequence[LeaseToken]
) -> dict[str, RunState]:
    key = (attempts.c.run_uid, attempts.c.stage_id, attempts.c.number)
    query = (
        sa.select(*key, attempts.c.lease_digest, runs.c.state)
        .join(runs, runs.c.uid == attempts.c.run_uid)
        .where(attempts.c.run_uid.in_({lease.task_id.run_uid for lease in leases}))
        .where(attempts.c.state == AttemptState.RUNNING)
        # One order of locking for all replicas, or two of them could deadlock.
        .order_by(*key)
        .with_for_update(of=attempts)
    )
    running = {TaskId(*row[:3]): row for row in await conn.execute(query)}
    opened = [
        lease
        for lease in leases
        if lease.task_id in running and lease.matches(running[lease.task_id].lease_digest)
    ]
    if opened:
        rows = [(x.task_id.run_uid, x.task_id.stage, x.task_id.attempt) for x in opened]
        statement = sa.update(attempts).where(sa.tuple_(*key).in_(rows))
        await conn.execute(statement.values(heartbeats=attempts.c.heartbeats + 1))
    return {str(lease): running[lease.task_id].state for lease in opened}


async def advance(conn: AsyncConnection, attempt: Attempt, **columns: Any) -> bool:
    """Change a running attempt unless an event was stored since it was read; return success."""
    read = {"read_lease": attempt.lease_digest, "read_event": attempt.last_event}
    values = _key(_task_id(attempt)) | read | columns
    return (await conn.execute(_ADVANCE, values)).rowcount == 1


async def end(
    conn: AsyncConnection,
    attempt: Attempt,
    to: AttemptState,
    *,
    unbeaten: bool = False,
    **columns: Any,
) -> bool:
    """End a running attempt; return whether it was still running.

    With ``unbeaten``, only if no heartbeat was counted since ``attempt`` was read.
    """
    changed = _row(dataclasses.replace(attempt, state=to, **columns))
    values = _key(_task_id(attempt)) | {name: changed[name] for name in ("state", *columns)}
    if unbeaten:
        values["read_heartbeats"] = attempt.heartbeats
    faults.before(Moment.LOG_END)
    statement = _END_UNBEATEN if unbeaten else _END
    ended = (await conn.execute(statement, values)).rowcount == 1
    faults.after(Moment.LOG_END)
    return ended


def _task_id(attempt: Attempt) -> TaskId:
    return TaskId(attempt.run_uid, attempt.stage_id, attempt.number)


def _key(task_id: TaskId) -> dict[str, Any]:
    """Return the parameters of :data:`_IS` for an attempt."""
    return {
        "of_run": task_id.run_uid,
        "of_stage": task_id.stage,
        "of_number": task_id.attempt,
    }


def _row(attempt: Attempt) -> dict[str, Any]:
    row = {field: getattr(attempt, field) for field in attempt.__dataclass_fields__}
    row["error"] = None if attempt.error is None else dataclasses.asdict(attempt.error)
    return row


def _attempt(row: sa.RowMapping) -> Attempt:
    values = dict(row)
    values["error"] = None if row["error"] is None else StageError(**row["error"])
    return Attempt(**values)

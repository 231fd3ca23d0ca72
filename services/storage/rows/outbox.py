"""The outbox: attempts to publish to the broker, and the times at which to do so.

A row stands for one queued attempt of a stage. It is written in the transaction that queues the
attempt and deleted in the one that grants or ends it, so that every row is unclaimed by workers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.stage import Stage
from services.storage.engine.columns import BigInt, UtcDateTime, metadata, utc_now
from services.storage.engine.locks import advisory_lock, try_advisory_lock
from tailrace.formats import faults
from tailrace.formats.broker import MAX_PROBLEM
from tailrace.formats.dispatch import TaskId
from tailrace.formats.faults import Moment

_CLAIMS = "outbox"
"""Lock for counting and claiming rows; two relays at once would admit too many."""

outbox = sa.Table(
    "outbox",
    metadata,
    sa.Column("id", BigInt, primary_key=True),
    sa.Column("project", sa.String(63), nullable=False),
    sa.Column("run_uid", sa.String(32), nullable=False),
    sa.Column("stage_id", sa.String(63), nullable=False),
    sa.Column("attempt", sa.Integer, nullable=False),
    sa.Column("pool", sa.String(63), nullable=False),
    sa.Column("first", sa.Boolean(create_constraint=True, name="first"), nullable=False),
    sa.Column("due_time", UtcDateTime, nullable=False),
    sa.Column("publications", sa.Integer, nullable=False),
    sa.Column("failures", sa.Integer, nullable=False),
    sa.Column("claim", sa.String(32), nullable=False),
    sa.Column("claim_end", UtcDateTime),
    sa.Column("publish_time", UtcDateTime),
    sa.Column("error", sa.String(MAX_PROBLEM), nullable=False, server_default=""),
    sa.Column("place", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.ForeignKeyConstraint(["run_uid", "stage_id"], ["stages.run_uid", "stages.stage_id"]),
    sa.UniqueConstraint("run_uid", "stage_id", name="uq_outbox_stage"),
    # The relay serves all projects in one order.
    sa.Index("ix_outbox_due", "due_time", "id"),
    sa.Index("ix_outbox_pool", "pool"),
    sa.Index(
        "ix_outbox_error",
        "due_time",
        postgresql_where=sa.text("error <> ''"),
        sqlite_where=sa.text("error <> ''"),
    ),
)
"""Queued attempts.

- ``first``: the first stage of a run, subject to admission.
- ``publications``: number of confirmations by the broker, the last at ``publish_time``.
- ``claim``: the relay's pass, or the process, that publishes the row now; void after ``claim_end``.
- ``error``: error of the broker at the last attempt to publish; empty if that succeeded.
- ``place``: of a first stage, true once it was claimed to be published: its run counts among the
  running runs of its project until it ends.
"""

_INSERT = outbox.insert()
_REMOVE = sa.delete(outbox).where(outbox.c.run_uid == sa.bindparam("run_uid"))
COUNT_BY_POOL = sa.select(outbox.c.pool, sa.func.count()).group_by(outbox.c.pool)
"""Query for the number of queued attempts by pool."""

_NOW = sa.bindparam("now", type_=UtcDateTime)
_OPEN_CLAIM = sa.and_(outbox.c.claim != "", outbox.c.claim_end > _NOW)
_IS_DUE = sa.and_(outbox.c.due_time <= _NOW, sa.not_(_OPEN_CLAIM))
_DUE = sa.select(sa.literal(1)).where(_IS_DUE).limit(1)
_PUBLISHED = (
    sa.select(outbox.c.pool, sa.func.count())
    .where(outbox.c.publications > 0)
    .where(outbox.c.pool.in_(sa.bindparam("of_pools", expanding=True)))
    .group_by(outbox.c.pool)
)
# The literal, not a parameter, lets the planner use the partial index.
_REFUSED = sa.text("error <> ''")
_BROKER_ERROR = (
    sa.select(outbox.c.error).where(_REFUSED).order_by(outbox.c.due_time.desc()).limit(1)
)
_SETTLE = sa.update(outbox).where(
    outbox.c.run_uid.in_(sa.bindparam("of_runs", expanding=True)),
    outbox.c.claim == sa.bindparam("of_claim"),
)


@dataclass(frozen=True)
class Places:
    """Numbers of runs that may start now, by project; ``None`` for any number."""

    by_project: Mapping[str, int | None]
    """Places of some projects."""
    default: int | None
    """Places of each other project."""


@dataclass(frozen=True)
class Claim:
    """The right of a relay to publish rows."""

    id: str
    """Id of the claim, which statements that settle a row must name."""
    end: datetime
    """Time from which other relays may claim the rows."""


@dataclass(frozen=True)
class NewEntry:
    """A stage whose current attempt must be queued."""

    project: str
    stage: Stage
    due_time: datetime
    """Time at which to publish the attempt."""
    first: bool = False
    """True for the first stage of a run, which is subject to admission."""
    claim: Claim | None = None
    """Claim from the start; ``None`` if a relay must find the row."""


@dataclass(frozen=True)
class Entry:
    """A claimed row."""

    task_id: TaskId
    """Task of the queued attempt."""
    pool: str
    """Pool to publish to."""
    publications: int
    """Number of earlier publications."""
    failures: int
    """Number of failures to publish since the last success."""
    claim: str
    """Id of the claim."""
    publish_time: datetime | None = None
    """Time of the last publication; ``None`` before the first."""


async def add_all(conn: AsyncConnection, queued: Iterable[NewEntry]) -> None:
    """Queue the current attempts of stages."""
    rows = [
        {
            "project": row.project,
            "run_uid": row.stage.run_uid,
            "stage_id": row.stage.stage_id,
            "attempt": row.stage.attempt,
            "pool": row.stage.pool,
            "first": row.first,
            "due_time": row.due_time,
            "publications": 0,
            "failures": 0,
            "claim": row.claim.id if row.claim else "",
            "claim_end": row.claim.end if row.claim else None,
            "place": row.first and row.claim is not None,
        }
        for row in queued
    ]
    if rows:
        faults.before(Moment.OUTBOX_INSERT)
        await conn.execute(_INSERT, rows)
        faults.after(Moment.OUTBOX_INSERT)


async def remove(conn: AsyncConnection, run_uid: str) -> None:
    """Remove a run's rows, because its attempt was claimed or the run ended."""
    await conn.execute(_REMOVE, {"run_uid": run_uid})


async def confirm(conn: AsyncConnection, task_id: TaskId, next_due: datetime) -> bool:
    """Record that a worker's chain has published an attempt; return whether it was unpublished."""
    statement = (
        sa.update(outbox)
        .where(outbox.c.run_uid == task_id.run_uid, outbox.c.stage_id == task_id.stage)
        .where(outbox.c.attempt == task_id.attempt, outbox.c.publications == 0)
        .values(publications=1, due_time=next_due, publish_time=utc_now())
    )
    return (await conn.execute(statement)).rowcount == 1


async def claim(
    conn: AsyncConnection,
    claim_id: str,
    *,
    hold: timedelta,
    admission: Mapping[str, int],
    floor: int,
    limit: int,
    places: Places | None = None,
) -> list[Entry]:
    """Claim due rows for one pass of a relay: first stages of projects in turn, oldest first.

    Args:
        conn: The transaction.
        claim_id: Id of the new claim.
        hold: Validity of the claim.
        admission: Maximum number of first stages by pool that may be published or in publication;
            further ones wait.
        floor: The maximum for pools that ``admission`` does not name.
        limit: Maximum number of rows.
        places: Numbers of runs that may start by project; ``None`` for any number.
    """
    await advisory_lock(conn, _CLAIMS)
    now = utc_now()
    out = sa.or_(outbox.c.publications > 0, _OPEN_CLAIM)
    counts = await conn.execute(
        sa.select(outbox.c.pool, sa.func.count())
        .where(outbox.c.first, out)
        .group_by(outbox.c.pool),
        {"now": now},
    )
    free = dict(admission)
    for pool, count in counts:
        free[pool] = free.get(pool, floor) - count
    due = _due_in_turn(free, floor, places)
    waiting = sa.and_(due.c.first, due.c.publications == 0)
    # Runs that were published take no turn.
    order = (sa.case((waiting, due.c.turn), else_=0), due.c.due_time, due.c.id)
    rank = sa.func.row_number().over(partition_by=(due.c.pool, waiting), order_by=order)
    room = _room(free, floor, due.c.pool)
    ranked = sa.select(due, sa.or_(sa.not_(waiting), rank <= room).label("admitted"), *(
        column.label(f"order{i}") for i, column in enumerate(order)
    )).subquery()  # fmt: skip
    query = (
        sa.select(ranked)
        .where(ranked.c.admitted)
        .order_by(ranked.c.order0, ranked.c.order1, ranked.c.order2)
        .limit(limit)
    )
    rows = [*(await conn.execute(query, {"now": now})).mappings()]
    if rows:
        claimed = sa.update(outbox).where(outbox.c.id.in_([row["id"] for row in rows]))
        values = {"claim": claim_id, "claim_end": now + hold, "place": outbox.c.first}
        await conn.execute(claimed.values(values))
    return [_entry(row, claim_id) for row in rows]


def _room(
    free: Mapping[str, int], floor: int, pool: sa.ColumnElement[str]
) -> sa.ColumnElement[int]:
    return sa.case(dict(free), value=pool, else_=floor) if free else sa.literal(floor)


def _due_in_turn(free: Mapping[str, int], floor: int, places: Places | None) -> sa.Subquery:
    """Return the due rows whose pool and project have room, each with its project's turn.

    A run that its project has no place for is left out before pools are counted, so that it keeps
    no other project's run from its turn.
    """
    holds = sa.or_(sa.not_(outbox.c.first), outbox.c.place)
    turn = sa.func.row_number().over(
        partition_by=(outbox.c.project, holds), order_by=(outbox.c.due_time, outbox.c.id)
    )
    waiting = sa.and_(outbox.c.first, outbox.c.publications == 0)
    # Thousands of runs may wait for a full pool: they are not worth sorting.
    has_room = sa.or_(sa.not_(waiting), _room(free, floor, outbox.c.pool) > 0)
    due = sa.select(outbox, holds.label("holds"), turn.label("turn")).where(_IS_DUE, has_room)
    if places is None:
        return due.subquery()
    rows = due.subquery()
    other = sa.literal(places.default, sa.Integer)
    by_project = dict(places.by_project)
    room = sa.case(by_project, value=rows.c.project, else_=other) if by_project else other
    admitted = sa.or_(rows.c.holds, room.is_(None), rows.c.turn <= room)
    return sa.select(rows).where(admitted).subquery()


async def list_waiting_projects(conn: AsyncConnection) -> set[str]:
    """Return the projects with runs that wait for a place."""
    waiting = sa.select(outbox.c.project).where(outbox.c.first, sa.not_(outbox.c.place))
    return set(await conn.scalars(waiting.distinct()))


async def any_due(conn: AsyncConnection) -> bool:
    """Return whether :func:`claim` may find rows; cheaper than a claim."""
    return await conn.scalar(_DUE, {"now": utc_now()}) is not None


async def await_claims(conn: AsyncConnection) -> None:
    """Keep relays from claiming until the transaction ends, once none claims any more."""
    await advisory_lock(conn, _CLAIMS)


async def lock_claims(conn: AsyncConnection) -> bool:
    """Keep relays from claiming until the transaction ends; return False if one holds the lock."""
    return await try_advisory_lock(conn, _CLAIMS)


async def mark_sent(
    conn: AsyncConnection, entries: Sequence[Entry], next_due: Callable[[int], datetime]
) -> None:
    """Record that the broker has confirmed the entries.

    Each is published again at ``next_due(publications)`` if no worker has claimed it by then.
    """
    alike: dict[tuple[str, int], list[Entry]] = {}
    for entry in entries:
        alike.setdefault((entry.claim, entry.publications + 1), []).append(entry)
    now = utc_now()
    for (_, publications), group in alike.items():
        due = next_due(publications)
        await _settle(
            conn,
            group,
            publications=publications,
            failures=0,
            due_time=due,
            publish_time=now,
            error="",
        )


async def mark_failed(conn: AsyncConnection, entry: Entry, next_due: datetime, error: str) -> None:
    """Record a failure to publish; the next try is at ``next_due``."""
    await _settle(
        conn,
        [entry],
        failures=entry.failures + 1,
        due_time=next_due,
        error=error[:MAX_PROBLEM],
    )


async def hasten_failed(conn: AsyncConnection) -> int:
    """Make the rows that the broker refused due at once; return their number."""
    refused = sa.update(outbox).where(_REFUSED, outbox.c.due_time > utc_now())
    return (await conn.execute(refused.values(due_time=utc_now()))).rowcount


async def put_off(
    conn: AsyncConnection, entries: Sequence[Entry], next_due: Callable[[datetime], datetime]
) -> None:
    """Postpone entries whose messages still wait, until ``next_due(publish_time)``."""
    alike: dict[datetime | None, list[Entry]] = {}
    for entry in entries:
        alike.setdefault(entry.publish_time, []).append(entry)
    for publish_time, group in alike.items():
        await _settle(conn, group, failures=0, due_time=next_due(publish_time or utc_now()))


async def count_published(conn: AsyncConnection, pools: Iterable[str]) -> dict[str, int]:
    """Return the number of published and unclaimed attempts by pool."""
    rows = await conn.execute(_PUBLISHED, {"of_pools": list(pools)})
    return {pool: int(count) for pool, count in rows}


async def broker_error(conn: AsyncConnection) -> str:
    """Return the broker's error for the newest refused row; empty if there is none."""
    return str(await conn.scalar(_BROKER_ERROR) or "")


async def count_by_pool(conn: AsyncConnection) -> dict[str, int]:
    """Return the number of queued attempts by pool."""
    return {pool: int(count) for pool, count in await conn.execute(COUNT_BY_POOL)}


@dataclass(frozen=True)
class Publication:
    """State of a queued stage's publication."""

    due_time: datetime
    """Time of the next publication or check."""
    publications: int
    """Number of publications."""
    error: str = ""
    """Fault of the broker at the last try; empty if it succeeded."""
    waits_for_place: bool = False
    """True for the first stage of a run that does not count among its project's running runs."""


async def list_publications(conn: AsyncConnection, run_uid: str) -> dict[str, Publication]:
    """Return the state of publication of a run's queued stages, by stage id."""
    o = outbox.c
    waits = sa.and_(o.first, sa.not_(o.place)).label("waits")
    columns = (o.stage_id, o.due_time, o.publications, o.error, waits)
    rows = await conn.execute(sa.select(*columns).where(o.run_uid == run_uid))
    return {
        row.stage_id: Publication(row.due_time, row.publications, row.error, bool(row.waits))
        for row in rows
    }


def _entry(row: sa.RowMapping, claim_id: str) -> Entry:
    task_id = TaskId(row["run_uid"], row["stage_id"], row["attempt"])
    return Entry(
        task_id,
        row["pool"],
        row["publications"],
        row["failures"],
        claim_id,
        row["publish_time"],
    )


async def _settle(conn: AsyncConnection, entries: Sequence[Entry], **columns: object) -> None:
    """Release the entries of one claim and change other columns in the same statement."""
    parameters = {
        "of_runs": [entry.task_id.run_uid for entry in entries],
        "of_claim": entries[0].claim,
    }
    await conn.execute(_SETTLE, {**parameters, "claim": "", "claim_end": None, **columns})

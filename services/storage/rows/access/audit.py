"""The audit log in the database.

Events are inserted without a place in the hash chain; one replica at a time gives places to events
that are committed, see :mod:`services.usecases.access.audit_chain`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.access.audit import (
    AuditEvent,
    ChainState,
    Condition,
    StoredEvent,
    change_of,
)
from services.domain.caller import Caller
from services.storage.engine.columns import BigInt, UtcDateTime, metadata, utc_now
from services.storage.engine.insert import upsert
from tailrace.formats.comparisons import OPERATORS
from tailrace.formats.data.audit_chain import Place

audit_events = sa.Table(
    "audit_events",
    metadata,
    sa.Column("id", BigInt, primary_key=True),
    sa.Column("time", UtcDateTime, nullable=False),
    sa.Column("project", sa.Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("method", sa.Text, nullable=False),
    sa.Column("resource", sa.Text, nullable=False),
    sa.Column("peer", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("suppressed", BigInt, nullable=False),
    sa.Column("sequence", BigInt),
    sa.Column("hash", sa.String(64), nullable=False),
    sa.Index("ix_audit_events_project", "project", "id"),
    sa.Index(
        "ix_audit_events_sequence",
        "sequence",
        unique=True,
        postgresql_where=sa.text("sequence IS NOT NULL"),
        sqlite_where=sa.text("sequence IS NOT NULL"),
    ),
    sa.Index(
        "ix_audit_events_unchained",
        "id",
        postgresql_where=sa.text("sequence IS NULL"),
        sqlite_where=sa.text("sequence IS NULL"),
    ),
)
"""Changes and refused calls; ``sequence`` and ``hash`` are set once the event is chained."""

audit_chain = sa.Table(
    "audit_chain",
    metadata,
    sa.Column("name", sa.String(8), primary_key=True),
    sa.Column("sequence", BigInt, nullable=False),
    sa.Column("hash", sa.String(64), nullable=False),
)
"""Places of the two ends of the chain: ``anchor``, the last deleted event, and ``head``."""

ANCHOR, HEAD = "anchor", "head"

_INSERT = audit_events.insert()
_SELECT = sa.select(audit_events)
_UNCHAINED = audit_events.c.sequence.is_(None)
_NEXT_UNCHAINED = _SELECT.where(_UNCHAINED).order_by(audit_events.c.id).limit(sa.bindparam("most"))
_SET_PLACE = (
    sa.update(audit_events)
    .where(audit_events.c.id == sa.bindparam("of_id"), _UNCHAINED)
    .values(sequence=sa.bindparam("place"), hash=sa.bindparam("digest"))
)


async def record(
    conn: AsyncConnection, caller: Caller, resource: str, *, project: str = ""
) -> None:
    """Add the event of a change to the transaction that makes the change.

    Args:
        conn: Connection of the transaction.
        caller: Who makes the change.
        resource: Name of the resource.
        project: Project of the resource, if it is not the caller's.
    """
    await add_all(conn, [change_of(caller, resource, utc_now(), project)])


async def add_all(conn: AsyncConnection, events: Sequence[AuditEvent]) -> None:
    """Add events."""
    rows = [
        {**{field: getattr(event, field) for field in event.__dataclass_fields__}, "hash": ""}
        for event in events
    ]
    if rows:
        await conn.execute(_INSERT, rows)


async def page(
    conn: AsyncConnection,
    conditions: Sequence[Condition],
    *,
    project: str | None,
    before: int | None,
    limit: int,
) -> list[StoredEvent]:
    """Return a page of events, newest first.

    Args:
        conn: The connection.
        conditions: Conditions, all of which must hold.
        project: Project of the events; None for all.
        before: Row number that the page ends before; None for the newest page.
        limit: Maximum number of events.
    """
    query = _SELECT.order_by(audit_events.c.id.desc()).limit(limit)
    for column, operator, value in conditions:
        query = query.where(OPERATORS[operator](audit_events.c[column], value))
    if project is not None:
        query = query.where(audit_events.c.project == project)
    if before is not None:
        query = query.where(audit_events.c.id < before)
    return [_stored(row) for row in (await conn.execute(query)).mappings()]


async def page_of_chain(
    conn: AsyncConnection, *, after: int, limit: int, project: str | None = None
) -> list[StoredEvent]:
    """Return chained events after a position, in the order of the chain, of a project or of all."""
    query = _SELECT.where(audit_events.c.sequence > after)
    if project is not None:
        query = query.where(audit_events.c.project == project)
    query = query.order_by(audit_events.c.sequence).limit(limit)
    return [_stored(row) for row in (await conn.execute(query)).mappings()]


async def has_unchained(conn: AsyncConnection) -> bool:
    """Return whether an event has no place in the chain."""
    query = sa.select(audit_events.c.id).where(_UNCHAINED).limit(1)
    return await conn.scalar(query) is not None


async def list_unchained(conn: AsyncConnection, most: int) -> list[StoredEvent]:
    """Return events without a place in the chain, in the order of their rows."""
    rows = await conn.execute(_NEXT_UNCHAINED, {"most": most})
    return [_stored(row) for row in rows.mappings()]


async def set_places(conn: AsyncConnection, places: Mapping[int, Place]) -> None:
    """Give events, by row number, their places in the chain."""
    await conn.execute(
        _SET_PLACE,
        [
            {"of_id": event_id, "place": place.sequence, "digest": place.hash}
            for event_id, place in places.items()
        ],
    )


async def end_of_chain(conn: AsyncConnection, end: str) -> Place:
    """Return the place of :data:`ANCHOR` or :data:`HEAD`."""
    query = sa.select(audit_chain.c.sequence, audit_chain.c.hash).where(audit_chain.c.name == end)
    row = (await conn.execute(query)).first()
    return Place() if row is None else Place(row.sequence, row.hash)


async def set_end_of_chain(conn: AsyncConnection, end: str, place: Place) -> None:
    """Move :data:`ANCHOR` or :data:`HEAD`."""
    row = {"name": end, "sequence": place.sequence, "hash": place.hash}
    await upsert(conn, audit_chain, [row], ["name"])


async def chain_state(conn: AsyncConnection) -> ChainState:
    """Return both ends of the chain, and the number of events without a place."""
    query = sa.select(sa.func.count(), sa.func.min(audit_events.c.time)).where(_UNCHAINED)
    count, oldest = (await conn.execute(query)).one()
    anchor, head = await end_of_chain(conn, ANCHOR), await end_of_chain(conn, HEAD)
    return ChainState(anchor, head, int(count), oldest)


async def expired_end(
    conn: AsyncConnection, cutoff: datetime, *, after: int, most: int
) -> Place | None:
    """Return the place of the last of the events from the oldest on that are older than ``cutoff``.

    Looks at ``most`` events after the position ``after``. None if the oldest is young enough.
    """
    end = None
    for stored in await page_of_chain(conn, after=after, limit=most):
        if stored.event.time >= cutoff or stored.sequence is None:
            break
        end = Place(stored.sequence, stored.hash)
    return end


async def delete_to(conn: AsyncConnection, sequence: int) -> int:
    """Delete the chained events up to a position; return their number."""
    chained = sa.delete(audit_events).where(audit_events.c.sequence <= sequence)
    return int((await conn.execute(chained)).rowcount)


def _stored(row: Any) -> StoredEvent:
    values = dict(row)
    event_id, sequence, digest = values.pop("id"), values.pop("sequence"), values.pop("hash")
    return StoredEvent(event_id, AuditEvent(**values), sequence, digest)

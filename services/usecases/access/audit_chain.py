"""The hash chain of the audit log: events get their places, old events are deleted.

Transactions commit in another order than they number their rows. So the chain does not follow the
numbers: each batch takes the committed events without a place, whatever their numbers, and an event
that commits later gets a later place. None is skipped, and positions have no gaps.
"""

from __future__ import annotations

from datetime import timedelta

from services.domain.access.audit import chain
from services.storage.engine.columns import utc_now
from services.storage.engine.locks import try_advisory_lock
from services.storage.rows.access import audit
from services.usecases.context import Context

LOCK = "audit-chain"
"""Lock of the replica that changes the chain's ends."""

BATCH = 500
"""Maximum number of events that one transaction chains or deletes."""


async def chain_events(context: Context) -> int:
    """Give the next events their places, in one transaction, and return their number.

    It returns 0, too, while another replica does so.
    """
    async with context.database.read() as conn:
        if not await audit.has_unchained(conn):
            return 0
    async with context.database.write() as conn:
        if not await try_advisory_lock(conn, LOCK):
            return 0
        head = await audit.end_of_chain(conn, audit.HEAD)
        places = {}
        for stored in await audit.list_unchained(conn, BATCH):
            head = places[stored.event_id] = chain(head, stored.event)
        if places:
            await audit.set_places(conn, places)
            await audit.set_end_of_chain(conn, audit.HEAD, head)
    return len(places)


async def delete_old_events(context: Context) -> int:
    """Delete the events that are older than the retention allows; return their number.

    The place of the last deleted one stays as the chain's anchor, from which the rest is verified.
    """
    days = context.settings.audit_retention_days
    deleted = 0
    while days is not None:
        cutoff = utc_now() - timedelta(days=days)
        async with context.database.write() as conn:
            if not await try_advisory_lock(conn, LOCK):
                break
            anchor = await audit.end_of_chain(conn, audit.ANCHOR)
            end = await audit.expired_end(conn, cutoff, after=anchor.sequence, most=BATCH)
            if end is None:
                break
            deleted += await audit.delete_to(conn, end.sequence)
            await audit.set_end_of_chain(conn, audit.ANCHOR, end)
    return deleted

"""Reading of the audit log."""

from __future__ import annotations

from services.domain.access.audit import ChainState, StoredEvent, parse_audit_filter
from services.domain.caller import Caller
from services.domain.errors import InvalidInput
from services.domain.pages import take_fitting, text_size
from services.domain.pagination import decode_page_token, encode_page_token, page_size
from services.storage.rows.access import audit
from services.usecases.context import Context

DEFAULT_PAGE = 100
"""Default page size."""

CHAIN_ORDER = "sequence"
"""Order of the hash chain; the default is newest first."""


async def list_events(
    context: Context, caller: Caller, *, filter_text: str, order_by: str, size: int, token: str
) -> tuple[list[StoredEvent], str]:
    """Return a page of events and the next page's token. Raises ``InvalidInput``.

    A cluster admin gets the events of all projects, others those of their project.
    """
    if order_by not in ("", CHAIN_ORDER):
        raise InvalidInput.field("order_by", f"must be empty or {CHAIN_ORDER!r}")
    if order_by and filter_text:
        raise InvalidInput.field("filter", f"must be empty with order_by {CHAIN_ORDER!r}")
    conditions = parse_audit_filter(filter_text)
    project = None if caller.is_cluster_admin else caller.project
    query = ["audit", order_by, filter_text, project]
    position = decode_page_token(token, query, [int])
    limit = page_size(size, default=DEFAULT_PAGE)
    async with context.database.read() as conn:
        if order_by:
            after = position[0] if position else 0
            rows = await audit.page_of_chain(conn, after=after, limit=limit + 1, project=project)
        else:
            before = position[0] if position else None
            rows = await audit.page(
                conn, conditions, project=project, before=before, limit=limit + 1
            )
    page = take_fitting([(text_size(_long_text(row)), row) for row in rows], limit)
    if len(page) == len(rows):
        return page, ""
    last = page[-1].sequence if order_by else page[-1].event_id
    return page, encode_page_token([last or 0], query)


async def chain_state(context: Context) -> ChainState:
    """Return both ends of the hash chain, and the number of events without a place."""
    async with context.database.read() as conn:
        return await audit.chain_state(conn)


def _long_text(stored: StoredEvent) -> str:
    event = stored.event
    return event.actor + event.resource + event.request_id + event.peer

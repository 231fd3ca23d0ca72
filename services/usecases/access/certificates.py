"""Revoking the certificates of a worker."""

from __future__ import annotations

from datetime import datetime

from services.domain.access.token import ALL_PROJECTS
from services.domain.caller import Caller
from services.domain.worker import worker_name
from services.storage.engine.columns import utc_now
from services.storage.rows.access import audit
from services.storage.rows.access import certificates as store
from services.usecases.context import Context


async def revoke_certificate(context: Context, caller: Caller, worker_id: str) -> datetime:
    """Refuse all certificates of a worker that were made until now; return the time.

    The worker need not have registered: its certificate may be stolen before.
    """
    now = utc_now()
    async with context.database.write() as conn:
        await store.revoke(conn, worker_id, now)
        await audit.record(conn, caller, worker_name(worker_id), project=ALL_PROJECTS)
    return now

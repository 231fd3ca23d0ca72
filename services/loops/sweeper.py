"""Sweeper: removes abandoned uploads, old sessions, and old events of the audit log."""

from __future__ import annotations

import structlog

from services.domain.errors import Unavailable
from services.usecases.access.audit_chain import delete_old_events
from services.usecases.access.sessions import delete_old_sessions
from services.usecases.content.artifacts import sweep_uploads
from services.usecases.context import Context

_log = structlog.get_logger(__name__)

LOOKS_PER_EXPIRY = 4
"""Number of sweeps during the expiry of an upload."""


class Sweeper:
    """Sweeper of one blob store's partial uploads, of sessions and of the audit log.

    Several replicas may sweep at once.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._interval = context.settings.upload_expiry_seconds / LOOKS_PER_EXPIRY

    async def run(self) -> None:
        """Sweep periodically until the shutdown; an unavailable store does not end the loop."""
        while not await self._context.shutdown.sleep(self._interval):
            try:
                removed = await sweep_uploads(self._context)
                await delete_old_sessions(self._context)
                deleted = await delete_old_events(self._context)
            except (OSError, Unavailable) as error:
                _log.warning("sweeper waits for its stores", error=str(error))
                continue
            if removed:
                _log.info("removed partial uploads that were given up", count=removed)
            if deleted:
                _log.info("deleted old events of the audit log", count=deleted)

"""Chainer: gives committed events of the audit log their places in its hash chain."""

from __future__ import annotations

import structlog

from services.domain.errors import Unavailable
from services.usecases.access.audit_chain import BATCH, chain_events
from services.usecases.context import Context

_log = structlog.get_logger(__name__)


class AuditChainer:
    """Chainer of one database's audit log; of several replicas, one works at a time."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._interval = context.settings.poll_seconds

    async def run(self) -> None:
        """Chain periodically until the shutdown, also after the database was unavailable."""
        while not await self._context.shutdown.sleep(self._interval):
            try:
                while await chain_events(self._context) == BATCH:
                    pass
            except Unavailable as error:
                _log.warning("audit chain waits for the database", error=error.message)

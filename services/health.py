"""Health of the broker and the database, at the start and from then on.

A control plane without its broker still accepts runs and answers, so its overall health stays
SERVING; the health services ``tailrace.broker`` and ``tailrace.database`` report the two.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from grpc_health.v1 import health_pb2

from services.adapters.broker import Broker, BrokerError
from services.domain.errors import Unavailable
from services.metrics import Metrics
from services.runtime.wakeups import OUTBOX
from services.storage.rows import outbox
from services.usecases.context import Context

_log = structlog.get_logger(__name__)

BROKER = "tailrace.broker"
"""Health service that is SERVING while the broker accepts stages."""

DATABASE = "tailrace.database"
"""Health service that is SERVING while the database answers."""

TLS = "tailrace.tls"
"""Health service that is SERVING if clients reach the control plane by TLS."""

AUTHENTICATION = "tailrace.authentication"
"""Health service that is SERVING if clients need a token."""

_RETRY_SECONDS = 0.5


class BrokerSettingError(ValueError):
    """Configuration error of the broker or its URL; the message names the reason."""


class HealthMonitor:
    """Watcher of one control plane's broker and database."""

    def __init__(self, context: Context, broker: Broker, health: Any, metrics: Metrics) -> None:
        self._context = context
        self._broker = broker
        self._health = health
        self._metrics = metrics
        self._problems: dict[str, str] = {}

    async def require_database(self) -> None:
        """Return once the database can be used; wait briefly while it starts.

        Raises:
            DatabaseSettingError: It rejects TAILRACE_DATABASE_URL.
            Unavailable: It cannot be reached.
        """
        await self._wait_for("database", self._context.database.check)

    async def require_broker(self) -> None:
        """Return once the broker can be used; wait briefly while it starts.

        Raises:
            BrokerSettingError: It rejects TAILRACE_BROKER_URL.
            Unavailable: It cannot be reached.
        """
        await self._wait_for("broker", self._check_broker)

    async def run(self) -> None:
        """Check periodically until the shutdown."""
        while True:
            await self.check_once()
            if await self._context.shutdown.sleep(self._context.settings.health_seconds):
                return

    async def check_once(self) -> None:
        """Check both and report changes."""
        await asyncio.gather(
            self._report(BROKER, self._check_quiet_broker, self._metrics.broker_up.set),
            self._report(DATABASE, self._context.database.check, self._metrics.database_up.set),
        )

    async def _wait_for(self, name: str, check: Callable[[], Awaitable[None]]) -> None:
        deadline = time.monotonic() + self._context.settings.start_patience_seconds
        is_waiting = False
        while True:
            try:
                await check()
                return
            except Unavailable as error:
                if time.monotonic() >= deadline:
                    raise
                if not is_waiting:
                    _log.warning(f"waiting for the {name}", error=error.message)
                is_waiting = True
            if await self._context.shutdown.sleep(_RETRY_SECONDS):
                return

    async def _check_broker(self) -> None:
        try:
            await self._broker.check()
        except BrokerError as error:
            if error.problem.configuration:
                raise BrokerSettingError(f"TAILRACE_BROKER_URL: {error}") from error
            raise Unavailable("BROKER_UNAVAILABLE", str(error)) from error

    async def _check_quiet_broker(self) -> None:
        """Check a broker that has confirmed no publication lately."""
        quiet_seconds = time.monotonic() - self._broker.last_success
        if self._broker.problem or quiet_seconds >= self._context.settings.health_seconds:
            await self._check_broker()

    async def _report(
        self, service: str, look: Callable[[], Awaitable[None]], set_up: Callable[[float], None]
    ) -> None:
        earlier_problem, problem = self._problems.get(service, ""), ""
        try:
            await look()
        except Unavailable as error:
            problem = error.message
        except ValueError as error:
            problem = str(error)
        self._problems[service] = problem
        statuses = health_pb2.HealthCheckResponse
        await self._health.set(service, statuses.NOT_SERVING if problem else statuses.SERVING)
        set_up(not problem)
        if problem and not earlier_problem:
            _log.error("unavailable", service=service, error=problem)
        elif earlier_problem and not problem:
            _log.info("available again", service=service)
            if service == BROKER:
                await self._publish_at_once()

    async def _publish_at_once(self) -> None:
        """End the delay of runs that the broker has refused."""
        try:
            async with self._context.database.write() as conn:
                await outbox.hasten_failed(conn)
        except Unavailable:
            return  # The runs are due within half a minute in any case.
        self._context.wakeups.wake(OUTBOX)

"""The worker's connection to its broker: retried without limit, reported while it is down."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import structlog
from celery.worker.consumer import Consumer
from celery.worker.state import maybe_shutdown

from tailrace.formats.broker import broker_place, broker_problem

_log = structlog.get_logger(__name__)


class BrokerLink:
    """State of the broker connection, for the heartbeat."""

    def __init__(self) -> None:
        self.problem = ""
        """Problem of the connection; empty while connected, and before the first attempt to
        connect."""
        self.on_change: Callable[[], None] = lambda: None
        """Callback after each change."""

    def lost(self, error: BaseException, url: str) -> None:
        """Record that the connection is down."""
        self._set(broker_problem(error, url).text)

    def connected(self) -> None:
        """Record that the connection is up."""
        self._set("")

    def _set(self, problem: str) -> None:
        if problem != self.problem:
            self.problem = problem
            self.on_change()


class StageConsumer(Consumer):  # type: ignore[misc]  # celery has no types
    """Celery's consumer, with reports about its connection and without native delayed delivery.

    The step of delayed delivery would declare 28 exchanges and queues for messages with a countdown
    as soon as it sees a quorum queue; no message of Tailrace has a countdown.
    """

    class Blueprint(Consumer.Blueprint):  # type: ignore[misc]  # celery has no types
        """Steps of the consumer."""

        default_steps: ClassVar[list[str]] = [
            step for step in Consumer.Blueprint.default_steps if "delayed_delivery" not in step
        ]

    def __init__(self, *args: Any, worker_options: dict[str, Any], **options: Any) -> None:
        """Report to ``broker_link``, an option of the worker; without it to a link of no one."""
        self._link: BrokerLink = worker_options.get("broker_link") or BrokerLink()
        super().__init__(*args, worker_options=worker_options, **options)

    def ensure_connected(self, conn: Any) -> Any:
        """Connect, without a time limit."""
        url = self.app.conf.broker_url

        def report(error: Exception, pause: float) -> None:
            self._link.lost(error, url)
            _log.error("no connection to the broker", error=self._link.problem, again_in=pause)

        conn = conn.ensure_connection(report, None, callback=maybe_shutdown)
        self.first_connection_attempt = False
        return conn

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        """Report the reason for the missing connection."""
        self._report(exc)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Report the reason for the lost connection, and let Celery close its remains."""
        self._report(exc)
        super().on_connection_error_after_connected(exc)

    def _report(self, error: Exception) -> None:
        self._link.lost(error, self.app.conf.broker_url)
        _log.error("the broker connection was lost", error=self._link.problem)

    def on_ready(self) -> None:
        """Record that queues are consumed. Celery calls this once per connection."""
        self._link.connected()
        _log.info("connected to the broker", broker=broker_place(self.app.conf.broker_url))
        super().on_ready()

"""Broker: chains of stage tasks, published through Celery and kombu."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import kombu
from celery import Celery

from services.domain.stage import Stage
from services.runtime.celery_events import CeleryEvent
from tailrace.broker_tls import broker_tls
from tailrace.formats.broker import BLOCKED, BrokerProblem, broker_problem, is_amqp
from tailrace.formats.dispatch import (
    EXCHANGE,
    QUEUE_ARGUMENTS,
    queue_name,
    routing_key,
    task_arguments,
    task_name,
)
from tailrace.tls_files import TlsFiles

# kombu claims to be typed, but its classes are not.
_kombu: Any = kombu

T = TypeVar("T")

_PROBE = "tailrace.probe"
"""Routing key of messages that only test a broker; on Valkey a key that expires."""

_SYSTEM_TRUST = TlsFiles()

DECLARED_SECONDS = 5.0
"""Time for which a declared queue is assumed to exist. A broker that loses it within that time
loses one publication, which is repeated.
"""


@dataclass(frozen=True)
class Chain:
    """Celery chain of a run's stages, as a message of Celery's protocol."""

    pool: str
    """Pool of the first task."""
    task: str
    """Name of the first task."""
    message: Any
    """Message of the first task, which carries the others."""


class BrokerError(Exception):
    """Failure of the broker; the message has the reason and the way out."""

    def __init__(self, problem: BrokerProblem) -> None:
        super().__init__(problem.text)
        self.problem = problem


class Broker:
    """Publisher of chains over one connection, used by a dedicated thread.

    Args:
        url: URL of RabbitMQ or Valkey.
        timeout: Maximum time in seconds until the broker confirms a publication.
        files: TLS files of a broker with TLS.
    """

    def __init__(self, url: str, *, timeout: float, files: TlsFiles = _SYSTEM_TRUST) -> None:
        self._url = url
        self._timeout = timeout
        self._blocked = False
        self.problem = ""
        """Problem of the last publication or check; empty while the broker works."""
        self.last_success = float("-inf")
        """Time of the last publication or check that succeeded, on the monotonic clock."""
        self._app = Celery("tailrace", broker=url, set_as_current=False)
        self._app.conf.update(
            task_ignore_result=True,
            task_serializer="json",
            accept_content=["json"],
            task_publish_retry=False,
            task_create_missing_queues=False,
            broker_connection_timeout=timeout,
            broker_use_ssl=broker_tls(url, files) or False,
            broker_transport_options=self._transport_options(),
        )
        self._exchange = _kombu.Exchange(EXCHANGE, type="topic", durable=True)
        self._connection: Any = None
        self._producer: Any = None
        self._declared: dict[str, float] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")

    def chain(self, stages: Sequence[Stage]) -> Chain:
        """Return the chain of a run's stages, in order; needs no connection."""
        first, *later = stages
        task = task_name(first.kind)
        # As celery.chain(…).apply_async() does, but without copying each link several times.
        message = self._app.amqp.as_task_v2(
            str(first.task_id),
            task,
            _arguments(first),
            chain=[self._signature(stage) for stage in reversed(later)],
            root_id=first.run_uid,
            ignore_result=True,
            argsrepr=task_arguments(first.task_id, first.pool),
            create_sent_event=True,
        )
        # It may arrive after the worker's events, whose keywords name run and slot.
        del message.sent_event["kwargs"]
        return Chain(first.pool, task, message)

    async def publish(self, chain: Chain, *, repeated: bool = False) -> None:
        """Publish a chain and wait for the broker's confirmation.

        The queue of its pool is declared first, unless this connection did so within the last
        :data:`DECLARED_SECONDS`. Flower is notified of first publications only. Publishing the
        same chain again is harmless.

        Raises:
            BrokerError: The broker did not confirm in time; the next call reconnects.
        """
        await self._call(self._publish, chain, repeated)

    async def ready(self, pool: str) -> int:
        """Declare a pool's queue and return the number of messages waiting in it.

        Messages that a worker holds do not count. Raises :class:`BrokerError`.
        """
        return await self._call(self._ready, pool)

    async def send_event(self, event: CeleryEvent) -> None:
        """Send a Celery event in a worker's name. Raises :class:`BrokerError`."""
        await self._call(self._send_event, event)

    async def check(self) -> None:
        """Publish a message that no queue receives; raise :class:`BrokerError` if that fails."""
        await self._call(self._probe)

    async def close(self) -> None:
        """Close the connection."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await loop.run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._app.close()

    async def _call(self, work: Callable[..., T], *args: Any) -> T:
        """Call ``work`` with a connection in the broker's thread, and record the outcome."""
        loop = asyncio.get_running_loop()
        try:
            # Connecting and confirming each have their limit.
            async with asyncio.timeout(2 * self._timeout):
                answer = await loop.run_in_executor(self._thread, self._work, work, *args)
        except TimeoutError:
            late = TimeoutError(f"no answer within {2 * self._timeout:g} s")
            error = BrokerError(self._problem(late))
            self.problem = str(error)
            raise error from None
        except BrokerError as error:
            self.problem = str(error)
            raise
        self.problem = ""
        self.last_success = time.monotonic()
        return answer

    def _work(self, work: Callable[..., T], *args: Any) -> T:
        try:
            return work(self._connected(), *args)
        except Exception as error:
            # Transports raise whatever their drivers raise.
            problem = self._problem(error)
            self._disconnect()
            raise BrokerError(problem) from error

    def _problem(self, error: BaseException) -> BrokerProblem:
        return BrokerProblem(BLOCKED) if self._blocked else broker_problem(error, self._url)

    def _publish(self, connection: Any, chain: Chain, repeated: bool) -> None:
        pool = chain.pool
        if time.monotonic() > self._declared.get(pool, 0.0) + DECLARED_SECONDS:
            self._declare(connection, pool)
        self._app.amqp.send_task_message(
            self._producer,
            chain.task,
            chain.message._replace(sent_event=None) if repeated else chain.message,
            exchange=EXCHANGE,
            exchange_type="topic",
            routing_key=routing_key(pool),
            confirm_timeout=self._timeout,
        )

    def _ready(self, connection: Any, pool: str) -> int:
        # Not passive: on Valkey an empty queue does not exist.
        return int(self._declare(connection, pool).queue_declare().message_count)

    def _send_event(self, _connection: Any, event: CeleryEvent) -> None:
        dispatcher = self._app.events.Dispatcher(
            hostname=event.node, enabled=False, buffer_while_offline=False
        )
        dispatcher.publish(event.kind, dict(event.fields), self._producer)

    def _probe(self, connection: Any) -> None:
        channel = connection.default_channel
        if is_amqp(self._url):
            exchange = self._exchange(channel)
            exchange.declare()
            self._producer.publish(
                b"", exchange=EXCHANGE, routing_key=_PROBE, confirm_timeout=self._timeout
            )
            # During an alarm RabbitMQ accepts a connection's first message, and nothing after it.
            exchange.declare()
        else:
            # On Valkey the publication would write nothing, as the queue does not exist.
            channel.client.set(_PROBE, b"", ex=60)

    def _signature(self, stage: Stage) -> Any:
        return self._app.signature(
            task_name(stage.kind),
            args=_arguments(stage),
            immutable=True,
            # Exchange and routing key, never a queue: the worker that publishes the next task does
            # not know the queue of its pool.
            options={
                "task_id": str(stage.task_id),
                "exchange": EXCHANGE,
                "exchange_type": "topic",
                "routing_key": routing_key(stage.pool),
                "ignore_result": True,
            },
        )

    def _declare(self, connection: Any, pool: str) -> Any:
        """Declare a pool's queue, with its binding, and return it bound to the connection."""
        state = getattr(connection.transport, "state", None)
        if state is not None:
            # Virtual transports cache declarations and would not repeat them to the broker.
            state.clear()
        queue = _kombu.Queue(
            queue_name(pool),
            exchange=self._exchange,
            routing_key=routing_key(pool),
            durable=True,
            queue_arguments=QUEUE_ARGUMENTS,
        )
        bound_queue = queue(connection.default_channel)
        bound_queue.declare()
        self._declared[pool] = time.monotonic()
        return bound_queue

    def _connected(self) -> Any:
        if self._connection is None:
            connection = self._app.connection_for_write()
            # No retries and no waiting here: the relay itself tries again.
            connection.ensure_connection(
                max_retries=1, interval_start=0, interval_step=0, timeout=self._timeout
            )
            self._connection = connection
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        return self._connection

    def _transport_options(self) -> dict[str, Any]:
        timeout = self._timeout
        if is_amqp(self._url):
            return {
                "confirm_publish": True,
                "read_timeout": timeout,
                "write_timeout": timeout,
                "on_blocked": lambda _: self._set_blocked(True),
                "on_unblocked": lambda: self._set_blocked(False),
            }
        return {"socket_timeout": timeout, "socket_connect_timeout": timeout}

    def _set_blocked(self, blocked: bool) -> None:
        self._blocked = blocked

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._declared.clear()
        self._blocked = False
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.release()


def _arguments(stage: Stage) -> list[str | int]:
    identity = stage.task_id
    return [identity.run_uid, identity.stage, identity.attempt]

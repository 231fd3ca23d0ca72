"""Celery and kombu, as the control plane uses them: to publish chains of stage tasks."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import kombu
from celery import Celery

from services.domain.stage import Stage
from tailrace.formats.dispatch import (
    EXCHANGE,
    QUEUE_ARGUMENTS,
    queue_name,
    routing_key,
    task_name,
)

# kombu declares itself typed, but its classes are not.
_kombu: Any = kombu

DECLARED_SECONDS = 5.0
"""How long a declared queue is taken to be there. A broker that lost it within that time loses one
publication, which is repeated.
"""


@dataclass(frozen=True)
class Chain:
    """A run's stages as one Celery chain, in the words of Celery's protocol."""

    pool: str
    """Where its first task goes."""
    task: str
    """The first task's name."""
    message: Any
    """The first task's message, which carries the others."""


class BrokerError(Exception):
    """The broker did not take a publication, or not in time; the message says what it raised."""


class Broker:
    """Publishes chains over one connection, from one thread of its own."""

    def __init__(self, url: str, *, timeout: float) -> None:
        self._timeout = timeout
        self._app = Celery("tailrace", broker=url, set_as_current=False)
        self._app.conf.update(
            task_ignore_result=True,
            task_serializer="json",
            accept_content=["json"],
            task_publish_retry=False,
            task_create_missing_queues=False,
            broker_connection_timeout=timeout,
            broker_transport_options=_transport_options(url, timeout),
        )
        self._exchange = _kombu.Exchange(EXCHANGE, type="topic", durable=True)
        self._connection: Any = None
        self._producer: Any = None
        self._declared: dict[str, float] = {}
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker")

    def chain(self, stages: Sequence[Stage]) -> Chain:
        """A run's stages, in order, as they are to be published; asks nobody."""
        first, *later = stages
        task = task_name(first.kind)
        # As celery.chain(…).apply_async() would, which copies each link several times first.
        message = self._app.amqp.as_task_v2(
            str(first.task_id),
            task,
            _arguments(first),
            chain=[self._signature(stage) for stage in reversed(later)],
            root_id=first.run_uid,
            ignore_result=True,
            create_sent_event=True,
        )
        return Chain(first.pool, task, message)

    async def publish(self, chain: Chain, *, declare_anew: bool = False) -> None:
        """Publish a chain and wait for the broker's confirmation.

        The queue of its pool is declared before, unless this connection did so within the last
        :data:`DECLARED_SECONDS`; with ``declare_anew`` always.

        Publishing the same chain again is harmless. Raises :class:`BrokerError` when the broker
        does not take it in time; the next call then connects afresh.
        """
        loop = asyncio.get_running_loop()
        try:
            # Connecting and confirming have a limit each.
            async with asyncio.timeout(2 * self._timeout):
                await loop.run_in_executor(self._thread, self._publish, chain, declare_anew)
        except TimeoutError:
            raise BrokerError(f"no confirmation within {2 * self._timeout:g} s") from None

    async def close(self) -> None:
        """Close the connection."""
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._timeout):
                await loop.run_in_executor(self._thread, self._disconnect)
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._app.close()

    def _publish(self, chain: Chain, declare_anew: bool) -> None:
        try:
            connection = self._connected()
            pool = chain.pool
            if declare_anew or time.monotonic() > self._declared.get(pool, 0.0) + DECLARED_SECONDS:
                self._declare(connection, pool)
            self._app.amqp.send_task_message(
                self._producer,
                chain.task,
                chain.message,
                exchange=EXCHANGE,
                exchange_type="topic",
                routing_key=routing_key(pool),
                confirm_timeout=self._timeout,
            )
        except Exception as error:
            # Transports raise what their drivers raise.
            self._disconnect()
            raise BrokerError(repr(error)) from error

    def _signature(self, stage: Stage) -> Any:
        return self._app.signature(
            task_name(stage.kind),
            args=_arguments(stage),
            immutable=True,
            # Exchange and routing key, never a queue: a worker that passes the chain on need not
            # know the next pool's queue.
            options={
                "task_id": str(stage.task_id),
                "exchange": EXCHANGE,
                "exchange_type": "topic",
                "routing_key": routing_key(stage.pool),
                "ignore_result": True,
            },
        )

    def _declare(self, connection: Any, pool: str) -> None:
        """Declare a pool's queue. A broker that lost everything has lost its bindings too."""
        state = getattr(connection.transport, "state", None)
        if state is not None:
            # Virtual transports remember what they declared and would not tell the broker again.
            state.clear()
        queue = _kombu.Queue(
            queue_name(pool),
            exchange=self._exchange,
            routing_key=routing_key(pool),
            durable=True,
            queue_arguments=QUEUE_ARGUMENTS,
        )
        queue(connection.default_channel).declare()
        self._declared[pool] = time.monotonic()

    def _connected(self) -> Any:
        if self._connection is None:
            connection = self._app.connection_for_write()
            # The relay comes back by itself: no retries, and no waiting between them, in here.
            connection.ensure_connection(
                max_retries=1, interval_start=0, interval_step=0, timeout=self._timeout
            )
            self._connection = connection
            self._producer = self._app.amqp.Producer(connection, auto_declare=False)
        return self._connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._declared.clear()
        if connection is not None:
            with contextlib.suppress(Exception):
                connection.release()


def _arguments(stage: Stage) -> list[str | int]:
    identity = stage.task_id
    return [identity.run_uid, identity.stage, identity.attempt]


def _transport_options(url: str, timeout: float) -> dict[str, Any]:
    if url.startswith(("amqp", "pyamqp")):
        limits = {"read_timeout": timeout, "write_timeout": timeout}
        return {"confirm_publish": True, **limits}
    return {"socket_timeout": timeout, "socket_connect_timeout": timeout}

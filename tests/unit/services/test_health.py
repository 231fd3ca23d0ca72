"""A broker or database that refuses us, or is away, is named: at the start and from then on."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from grpc_health.v1 import health, health_pb2

from services.adapters.broker import Broker, BrokerError
from services.domain.errors import Unavailable
from services.health import BROKER, DATABASE, BrokerSettingError, HealthMonitor
from services.loops.relay import Relay
from services.metrics import Metrics
from services.storage.engine.columns import utc_now
from services.storage.engine.database import Database, DatabaseSettingError
from services.storage.rows import outbox
from services.usecases.content import datasets
from tailrace.formats.service_url import database_url
from tests.servers.node import free_port
from tests.servers.postgres import Postgres
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.valkey import Valkey
from tests.unit.services.driver import CALLER, Driver
from tests.unit.services.usecases.stored_content import make_context


@pytest.fixture
async def driver(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Driver]:
    context = make_context(sqlite_url, tmp_path / "data", start_patience_seconds=0)
    await datasets.seed(context, CALLER, "golden-v2")
    driver = Driver(context)
    await driver.register()
    yield driver
    await context.database.close()


class Watched:
    """HealthMonitor with what they report to."""

    def __init__(self, driver: Driver, broker: Broker) -> None:
        # The stubs lack the asyncio flavour.
        self.health: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self.metrics = Metrics()
        self.monitor = HealthMonitor(driver.context, broker, self.health, self.metrics)

    async def serves(self, service: str) -> bool:
        """Return True if the health service is SERVING."""
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await self.health.Check(request, None)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

    def gauge(self, name: str) -> float | None:
        """A gauge's value."""
        return self.metrics.registry.get_sample_value(f"tailrace_{name}")


REFUSALS: dict[str, tuple[Callable[[RabbitMQ], str], str]] = {
    "password": (lambda node: node.url().replace("guest:guest", "guest:hidden"), "the login"),
    "vhost": (lambda node: node.url("nowhere"), "no virtual host 'nowhere'"),
    "tls": (lambda node: node.url().replace("amqp:", "amqps:"), "speaks no TLS"),
}


@pytest.mark.parametrize("kind", REFUSALS)
async def test_a_broker_that_refuses_us_ends_the_start_with_the_way_out(
    driver: Driver, rabbitmq: RabbitMQ, kind: str
) -> None:
    make_url, part = REFUSALS[kind]
    broker = Broker(make_url(rabbitmq), timeout=5)
    with pytest.raises(BrokerSettingError) as refusal:
        await Watched(driver, broker).monitor.require_broker()
    assert str(refusal.value).startswith("TAILRACE_BROKER_URL: the broker at amqp")
    assert part in str(refusal.value)
    assert "hidden" not in str(refusal.value)
    await broker.close()


async def test_a_valkey_that_wants_a_password_is_told_from_one_that_is_away(
    driver: Driver, valkey_node: Valkey
) -> None:
    away = Broker(f"redis://127.0.0.1:{free_port()}/0", timeout=2)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await Watched(driver, away).monitor.require_broker()
    valkey_node.configure("requirepass", "other")
    broker = Broker(valkey_node.url, timeout=2)
    with pytest.raises(BrokerSettingError, match="refuses the login"):
        await Watched(driver, broker).monitor.require_broker()
    await broker.close()
    await away.close()


async def test_a_broker_that_comes_up_late_is_waited_for(
    driver: Driver, valkey_node: Valkey, sqlite_url: str, tmp_path: Path
) -> None:
    patient = Driver(make_context(sqlite_url, tmp_path / "data", start_patience_seconds=20))
    broker = Broker(valkey_node.url, timeout=2)
    valkey_node.kill()
    start = asyncio.ensure_future(Watched(patient, broker).monitor.require_broker())
    await asyncio.sleep(0.7)
    assert not start.done()
    await asyncio.to_thread(valkey_node.restart)
    await asyncio.wait_for(start, 10)
    await broker.close()
    await patient.context.database.close()


async def test_an_outage_degrades_the_health_and_its_end_publishes_at_once(
    driver: Driver, valkey_node: Valkey
) -> None:
    broker = Broker(valkey_node.url, timeout=2)
    watched = Watched(driver, broker)
    await watched.monitor.check_once()
    assert (await watched.serves(BROKER), watched.gauge("broker_up")) == (True, 1.0)
    valkey_node.kill()
    broker.last_success = float("-inf")
    await watched.monitor.check_once()
    assert (await watched.serves(BROKER), watched.gauge("broker_up")) == (False, 0.0)
    assert (await watched.serves(DATABASE), watched.gauge("database_up")) == (True, 1.0)
    relay = Relay(driver.context, broker, watched.metrics.count_publication)
    uid = (await driver.create()).run.uid
    await relay.relay_once()
    failed = watched.metrics.registry.get_sample_value(
        "tailrace_publications_total", {"result": "failed"}
    )
    assert failed == 1
    await asyncio.to_thread(valkey_node.restart)
    await watched.monitor.check_once()
    assert await watched.serves(BROKER)
    async with driver.context.database.read() as conn:
        (entry,) = (await outbox.list_publications(conn, uid)).values()
    assert entry.due_time <= utc_now()
    await relay.relay_once()
    assert (await driver.get()).stages[0].waiting_reason == ""
    await broker.close()


async def until_refused(broker: Broker) -> None:
    with contextlib.suppress(BrokerError):
        while True:
            await broker.check()
            await asyncio.sleep(0.1)


async def test_a_memory_alarm_is_named(rabbitmq: RabbitMQ, rabbitmq_url: str) -> None:
    broker = Broker(rabbitmq_url, timeout=1)
    await broker.check()
    await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "0.00000001")
    try:
        # The node looks at its memory now and then.
        await asyncio.wait_for(until_refused(broker), 20)
        with pytest.raises(BrokerError, match="rabbitmq-diagnostics alarms") as alarm:
            await broker.check()  # on a new connection
        assert not alarm.value.problem.configuration
    finally:
        await asyncio.to_thread(rabbitmq.ctl, "set_vm_memory_high_watermark", "0.6")
    await broker.check()
    assert broker.problem == ""
    await broker.close()


async def test_a_full_valkey_is_named(valkey_node: Valkey) -> None:
    broker = Broker(valkey_node.url, timeout=2)
    valkey_node.configure("maxmemory", "1")
    with pytest.raises(BrokerError, match="maxmemory"):
        await broker.check()
    await broker.close()


async def test_a_database_that_refuses_us_is_told_from_one_that_is_away(
    postgres: Postgres,
) -> None:
    urls = {
        f"postgresql://nobody:hidden@127.0.0.1:{postgres.port}/postgres": "nobody",
        f"postgresql://postgres@127.0.0.1:{postgres.port}/nowhere": "nowhere",
    }
    for url, part in urls.items():
        database = Database(database_url(url))
        with pytest.raises(DatabaseSettingError, match=part) as refusal:
            await database.check()
        assert "hidden" not in str(refusal.value)
        await database.close()
    for host in (f"127.0.0.1:{free_port()}", "nowhere.invalid"):
        database = Database(database_url(f"postgresql://postgres:hidden@{host}/postgres"))
        with pytest.raises(Unavailable, match="TAILRACE_DATABASE_URL cannot be reached: ") as away:
            await database.check()
        assert "hidden" not in away.value.message
        await database.close()

"""The relay against real brokers: what arrives, how often, and what a broken broker does."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import kombu
import pytest
import sqlalchemy as sa

from services.adapters.broker import Broker
from services.loops.relay import Relay
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import attempts, outbox, workers
from services.usecases.content import datasets
from services.usecases.runs.cancel import cancel_run
from services.usecases.stages.expire import expire_attempt, expire_worker
from tailrace.formats.dispatch import queue_name
from tests.servers.events import TaskEventListener
from tests.servers.node import free_port
from tests.servers.valkey import Valkey
from tests.unit.services.driver import CALLER, Driver
from tests.unit.services.usecases.stored_content import make_context

_kombu: Any = kombu


def take(broker_url: str, pool: str = "cpu") -> list[dict[str, Any]]:
    """Headers and chain of every message in a pool's queue, which is empty afterwards."""
    messages: list[dict[str, Any]] = []
    with _kombu.Connection(broker_url) as connection:
        channel = connection.default_channel
        while True:
            message = channel.basic_get(queue_name(pool), no_ack=True)
            if message is None:
                return messages
            body = message.body
            args, _kwargs, embedded = json.loads(body)
            headers = message.properties.get("application_headers") or message.headers
            messages.append({**headers, "args_list": args, "chain": embedded["chain"] or []})


async def make_due(driver: Driver) -> None:
    """Let time pass for everything in the outbox."""
    async with driver.context.database.write() as conn:
        past = utc_now() - timedelta(seconds=1)
        await conn.execute(sa.update(outbox.outbox).values(due_time=past))


@pytest.fixture
async def driver(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Driver]:
    context = make_context(sqlite_url, tmp_path / "data", admission_floor=2, poll_seconds=0.05)
    await datasets.seed(context, CALLER, "golden-v2")
    driver = Driver(context)
    await driver.register()
    yield driver
    await context.database.close()


@pytest.fixture
async def broker(valkey_url: str) -> AsyncIterator[Broker]:
    broker = Broker(valkey_url, timeout=5)
    yield broker
    await broker.close()


@pytest.mark.parametrize("kind", ["valkey_url", "rabbitmq_url"])
async def test_a_run_is_published_as_one_chain(
    driver: Driver, request: pytest.FixtureRequest, kind: str
) -> None:
    url: str = request.getfixturevalue(kind)
    broker = Broker(url, timeout=10)
    relay = Relay(driver.context, broker)
    uid = (await driver.create(execution={"infer": {"pool": "gpu"}})).run.uid
    assert await relay.relay_once() == 1
    assert await relay.relay_once() == 0
    (message,) = await asyncio.to_thread(take, url)
    assert message["id"] == f"{uid}.train.1"
    assert message["root_id"] == uid
    assert message["task"] == "tailrace.train"
    assert message["args_list"] == [uid, "train", 1]
    assert message["ignore_result"]
    infer, judge = reversed(message["chain"])
    assert infer["task"] == "tailrace.infer"
    assert infer["args"] == [uid, "infer", 1]
    assert infer["options"]["task_id"] == f"{uid}.infer.1"
    assert infer["options"]["routing_key"] == "pool.gpu"
    assert "queue" not in infer["options"]
    assert judge["options"]["task_id"] == f"{uid}.judge.1"
    assert judge["immutable"]
    await broker.close()


async def test_an_unclaimed_publication_is_repeated_and_refills_a_wiped_broker(
    driver: Driver, valkey_node: Valkey, broker: Broker
) -> None:
    relay = Relay(driver.context, broker)
    uid = (await driver.create()).run.uid
    await relay.relay_once()
    valkey_node.flush()
    assert await asyncio.to_thread(take, valkey_node.url) == []
    await make_due(driver)
    assert await relay.relay_once() == 1
    (message,) = await asyncio.to_thread(take, valkey_node.url)
    assert message["id"] == f"{uid}.train.1"
    async with driver.context.database.read() as conn:
        (entry,) = (await outbox.list_publications(conn, uid)).values()
    assert entry.publications == 2
    delay = (entry.due_time - utc_now()).total_seconds()
    assert 20 < delay <= 30


@pytest.mark.parametrize("kind", ["valkey_url", "rabbitmq_url"])
async def test_waiting_stages_do_not_make_the_queue_grow_and_a_purged_queue_is_refilled(
    driver: Driver, request: pytest.FixtureRequest, kind: str
) -> None:
    url: str = request.getfixturevalue(kind)
    broker = Broker(url, timeout=10)
    relay = Relay(driver.context, broker)
    uids = {(await driver.create(f"r{i}")).run.uid for i in range(2)}
    assert await relay.relay_once() == 2
    for _period in range(5):
        await make_due(driver)
        assert await relay.relay_once() == 2
    assert await broker.ready("cpu") == 2
    assert len(await asyncio.to_thread(take, url)) == 2, "which purges the queue"
    await make_due(driver)
    await relay.relay_once()
    messages = await asyncio.to_thread(take, url)
    assert {message["root_id"] for message in messages} == uids
    await broker.close()


async def test_what_waits_for_the_longest_time_is_repeated_regardless(
    driver: Driver, broker: Broker
) -> None:
    relay = Relay(driver.context, broker)
    await driver.create()
    await relay.relay_once()
    async with driver.context.database.write() as conn:
        ages = outbox.outbox.update().values(publish_time=utc_now() - timedelta(seconds=890))
        await conn.execute(ages)
    await make_due(driver)
    await relay.relay_once()
    assert await broker.ready("cpu") == 1
    async with driver.context.database.write() as conn:
        (entry,) = (await outbox.list_publications(conn, (await driver.get()).run.uid)).values()
        assert (entry.due_time - utc_now()).total_seconds() < 15, "the longest wait is 900 s"
        await conn.execute(sa.update(outbox.outbox).values(publish_time=None))
    await make_due(driver)
    await relay.relay_once()
    assert await broker.ready("cpu") == 2


async def test_a_queued_run_says_why_the_broker_does_not_take_it(driver: Driver) -> None:
    broker = Broker(f"redis://user:hidden@127.0.0.1:{free_port()}/0", timeout=2)
    await driver.create("published")
    assert (await driver.get("published")).stages[0].waiting_reason == ""
    await Relay(driver.context, broker).relay_once()
    await driver.create("later")
    for run in ("published", "later"):
        reason = (await driver.get(run)).stages[0].waiting_reason
        assert reason.startswith("the control plane cannot publish it: the broker at redis://")
        assert "hidden" not in reason
    await broker.close()


async def test_only_a_first_publication_is_announced_as_sent(
    driver: Driver, valkey_node: Valkey, broker: Broker
) -> None:
    relay = Relay(driver.context, broker)
    uid = (await driver.create()).run.uid
    with TaskEventListener(valkey_node.url) as listener:
        await relay.relay_once()
        assert len(await asyncio.to_thread(take, valkey_node.url)) == 1
        await make_due(driver)
        await relay.relay_once()
        await asyncio.to_thread(listener.wait, f"{uid}.train.1", "sent")
        assert await broker.ready("cpu") == 1
        (event,) = listener.events
    assert "pool=cpu" in event["args"]


async def test_flower_hears_of_an_attempt_whose_worker_is_gone(
    driver: Driver, valkey_node: Valkey, broker: Broker
) -> None:
    relay = Relay(driver.context, broker)
    await driver.create()
    uid = (await driver.start()).run.uid
    valkey_node.kill()
    async with driver.context.database.read() as conn:
        (attempt,) = await attempts.list_running(conn)
        (worker,) = await workers.list_live(conn)
    assert await expire_attempt(driver.context, attempt)
    assert await expire_worker(driver.context, worker)
    await relay.send_celery_events()
    await asyncio.to_thread(valkey_node.restart)
    with TaskEventListener(valkey_node.url) as listener:
        async with asyncio.timeout(20):
            # The first connection after a restart may still be refused: the relay tries again.
            while driver.context.celery_events.first() is not None:
                await relay.send_celery_events()
        await asyncio.to_thread(listener.wait, f"{uid}.train.1", "failed")
        (event,) = listener.events
    assert event["hostname"] == "tailrace@w1"
    assert "reason=LEASE_EXPIRED" in event["exception"]
    assert driver.context.celery_events.first() is None


async def test_a_broker_that_is_down_only_delays(driver: Driver, valkey_node: Valkey) -> None:
    broker = Broker(valkey_node.url, timeout=2)
    relay = Relay(driver.context, broker)
    await driver.create()
    await relay.relay_once()
    await asyncio.to_thread(take, valkey_node.url)
    valkey_node.kill()
    await make_due(driver)
    assert await relay.relay_once() == 1
    assert await relay.relay_once() == 0
    await asyncio.to_thread(valkey_node.restart)
    await make_due(driver)
    assert await relay.relay_once() == 1
    assert len(await asyncio.to_thread(take, valkey_node.url)) == 1
    await broker.close()


async def test_a_claimed_or_ended_stage_is_not_published(
    driver: Driver, broker: Broker, valkey_url: str
) -> None:
    relay = Relay(driver.context, broker)
    await driver.create("a")
    await driver.create("b")
    await driver.start("a")
    await cancel_run(driver.context, CALLER, "b")
    assert await relay.relay_once() == 0


async def test_a_retry_carries_the_new_attempt_and_only_what_is_left(
    driver: Driver, broker: Broker, valkey_url: str
) -> None:
    relay = Relay(driver.context, broker)
    uid = (await driver.create()).run.uid
    await driver.complete(await driver.start())
    await driver.fail(await driver.start())
    await relay.relay_once()
    (message,) = await asyncio.to_thread(take, valkey_url)
    assert message["id"] == f"{uid}.infer.2"
    assert [link["options"]["task_id"] for link in message["chain"]] == [f"{uid}.judge.1"]


async def test_a_pool_admits_so_many_first_stages_and_any_later_ones(
    driver: Driver, broker: Broker, valkey_url: str
) -> None:
    relay = Relay(driver.context, broker)
    for i in range(4):
        await driver.create(f"r{i}")
    await driver.create("gpu", execution={"train": {"pool": "gpu"}})
    assert await relay.relay_once() == 3
    assert await relay.relay_once() == 0
    assert len(await asyncio.to_thread(take, valkey_url)) == 2
    order = await driver.start("r0")
    assert await relay.relay_once() == 1
    await driver.fail(order)
    assert await relay.relay_once() == 1
    ids = {message["id"].split(".")[2] for message in await asyncio.to_thread(take, valkey_url)}
    assert ids == {"1", "2"}


async def test_two_relays_share_the_work(driver: Driver, broker: Broker, valkey_url: str) -> None:
    relays = [Relay(driver.context, broker), Relay(driver.context, broker)]
    for i in range(2):
        await driver.create(f"r{i}")
    counts = await asyncio.gather(*(relay.relay_once() for relay in relays))
    assert sum(counts) == 2
    assert len(await asyncio.to_thread(take, valkey_url)) == 2


@contextlib.asynccontextmanager
async def relaying(driver: Driver, broker: Broker) -> AsyncIterator[None]:
    """A relay that runs as it does in the server."""
    loop = asyncio.create_task(Relay(driver.context, broker).run())
    try:
        # It receives from its first step on.
        await asyncio.sleep(0.05)
        assert driver.context.relay_queue.room
        yield
    finally:
        driver.context.shutdown.begin()
        driver.context.wakeups.wake(OUTBOX)
        await asyncio.wait_for(loop, 5)


async def arrived(broker_url: str, count: int = 1) -> list[str]:
    """Return the runs of the messages in the queue once it holds ``count``."""
    run_uids: list[str] = []
    async with asyncio.timeout(10):
        while len(run_uids) < count:
            await asyncio.sleep(0.05)
            run_uids += [
                message["root_id"] for message in await asyncio.to_thread(take, broker_url)
            ]
    return run_uids


async def rows(driver: Driver) -> list[sa.RowMapping]:
    async with driver.context.database.read() as conn:
        query = sa.select(outbox.outbox).order_by(outbox.outbox.c.id)
        return [*(await conn.execute(query)).mappings()]


async def test_a_new_run_is_relayed_and_settled_at_the_end(
    driver: Driver, broker: Broker, valkey_url: str
) -> None:
    async with relaying(driver, broker):
        uid = (await driver.create()).run.uid
        (row,) = await rows(driver)
        assert row["claim"] == driver.context.relay_queue.claim
        assert await arrived(valkey_url) == [uid]
    (row,) = await rows(driver)
    assert (row["publications"], row["claim"]) == (1, "")
    assert await asyncio.to_thread(take, valkey_url) == []


async def test_what_nobody_took_over_is_found_when_its_claim_ends(
    driver: Driver, broker: Broker, valkey_url: str
) -> None:
    with driver.context.relay_queue.receiving():
        uid = (await driver.create()).run.uid
    relay = Relay(driver.context, broker)
    assert await relay.relay_once() == 0
    async with driver.context.database.write() as conn:
        past = utc_now() - timedelta(seconds=1)
        await conn.execute(sa.update(outbox.outbox).values(claim_end=past))
    assert await relay.relay_once() == 1
    assert await arrived(valkey_url) == [uid]


async def test_a_run_that_admission_lets_wait_is_not_queued_for_the_relay(
    driver: Driver, broker: Broker
) -> None:
    with driver.context.relay_queue.receiving():
        for i in range(3):
            await driver.create(f"cpu{i}")
        await driver.create("gpu", execution={"train": {"pool": "gpu"}})
    claimed = [row["claim"] != "" for row in await rows(driver)]
    assert claimed == [True, True, False, True]


async def test_a_run_queued_for_the_repad_promptslives_a_broker_that_is_down(
    driver: Driver, valkey_node: Valkey
) -> None:
    broker = Broker(valkey_node.url, timeout=2)
    valkey_node.kill()
    async with relaying(driver, broker):
        uid = (await driver.create()).run.uid
        for _ in range(100):
            if (await rows(driver))[0]["failures"]:
                break
            await asyncio.sleep(0.1)
        await asyncio.to_thread(valkey_node.restart)
        await make_due(driver)
        assert await arrived(valkey_node.url) == [uid]
    await broker.close()


async def test_nothing_listens_there(driver: Driver) -> None:
    broker = Broker(f"amqp://127.0.0.1:{free_port()}//", timeout=2)
    await driver.create()
    assert await Relay(driver.context, broker).relay_once() == 1
    async with driver.context.database.read() as conn:
        row = (await conn.execute(sa.select(outbox.outbox))).mappings().one()
    assert (row["publications"], row["failures"], row["claim"]) == (0, 1, "")
    await broker.close()

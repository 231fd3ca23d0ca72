from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from services.storage.engine.columns import utc_now
from services.storage.rows import outbox
from services.storage.rows.outbox import Entry
from services.usecases.content import datasets
from tests.unit.services.driver import CALLER, Driver
from tests.unit.services.usecases.stored_content import make_context

LONG_AGO = utc_now() - timedelta(hours=1)
LATER = utc_now() + timedelta(hours=1)


@pytest.fixture
async def driver(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Driver]:
    driver = Driver(make_context(empty_database_url, tmp_path / "data"))
    await datasets.seed(driver.context, CALLER, "golden-v2")
    await driver.register()
    yield driver
    await driver.context.database.close()


async def claim(
    driver: Driver,
    admission: Mapping[str, int] | None = None,
    *,
    limit: int = 100,
) -> list[Entry]:
    async with driver.context.database.write() as conn:
        return await outbox.claim(
            conn,
            uuid.uuid4().hex,
            hold=timedelta(minutes=1),
            admission=admission or {},
            floor=2,
            limit=limit,
        )


async def test_claims_are_exclusive_until_they_end(driver: Driver) -> None:
    await driver.create()
    (entry,) = await claim(driver)
    assert await claim(driver) == []
    async with driver.context.database.write() as conn:
        await conn.execute(sa.update(outbox.outbox).values(claim_end=LONG_AGO))
    (again,) = await claim(driver)
    assert again.task_id == entry.task_id
    async with driver.context.database.write() as conn:
        await outbox.mark_sent(conn, [entry], lambda _: LONG_AGO)
    assert await claim(driver) == [], "a claim that ended may not settle the row"
    async with driver.context.database.write() as conn:
        await outbox.mark_sent(conn, [again], lambda _: LONG_AGO)
    (repeated,) = await claim(driver)
    assert (repeated.publications, repeated.failures) == (1, 0)


async def test_failures_count_up_and_a_success_clears_them(driver: Driver) -> None:
    await driver.create()
    for failures in range(3):
        (entry,) = await claim(driver)
        assert entry.failures == failures
        async with driver.context.database.write() as conn:
            await outbox.mark_failed(conn, entry, LONG_AGO, "away")
    (entry,) = await claim(driver)
    async with driver.context.database.write() as conn:
        await outbox.mark_sent(conn, [entry], lambda _: LATER)
    assert await claim(driver) == []
    async with driver.context.database.read() as conn:
        assert await outbox.count_by_pool(conn) == {"cpu": 1}


async def test_each_pool_admits_its_own_number_oldest_first(driver: Driver) -> None:
    for i in range(5):
        await driver.create(f"cpu{i}")
        await driver.create(f"gpu{i}", execution={"train": {"pool": "gpu"}})
    entries = await claim(driver, {"gpu": 3})
    assert [entry.pool for entry in entries].count("cpu") == 2
    assert [entry.pool for entry in entries].count("gpu") == 3
    uids = {(await driver.get(name)).run.uid for name in ("cpu0", "cpu1", "gpu0", "gpu1", "gpu2")}
    assert {entry.task_id.run_uid for entry in entries} == uids
    assert await claim(driver, {"gpu": 3}) == []
    assert [entry.pool for entry in await claim(driver, {"gpu": 4})] == ["gpu"]


async def test_what_is_published_counts_until_it_is_claimed_by_a_worker(driver: Driver) -> None:
    for i in range(3):
        await driver.create(f"r{i}")
    for entry in await claim(driver):
        async with driver.context.database.write() as conn:
            await outbox.mark_sent(conn, [entry], lambda _: LATER)
    assert await claim(driver) == []
    await driver.start("r0")
    assert len(await claim(driver)) == 1


async def test_repeats_and_later_stages_need_no_admission(driver: Driver) -> None:
    await driver.create("a")
    await driver.complete(await driver.start("a"))
    for i in range(2):
        await driver.create(f"r{i}", cache=False)
    entries = await claim(driver)
    assert len(entries) == 2, "the successor of a chain that goes on is due after the grace"
    async with driver.context.database.write() as conn:
        for entry in entries:
            await outbox.mark_sent(conn, [entry], lambda _: LONG_AGO)
    await driver.create("waits", cache=False)
    await driver.fail(await driver.start("a"))
    stages = [entry.task_id.stage for entry in await claim(driver)]
    assert sorted(stages) == ["infer", "train", "train"]


async def test_two_passes_at_once_admit_no_more_than_one(driver: Driver) -> None:
    for i in range(6):
        await driver.create(f"r{i}")
    passes = await asyncio.gather(*(claim(driver) for _ in range(4)))
    assert sum(len(entries) for entries in passes) == 2


async def test_something_is_due_until_it_is_claimed_and_again_when_the_claim_ends(
    driver: Driver,
) -> None:
    async def due() -> bool:
        async with driver.context.database.read() as conn:
            return await outbox.any_due(conn)

    assert not await due()
    await driver.create()
    assert await due()
    await claim(driver)
    assert not await due()
    async with driver.context.database.write() as conn:
        past = utc_now() - timedelta(seconds=1)
        await conn.execute(sa.update(outbox.outbox).values(claim_end=past))
    assert await due()


async def test_a_run_is_not_queued_for_the_relay_while_another_process_claims(
    postgres_url: str, tmp_path: Path
) -> None:
    driver = Driver(make_context(postgres_url, tmp_path / "data"))
    await datasets.seed(driver.context, CALLER, "golden-v2")
    with driver.context.relay_queue.receiving():
        async with driver.context.database.write() as conn:
            assert await outbox.lock_claims(conn)
            await driver.create("waits")
        await driver.create("goes")
    async with driver.context.database.read() as conn:
        query = sa.select(outbox.outbox.c.claim).order_by(outbox.outbox.c.id)
        claims = [*await conn.scalars(query)]
    assert claims == ["", driver.context.relay_queue.claim]
    await driver.context.database.close()


async def test_a_pass_is_bounded(driver: Driver) -> None:
    for i in range(3):
        await driver.create(f"r{i}")
    assert len(await claim(driver, {"cpu": 10}, limit=2)) == 2
    assert len(await claim(driver, {"cpu": 10}, limit=2)) == 1

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.domain.stage import Attempt
from services.loops.reconciler import LOOKS_PER_LEASE, Reconciler, Watch
from services.storage.rows import attempts, outbox
from services.usecases.content import datasets
from services.usecases.stages.expire import expire_attempt
from tests.unit.services.driver import CALLER, Driver, states
from tests.unit.services.usecases.stored_content import make_context


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_only_watched_time_counts() -> None:
    clock = Clock()
    watch = Watch(10.0, clock)
    assert watch.observe([("a", 1)]) == {"a": 0.0}
    clock.now += 5
    assert watch.observe([("a", 1), ("b", 1)]) == {"a": 5.0, "b": 0.0}
    clock.now += 3600
    assert watch.observe([("a", 1), ("b", 2)]) == {"a": 15.0, "b": 0.0}
    clock.now += 5
    assert watch.observe([("b", 2)]) == {"b": 5.0}
    assert watch.observe([("a", 1), ("b", 2)]) == {"a": 0.0, "b": 5.0}


@pytest.fixture
async def driver(empty_database_url: str, tmp_path: Path) -> AsyncIterator[Driver]:
    context = make_context(empty_database_url, tmp_path / "data", lease_seconds=30)
    await datasets.seed(context, CALLER, "golden-v2")
    driver = Driver(context)
    await driver.register()
    yield driver
    await context.database.close()


async def test_a_silent_worker_loses_its_lease_after_a_whole_one(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    clock = Clock()
    reconciler = Reconciler(driver.context, clock)
    await reconciler.reconcile_once()
    for _ in range(LOOKS_PER_LEASE - 1):
        clock.now += 5
        await reconciler.reconcile_once()
        assert states(await driver.get())[1] == "RUNNING"
    clock.now += 5
    await reconciler.reconcile_once()
    view = await driver.get()
    assert states(view) == ("RUNNING", "QUEUED", "PENDING", "PENDING")
    assert view.stages[0].stage.attempt == 2
    assert view.stages[0].waiting_reason.startswith("no live worker")
    assert order.lease is not None


async def test_heartbeats_keep_a_lease_for_ever(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    clock = Clock()
    reconciler = Reconciler(driver.context, clock)
    for _ in range(10):
        await driver.beat(order.lease)
        await reconciler.reconcile_once()
        clock.now += 25
    assert states(await driver.get())[1] == "RUNNING"


async def test_a_control_plane_that_was_away_expires_nobody(driver: Driver) -> None:
    await driver.create()
    await driver.start()
    clock = Clock()
    reconciler = Reconciler(driver.context, clock)
    await reconciler.reconcile_once()
    clock.now += 3600
    await reconciler.reconcile_once()
    assert states(await driver.get())[1] == "RUNNING"


async def test_two_reconcilers_expire_an_attempt_once(driver: Driver) -> None:
    await driver.create()
    await driver.start()
    clock = Clock()
    reconcilers = [Reconciler(driver.context, clock), Reconciler(driver.context, clock)]
    for _ in range(LOOKS_PER_LEASE + 2):
        for reconciler in reconcilers:
            await reconciler.reconcile_once()
        clock.now += 5
    view = await driver.get()
    assert view.stages[0].stage.attempt == 2
    assert view.stages[0].stage.failures == 1


async def test_a_run_that_kills_its_worker_every_time_ends_and_hurts_no_other(
    driver: Driver,
) -> None:
    await driver.create("deadly", retry={"max_attempts": 3, "initial_backoff": 0.0})
    await driver.create("sound")
    for number in range(1, 4):
        assert (await driver.start("deadly")).stage.attempt == number
        (attempt,) = await _running(driver)
        assert await expire_attempt(driver.context, attempt)
    ended = await driver.get("deadly")
    assert states(ended) == ("FAILED", "FAILED", "PENDING", "PENDING")
    assert ended.error is not None
    assert ended.error.reason == "LEASE_EXPIRED"
    assert [a.state.value for a in ended.stages[0].attempts] == ["EXPIRED"] * 3
    async with driver.context.database.read() as conn:
        assert await outbox.count_by_pool(conn) == {"cpu": 1}
    assert await driver.complete(await driver.start("sound"))


async def _running(driver: Driver) -> list[Attempt]:
    async with driver.context.database.read() as conn:
        return await attempts.list_running(conn)

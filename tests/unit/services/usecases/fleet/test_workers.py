"""Workers and pools, drained and in quarantine."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.domain.directive import Directive, StopReason
from services.domain.errors import FailedPrecondition, NotFound
from services.domain.worker import WorkerState
from services.storage.engine.columns import utc_now
from services.storage.rows import workers
from services.usecases.fleet.workers import (
    PoolView,
    drain_worker,
    forget_worker,
    get_worker,
    list_pools,
    list_workers,
    undrain_worker,
)
from services.usecases.stages.acquire import Stop
from services.usecases.stages.expire import expire_worker
from tests.unit.services.driver import CALLER, Driver


async def test_a_drained_worker_takes_no_more_until_it_is_undrained(driver: Driver) -> None:
    await driver.create()
    assert (await drain_worker(driver.context, CALLER, "w1")).worker.state is WorkerState.DRAINING
    assert (await drain_worker(driver.context, CALLER, "w1")).worker.state is WorkerState.DRAINING
    # Neither its heartbeats nor its next start end the drain; both responses report it.
    for _ in range(2):
        assert (await driver.beat())[1] is Directive.DRAIN
    assert await driver.deliver(await driver.queued_task()) == Stop(StopReason.DRAINING)
    await driver.register(new_process=True)
    assert driver.drained
    assert (await driver.beat())[1] is Directive.DRAIN
    assert await driver.deliver(await driver.queued_task()) == Stop(StopReason.DRAINING)
    assert (await undrain_worker(driver.context, CALLER, "w1")).worker.state is WorkerState.ONLINE
    assert (await undrain_worker(driver.context, CALLER, "w1")).worker.state is WorkerState.ONLINE
    assert (await driver.beat())[1] is Directive.CONTINUE
    await driver.start()


async def test_a_queued_stage_says_that_its_workers_are_drained(driver: Driver) -> None:
    await driver.create()
    await drain_worker(driver.context, CALLER, "w1")
    reason = (await driver.get()).stages[0].waiting_reason
    assert "is drained: `tailrace workers undrain w1`" in reason
    other = Driver(driver.context, "w2")
    await other.register()
    assert (await driver.get()).stages[0].waiting_reason == ""


async def test_a_worker_is_drained_and_undrained_while_it_is_offline(driver: Driver) -> None:
    for change in (drain_worker, undrain_worker, get_worker):
        with pytest.raises(NotFound, match="workers/w9"):
            await change(driver.context, CALLER, "w9")
    await driver.beat(ended=True)
    worker = (await drain_worker(driver.context, CALLER, "w1")).worker
    assert (worker.state, worker.drained) == (WorkerState.OFFLINE, True)
    await driver.register()
    assert driver.drained
    await driver.beat(ended=True)
    worker = (await undrain_worker(driver.context, CALLER, "w1")).worker
    assert (worker.state, worker.drained) == (WorkerState.OFFLINE, False)
    await driver.register()
    assert not driver.drained


async def test_a_worker_that_shuts_down_still_does_after_an_undrain(driver: Driver) -> None:
    await driver.beat(draining=True)
    assert (await undrain_worker(driver.context, CALLER, "w1")).worker.state is WorkerState.DRAINING


async def test_lists_leave_out_who_was_offline_for_long_until_asked(driver: Driver) -> None:
    other = Driver(driver.context, "w2")
    await other.register()
    expiring = driver.context.settings.model_copy(update={"worker_expiry_seconds": 60})
    context = replace(driver.context, settings=expiring)

    async def shown(**options: bool) -> list[str]:
        views, _ = await list_workers(context, CALLER, size=0, token="", **options)
        return [view.worker.worker_id for view in views]

    await driver.beat(ended=True)
    assert await shown() == ["w1", "w2"]
    async with context.database.write() as conn:
        long_ago = utc_now() - timedelta(seconds=61)
        await conn.execute(sa.update(workers.workers).values(heartbeat_time=long_ago))
    assert await shown() == ["w2"]
    assert await shown(everyone=True) == ["w1", "w2"]
    assert (await get_worker(context, CALLER, "w1")).worker.state is WorkerState.OFFLINE


async def test_only_an_offline_worker_is_forgotten(driver: Driver) -> None:
    with pytest.raises(FailedPrecondition, match="workers/w1 is ONLINE"):
        await forget_worker(driver.context, CALLER, "w1")
    await drain_worker(driver.context, CALLER, "w1")
    await driver.beat(ended=True)
    await forget_worker(driver.context, CALLER, "w1")
    with pytest.raises(NotFound, match="workers/w1"):
        await get_worker(driver.context, CALLER, "w1")
    with pytest.raises(NotFound, match="workers/w1"):
        await forget_worker(driver.context, CALLER, "w1")
    # Its drain and its binding are removed with it.
    other = Driver(driver.context, "w1", hostname="elsewhere")
    await other.register()
    assert not other.drained


async def test_pools_count_what_serves_and_what_waits(driver: Driver) -> None:
    assert await list_pools(driver.context) == [PoolView("cpu", 1, 1, 0, 0)]
    await expire_worker(driver.context, (await get_worker(driver.context, CALLER, "w1")).worker)
    assert await list_pools(driver.context) == []
    await driver.create()
    assert await list_pools(driver.context) == [PoolView("cpu", 0, 0, 0, 1)]
    await driver.register()
    await driver.start()
    assert await list_pools(driver.context) == [PoolView("cpu", 1, 1, 1, 0)]


async def test_a_worker_without_broker_is_shown_and_queued_runs_say_so(driver: Driver) -> None:
    await driver.create()
    for problem in ("the broker at amqp://host// refuses the login", ""):
        await driver.beat(broker_error=problem)
        assert (await get_worker(driver.context, CALLER, "w1")).worker.broker_error == problem
        (pool,) = await list_pools(driver.context)
        assert pool.workers_without_broker == bool(problem)
        reason = (await driver.get()).stages[0].waiting_reason
        assert ("workers/w1 reports that" in reason) is bool(problem)
        assert problem in reason


async def test_one_connected_worker_is_enough(driver: Driver) -> None:
    await driver.beat(broker_error="away")
    driver.worker_id = "w2"
    await driver.register()
    await driver.create()
    assert (await driver.get()).stages[0].waiting_reason == ""


async def test_a_slot_in_quarantine_is_shown_and_counts_for_nothing(driver: Driver) -> None:
    await driver.register()
    slot = (await get_worker(driver.context, CALLER, "w1")).worker.slots[0]["id"]
    for reason, usable in (("a process is left", 0), ("", 1)):
        await driver.beat(quarantine={slot: reason} if reason else {})
        worker = (await get_worker(driver.context, CALLER, "w1")).worker
        assert worker.slots[0]["quarantine"] == reason
        (pool,) = await list_pools(driver.context)
        assert pool.slots == usable
    async with driver.context.database.read() as conn:
        assert (await workers.list_live(conn))[0].heartbeats == 2

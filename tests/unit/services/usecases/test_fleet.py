"""Workers and pools, drained and in quarantine."""

from __future__ import annotations

import pytest

from services.domain.directive import Directive, StopReason
from services.domain.errors import FailedPrecondition, NotFound
from services.domain.worker import WorkerState
from services.storage import workers
from services.usecases.acquire import Stop
from services.usecases.expire import expire_worker
from services.usecases.fleet import PoolView, drain_worker, get_worker, list_pools
from services.usecases.heartbeat import worker_heartbeat
from tests.unit.services.driver import Driver


async def test_a_drained_worker_takes_no_more_until_it_registers_again(driver: Driver) -> None:
    await driver.register()
    await driver.create()
    assert (await drain_worker(driver.context, "w1")).worker.state is WorkerState.DRAINING
    assert (await drain_worker(driver.context, "w1")).worker.state is WorkerState.DRAINING
    # Its own heartbeats do not end it; they tell it.
    for _ in range(2):
        _, directive = await worker_heartbeat(driver.context, "w1", [], draining=False)
        assert directive is Directive.DRAIN
    assert await driver.deliver(await driver.queued_task()) == Stop(StopReason.DRAINING)
    await driver.register()
    _, directive = await worker_heartbeat(driver.context, "w1", [], draining=False)
    assert directive is Directive.CONTINUE


async def test_only_workers_that_can_hear_of_it_are_drained(driver: Driver) -> None:
    with pytest.raises(NotFound, match="workers/w9"):
        await drain_worker(driver.context, "w9")
    with pytest.raises(NotFound, match="workers/w9"):
        await get_worker(driver.context, "w9")
    await driver.register()
    assert await expire_worker(driver.context, (await get_worker(driver.context, "w1")).worker)
    with pytest.raises(FailedPrecondition, match="offline"):
        await drain_worker(driver.context, "w1")


async def test_pools_count_what_serves_and_what_waits(driver: Driver) -> None:
    assert await list_pools(driver.context) == [PoolView("cpu", 1, 1, 0, 0)]
    await expire_worker(driver.context, (await get_worker(driver.context, "w1")).worker)
    assert await list_pools(driver.context) == []
    await driver.create()
    assert await list_pools(driver.context) == [PoolView("cpu", 0, 0, 0, 1)]
    await driver.register()
    await driver.start()
    assert await list_pools(driver.context) == [PoolView("cpu", 1, 1, 1, 0)]


async def test_a_worker_without_broker_is_shown_and_queued_runs_say_so(driver: Driver) -> None:
    await driver.create()
    for problem in ("the broker at amqp://host// refuses the login", ""):
        await worker_heartbeat(driver.context, "w1", [], draining=False, broker_error=problem)
        assert (await get_worker(driver.context, "w1")).worker.broker_error == problem
        (pool,) = await list_pools(driver.context)
        assert pool.workers_without_broker == bool(problem)
        reason = (await driver.get()).stages[0].waiting_reason
        assert ("workers/w1 reports that" in reason) is bool(problem)
        assert problem in reason


async def test_one_connected_worker_is_enough(driver: Driver) -> None:
    await worker_heartbeat(driver.context, "w1", [], draining=False, broker_error="away")
    driver.worker_id = "w2"
    await driver.register()
    await driver.create()
    assert (await driver.get()).stages[0].waiting_reason == ""


async def test_a_slot_in_quarantine_is_shown_and_counts_for_nothing(driver: Driver) -> None:
    await driver.register()
    slot = (await get_worker(driver.context, "w1")).worker.slots[0]["id"]
    for reason, usable in (("a process is left", 0), ("", 1)):
        await worker_heartbeat(
            driver.context, "w1", [], draining=False, quarantine={slot: reason} if reason else {}
        )
        worker = (await get_worker(driver.context, "w1")).worker
        assert worker.slots[0]["quarantine"] == reason
        (pool,) = await list_pools(driver.context)
        assert pool.slots == usable
    async with driver.context.database.read() as conn:
        assert (await workers.live(conn))[0].heartbeats == 2

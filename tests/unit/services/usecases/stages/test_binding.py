"""Binding of a worker's name to its instance, its calls to its secret, its grants to its slots."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sqlalchemy as sa

from services.domain.directive import StopReason
from services.domain.errors import Aborted, FailedPrecondition, PermissionDenied
from services.domain.worker import WorkerState
from services.storage.rows import workers
from services.usecases.fleet.workers import get_worker
from services.usecases.stages.acquire import Order, Stop
from tests.unit.services.driver import CALLER, Driver, states

POOLS = {"execution": {"train": {"pool": "gpu"}}}


def rival(driver: Driver) -> Driver:
    """Return the driver of another installation with the same name."""
    return Driver(driver.context, driver.worker_id, hostname="host-2")


async def test_a_live_workers_name_is_refused_to_others_with_both_hosts(driver: Driver) -> None:
    other = rival(driver)
    copied = rival(driver)
    copied.instance_id = driver.instance_id  # as in a machine image
    for one in (other, copied):
        with pytest.raises(FailedPrecondition, match=r"host 'host'.*host 'host-2'") as refused:
            await one.register(pools=("stolen",), new_process=True)
        assert refused.value.reason == "WORKER_NAME_TAKEN"
    assert (await get_worker(driver.context, CALLER, "w1")).worker.pools == ["cpu"]
    await driver.beat()
    await driver.beat(ended=True)
    await other.register()
    with pytest.raises(PermissionDenied, match="register again"):
        await driver.beat()


async def test_the_same_instance_registers_again_at_once(driver: Driver) -> None:
    before = driver.secret
    await driver.register(pools=("cpu", "gpu"))
    assert driver.secret != before
    assert (await get_worker(driver.context, CALLER, "w1")).worker.pools == ["cpu", "gpu"]
    with pytest.raises(PermissionDenied):
        await driver.beat(secret=before)


async def test_a_heartbeat_under_another_workers_name_changes_nothing(driver: Driver) -> None:
    await driver.create()
    order = await driver.start()
    other = Driver(driver.context, "w2")
    await other.register()
    before = (await get_worker(driver.context, CALLER, "w1")).worker
    quarantine = {"cpu-0": "stolen"}
    for secret in ("", "guessed", other.secret):
        with pytest.raises(PermissionDenied) as refused:
            await driver.beat(order.lease, draining=True, quarantine=quarantine, secret=secret)
        assert refused.value.reason == "WORKER_SECRET"
    assert (await get_worker(driver.context, CALLER, "w1")).worker == before
    assert (await driver.get()).stages[0].attempts[0].heartbeats == 0


async def test_stages_go_to_who_has_the_workers_secret(driver: Driver) -> None:
    await driver.create()
    task = await driver.queued_task()
    other = Driver(driver.context, "w2")
    await other.register()
    for secret in ("", other.secret):
        thief = rival(driver)
        thief.secret = secret
        with pytest.raises(PermissionDenied):
            await thief.deliver(task)
    assert isinstance(await driver.deliver(task), Order)


async def test_a_stage_goes_to_a_worker_of_its_pool_and_a_slot_of_its_own(driver: Driver) -> None:
    await driver.create(**POOLS)
    task = await driver.queued_task()
    with pytest.raises(FailedPrecondition, match="for pool gpu, and workers/w1 serves cpu"):
        await driver.deliver(task)
    await driver.register(pools=("cpu", "gpu"), slots=2)
    with pytest.raises(FailedPrecondition, match="did not register slot cpu-7"):
        await driver.deliver(task, slot="cpu-7")
    assert isinstance(await driver.deliver(task, slot="cpu-1"), Order)


async def test_a_slot_has_one_lease_at_a_time(driver: Driver) -> None:
    await driver.register(slots=2)
    await driver.create("a")
    await driver.create("b")
    task = await driver.queued_task("a")
    order = await driver.deliver(task, "delivery-of-sixteen")
    assert isinstance(order, Order)
    # The same delivery gets the same lease again.
    again = await driver.deliver(task, "delivery-of-sixteen")
    assert isinstance(again, Order)
    assert again.lease == order.lease
    with pytest.raises(Aborted, match=r"slot cpu-0 .* still has the lease of stage train"):
        await driver.start("b")
    assert isinstance(await driver.deliver(await driver.queued_task("b"), slot="cpu-1"), Order)
    # Another worker may have a slot of the same name.
    await driver.create("c")
    other = Driver(driver.context, "w2")
    await other.register()
    await other.start("c")


async def test_a_new_process_ends_what_the_last_one_executed(driver: Driver) -> None:
    await driver.create()
    first = await driver.start()
    await driver.register()
    assert (await driver.beat(first.lease))[0] == ["CONTINUE"]
    await driver.register(new_process=True)
    view = await driver.get()
    assert states(view) == ("RUNNING", "QUEUED", "PENDING", "PENDING")
    attempt = view.stages[0].attempts[0]
    assert attempt.error is not None
    assert attempt.error.reason == "LEASE_EXPIRED"
    assert "was started again while it executed this" in attempt.error.message
    assert await driver.deliver(first.stage.task_id) == Stop(StopReason.STALE)
    await driver.start()


async def test_secrets_are_not_stored(driver: Driver) -> None:
    async with driver.context.database.read() as conn:
        (row,) = (await conn.execute(sa.select(workers.workers))).all()
    stored = " ".join(map(str, row))
    assert driver.secret not in stored
    assert driver.instance_id not in stored


async def test_a_worker_from_before_names_were_bound_may_be_anybodys(driver: Driver) -> None:
    async with driver.context.database.write() as conn:
        before = (await get_worker(driver.context, CALLER, "w1")).worker
        assert before.state is WorkerState.ONLINE
        await workers.register(conn, replace(before, instance_digest="", secret_digest=""))
    other = rival(driver)
    with pytest.raises(PermissionDenied):
        await other.beat()
    await other.register()
    await other.beat()

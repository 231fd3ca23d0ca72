"""Running and unfinished runs of projects: places are claimed as relays claim them."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from services.domain.errors import QuotaExceeded
from services.domain.quota import Quota
from services.runtime.project_limits import ProjectLimits
from services.settings import Settings
from services.storage.rows import outbox, runs
from services.storage.rows.access import quotas
from services.usecases.content import datasets
from services.usecases.context import Context
from services.usecases.quotas.manage import Change, set_quotas
from services.usecases.quotas.runs import free_places
from services.usecases.runs.cancel import cancel_run
from services.usecases.runs.create import CreateRun, create_run
from services.usecases.runs.retry import retry_run
from tests.unit.services.driver import CALLER, PROJECT, Driver, spec
from tests.unit.services.usecases.stored_content import make_context


async def claim(context: Context, floor: int = 100) -> list[str]:
    """Claim what is due, as a relay does; return the uids."""
    async with context.database.write() as conn:
        entries = await outbox.claim(
            conn,
            uuid.uuid4().hex,
            hold=timedelta(seconds=60),
            admission={},
            floor=floor,
            limit=100,
            places=await free_places(conn, context),
        )
    return [entry.task_id.run_uid for entry in entries]


async def limit(context: Context, quota: Quota, most: int | None) -> None:
    await set_quotas(context, CALLER, PROJECT, [Change(quota, most)])


async def test_runs_beyond_the_quota_wait_until_others_end(driver: Driver) -> None:
    context = driver.context
    await limit(context, Quota.RUNNING_RUNS, 2)
    uids = [(await driver.create(f"r{i}")).run.uid for i in range(4)]
    assert await claim(context) == uids[:2]
    assert await claim(context) == []
    waiting = (await driver.get("r2")).stages[0].waiting_reason
    assert waiting == (
        "QUOTA: project default has 2 running runs, at most 2 are allowed: it starts once one of "
        "them ends"
    )
    assert (await driver.create("r4")).stages[0].waiting_reason == waiting
    planned = await create_run(context, CALLER, CreateRun("", spec(), validate_only=True))
    assert planned.stages[0].waiting_reason == waiting
    # A run keeps its place through its stages, and while it is stopping.
    order = await driver.start("r0")
    assert "QUOTA" not in (await driver.get("r0")).stages[1].waiting_reason
    await cancel_run(context, CALLER, "r0")
    assert await claim(context) == []
    await driver.release(order, "CANCELLED")
    assert await claim(context) == [uids[2]]
    await cancel_run(context, CALLER, "r1")
    assert await claim(context) == [uids[3]]


async def test_a_retried_run_needs_a_place_again(driver: Driver) -> None:
    context = driver.context
    await limit(context, Quota.RUNNING_RUNS, 1)
    first = await driver.create("a")
    second = await driver.create("b")
    assert await claim(context) == [first.run.uid]
    await cancel_run(context, CALLER, "a")
    assert await claim(context) == [second.run.uid]
    await retry_run(context, CALLER, "a", "")
    assert await claim(context) == []
    await cancel_run(context, CALLER, "b")
    assert await claim(context) == [first.run.uid]


async def test_a_broker_that_refuses_a_run_does_not_free_its_place(driver: Driver) -> None:
    """The message may have arrived: a worker could claim the stage at any time."""
    context = driver.context
    await limit(context, Quota.RUNNING_RUNS, 1)
    first = await driver.create("a")
    await driver.create("b")
    async with context.database.write() as conn:
        (entry,) = await outbox.claim(
            conn,
            "claim",
            hold=timedelta(seconds=60),
            admission={},
            floor=100,
            limit=100,
            places=await free_places(conn, context),
        )
    assert entry.task_id.run_uid == first.run.uid
    async with context.database.write() as conn:
        later = first.run.create_time + timedelta(hours=1)
        await outbox.mark_failed(conn, entry, later, "no answer")
    assert await claim(context) == []


async def test_projects_start_their_runs_in_turn(driver: Driver) -> None:
    context = driver.context
    uids = [(await driver.create(f"r{i}")).run.uid for i in range(5)]
    async with context.database.write() as conn:
        rows = outbox.outbox
        # The last two are another project's.
        for uid in uids[3:]:
            await conn.execute(rows.update().where(rows.c.run_uid == uid).values(project="other"))
    assert await claim(context, floor=3) == [uids[0], uids[3], uids[1]]


async def test_a_project_without_places_keeps_none_from_the_others(driver: Driver) -> None:
    context = driver.context
    await limit(context, Quota.RUNNING_RUNS, 0)
    uids = [(await driver.create(f"r{i}")).run.uid for i in range(3)]
    async with context.database.write() as conn:
        rows = outbox.outbox
        await conn.execute(rows.update().where(rows.c.run_uid == uids[2]).values(project="other"))
    assert await claim(context, floor=1) == [uids[2]]


async def test_unfinished_runs_are_refused_at_creation_and_at_a_retry(driver: Driver) -> None:
    context = driver.context
    await driver.create("a")
    await cancel_run(context, CALLER, "a")
    await limit(context, Quota.UNFINISHED_RUNS, 1)
    await driver.create("b")
    for call in (driver.create("c"), retry_run(context, CALLER, "a", "")):
        with pytest.raises(QuotaExceeded) as refused:
            await call
        assert refused.value.reason == "TOO_MANY_RUNS"
        assert refused.value.retry_delay is None
        assert refused.value.metadata == {
            "quota": "unfinished_runs",
            "project": "default",
            "limit": "1",
            "use": "1",
        }
    await limit(context, Quota.UNFINISHED_RUNS, None)
    await driver.create("c")


async def test_runs_that_come_at_once_do_not_pass_the_quota_together(driver: Driver) -> None:
    await limit(driver.context, Quota.UNFINISHED_RUNS, 2)
    calls = [driver.create(f"r{i}") for i in range(6)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert sum(isinstance(outcome, QuotaExceeded) for outcome in outcomes) == 4


def test_settings_are_the_defaults_of_every_quota() -> None:
    limits = ProjectLimits(Settings(max_running_runs=3, max_project_streams=7))
    assert limits.limit("any", Quota.RUNNING_RUNS) == 3
    assert limits.limit("any", Quota.OPEN_STREAMS) == 7
    assert limits.limit("any", Quota.STORED_BYTES) is None
    assert set(limits.defaults) == set(Quota)
    limits.replace({"p": {Quota.RUNNING_RUNS: None}})
    assert limits.limit("p", Quota.RUNNING_RUNS) is None
    assert limits.limit("q", Quota.RUNNING_RUNS) == 3


async def drain(context: Context, most: int) -> int:
    """Claim runs and end each, as a control plane and its workers do, until none is left."""
    count = 0
    while True:
        uids = await claim(context)
        for uid in uids:
            async with context.database.read() as conn:
                running = await quotas.count_running(conn, [PROJECT])
            assert running[PROJECT] <= most
            await cancel_run(context, CALLER, uid)
        count += len(uids)
        async with context.database.read() as conn:
            if await runs.count_unfinished(conn, PROJECT) == 0:
                return count


@pytest.mark.parametrize("most", [1, 3])
async def test_two_control_planes_that_race_admit_no_more_than_the_quota(
    postgres_url: str, tmp_path: Path, most: int
) -> None:
    planes = [
        make_context(postgres_url, tmp_path / "data", max_running_runs=most) for _ in range(2)
    ]
    await datasets.seed(planes[0], CALLER, "golden-v2")
    total = 12
    await asyncio.gather(
        *(
            create_run(planes[i % 2], CALLER, CreateRun(f"r{i}", spec(cache=False)))
            for i in range(total)
        )
    )
    async with asyncio.timeout(60):
        counts = await asyncio.gather(*(drain(plane, most) for plane in planes))
    # Every run was claimed, by one of the two.
    assert sum(counts) == total
    for plane in planes:
        await plane.database.close()

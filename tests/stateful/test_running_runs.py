"""Running runs of a project under any order of events: never too many, and none forgotten.

A model of the places predicts which runs each pass of a relay claims.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.domain.quota import Quota
from services.storage.engine.columns import utc_now
from services.storage.rows import outbox
from services.storage.rows.access import quotas
from services.usecases.content import datasets
from services.usecases.quotas.manage import Change, set_quotas
from services.usecases.quotas.runs import free_places
from services.usecases.runs.cancel import cancel_run
from services.usecases.runs.retry import retry_run
from services.usecases.stages.acquire import Order
from tests.unit.services.driver import CALLER, PROJECT, Driver
from tests.unit.services.usecases.stored_content import make_context

T = TypeVar("T")

MOST_RUNS = 6
PICKS = st.integers(0, MOST_RUNS - 1)


@dataclass
class RunModel:
    """A run: it waits, holds a place, or has ended; ``order`` is that of its running stage."""

    name: str
    uid: str
    holds: bool = False
    ended: bool = False
    order: Order | None = None
    slot: str = field(default="")


class Places(RuleBasedStateMachine):
    """Rules on the runs of one project, see the module's docstring."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="places-"))
        shutil.copytree(self.template, self.folder, dirs_exist_ok=True)
        self.driver = self.run(opened(self.folder))
        self.waiting: list[RunModel] = []
        self.runs: list[RunModel] = []
        self.limit = 2

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.driver.context.database.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @property
    def holders(self) -> list[RunModel]:
        return [run for run in self.runs if run.holds]

    def pick(self, number: int, runs: list[RunModel]) -> RunModel:
        return runs[number % len(runs)]

    @precondition(lambda self: len(self.runs) < MOST_RUNS)
    @rule()
    def create(self) -> None:
        name = f"r{len(self.runs)}"
        view = self.run(self.driver.create(name, cache=False))
        run = RunModel(name, view.run.uid, slot=f"cpu-{len(self.runs)}")
        self.runs.append(run)
        self.waiting.append(run)

    @rule(confirmed=st.booleans())
    def relay(self, confirmed: bool) -> None:
        """Claim what is due; the broker may not confirm it."""
        held = {run.uid for run in self.holders}
        free = max(0, self.limit - len(held))
        expected, self.waiting = self.waiting[:free], self.waiting[free:]
        claimed = self.run(self.claim(confirmed))
        assert [uid for uid in claimed if uid not in held] == [run.uid for run in expected]
        for run in expected:
            run.holds = True

    async def claim(self, confirmed: bool) -> list[str]:
        context = self.driver.context
        async with context.database.write() as conn:
            entries = await outbox.claim(
                conn,
                secrets.token_hex(8),
                hold=timedelta(seconds=60),
                admission={},
                floor=100,
                limit=100,
                places=await free_places(conn, context),
            )
            later = utc_now() + timedelta(hours=1)
            if confirmed:
                await outbox.mark_sent(conn, entries, lambda _: later)
            for entry in [] if confirmed else entries:
                await outbox.mark_failed(conn, entry, utc_now(), "no answer")
        return [entry.task_id.run_uid for entry in entries]

    @precondition(lambda self: any(run.holds and run.order is None for run in self.runs))
    @rule(number=PICKS)
    def start(self, number: int) -> None:
        """Let a worker claim the queued stage of a run that holds a place."""
        run = self.pick(number, [run for run in self.holders if run.order is None])
        task = self.run(self.driver.queued_task(run.name))
        answer = self.run(self.driver.deliver(task, slot=run.slot))
        assert isinstance(answer, Order)
        run.order = answer

    @precondition(lambda self: any(run.order for run in self.runs))
    @rule(number=PICKS, end=st.sampled_from(["complete", "fail", "fail for good", "release"]))
    def report(self, number: int, end: str) -> None:
        run = self.pick(number, [run for run in self.runs if run.order])
        order, run.order = run.order, None
        assert order is not None
        if end == "complete":
            self.run(self.driver.complete(order))
        elif end == "release":
            self.run(self.driver.release(order))
        else:
            self.run(self.driver.fail(order, retryable=end == "fail"))
        state = self.run(self.driver.get(run.name)).run.state
        if state in ("SUCCEEDED", "FAILED", "CANCELLED"):
            self.ends(run)

    @precondition(lambda self: any(not run.ended for run in self.runs))
    @rule(number=PICKS)
    def cancel(self, number: int) -> None:
        run = self.pick(number, [run for run in self.runs if not run.ended])
        self.run(cancel_run(self.driver.context, CALLER, run.name))
        if run.order is None:
            self.ends(run)

    def ends(self, run: RunModel) -> None:
        run.ended, run.holds = True, False
        if run in self.waiting:
            self.waiting.remove(run)

    @precondition(lambda self: any(run.ended for run in self.runs))
    @rule(number=PICKS)
    def retry(self, number: int) -> None:
        run = self.pick(number, [run for run in self.runs if run.ended])
        if self.run(self.driver.get(run.name)).run.state == "SUCCEEDED":
            return
        self.run(retry_run(self.driver.context, CALLER, run.name, ""))
        run.ended = False
        self.waiting.append(run)

    @rule(limit=st.integers(0, 3))
    def change_the_limit(self, limit: int) -> None:
        self.limit = limit
        change = Change(Quota.RUNNING_RUNS, limit)
        self.run(set_quotas(self.driver.context, CALLER, PROJECT, [change]))

    @invariant()
    def the_database_counts_the_holders(self) -> None:
        async def count() -> int:
            async with self.driver.context.database.read() as conn:
                return (await quotas.count_running(conn, [PROJECT])).get(PROJECT, 0)

        assert self.run(count()) == len(self.holders)


async def opened(folder: Path) -> Driver:
    url = f"sqlite+aiosqlite:///{folder}/tailrace.db"
    driver = Driver(make_context(url, folder / "data", max_running_runs=2))
    await driver.register(slots=MOST_RUNS)
    return driver


async def seeded(folder: Path) -> None:
    driver = await opened(folder)
    await datasets.seed(driver.context, CALLER, "golden-v2")
    await driver.context.database.close()


def test_any_order_of_events_keeps_to_the_quota(sqlite_url: str, tmp_path: Path) -> None:
    asyncio.run(seeded(tmp_path))
    Places.template = tmp_path
    run_state_machine_as_test(
        Places,
        settings=settings(
            max_examples=8,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

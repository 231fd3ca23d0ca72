"""Runs under any order of deliveries, reports, repetitions, expiries, cancels and retries.

A small model predicts the response to each call; after each step the database must agree with it.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import shutil
import tempfile
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from services.domain.errors import FailedPrecondition, LeaseLost
from services.domain.run import RUN_TRANSITIONS
from services.domain.stage import STAGE_TRANSITIONS
from services.storage.rows import attempts, outbox
from services.usecases.content import datasets
from services.usecases.runs.cancel import cancel_run
from services.usecases.runs.retry import retry_run
from services.usecases.runs.view import RunView
from services.usecases.stages.acquire import Order
from services.usecases.stages.complete import complete_stage
from services.usecases.stages.expire import expire_attempt
from tailrace.formats.dispatch import TaskId
from tests.stateful.model import DONE, MAX_ATTEMPTS, STAGES, Lease, RunModel, StageModel
from tests.unit.services.driver import CALLER, SPEC, Driver, line
from tests.unit.services.usecases.stored_content import make_context

T = TypeVar("T")

NUMBERS = st.integers(0, 9)


def has_leases(machine: Lifecycle) -> bool:
    return bool(machine.leases)


def is_done(stage: StageModel) -> bool:
    return stage.state in DONE


def has_queued_stage(machine: Lifecycle) -> bool:
    return any(stage.state == "QUEUED" for stage in machine.stages)


class Lifecycle(RunModel, RuleBasedStateMachine):
    """Rules on one run, see the module's docstring."""

    template: Path

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="lifecycle-"))
        shutil.copytree(self.template, self.folder, dirs_exist_ok=True)
        self.driver = self.run(opened(self.folder))
        self.revision = 0

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    def teardown(self) -> None:
        self.run(self.driver.context.database.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    @initialize(cached=st.frozensets(st.integers(0, 2)))
    def create(self, cached: frozenset[int]) -> None:
        """Create a run whose stages ``cached`` equal those of the run in the template."""
        self.begin(cached)
        changes: dict[str, Any] = {"retry": {"max_attempts": MAX_ATTEMPTS, "initial_backoff": 0.0}}
        # Every training produces the same model, and so on: only the specs differ.
        if 0 not in cached:
            changes["train"] = {**SPEC["train"], "seed": 7}
        if 1 not in cached:
            changes["infer"] = {**SPEC["infer"], "seed": 7}
        if 2 not in cached:
            changes["judges"] = [{"name": "mine"}]
        self.uid = self.run(self.driver.create(**changes)).run.uid

    # Actions of workers, clients and time.

    @rule(stage=st.integers(0, 2), behind=st.integers(-1, 1), again=st.booleans())
    def deliver_anything(self, stage: int, behind: int, again: bool) -> None:
        """Deliver the current attempt, an earlier or a later one, perhaps twice."""
        if self.stages[stage].attempt - behind >= 1:
            self.deliver(stage, behind=behind, again=again)

    @precondition(has_queued_stage)
    @rule(again=st.booleans())
    def deliver_what_is_queued(self, again: bool) -> None:
        stage = next(i for i, s in enumerate(self.stages) if s.state == "QUEUED")
        self.deliver(stage, behind=0, again=again)

    @precondition(has_queued_stage)
    @rule(chained=st.booleans())
    def do_what_is_queued(self, chained: bool) -> None:
        """Complete a stage undisturbed, because runs would hardly progress otherwise."""
        self.deliver_what_is_queued(again=False)
        self.complete(number=0, chained=chained)

    def deliver(self, stage: int, *, behind: int, again: bool) -> None:
        model = self.stages[stage]
        task = TaskId(self.uid, STAGES[stage], model.attempt - behind)
        acquire_id = secrets.token_hex(16)
        expected = self.expected_answer(stage, behind)
        answer = self.run(self.driver.deliver(task, acquire_id))
        if expected is not None:
            assert answer == expected
            return
        assert isinstance(answer, Order)
        model.state = "RUNNING"
        self.state = "RUNNING"
        following = task if stage == 2 else self.task(stage + 1)
        assert answer.successor == (None if stage == 2 else following)
        self.leases.append(Lease(answer, acquire_id, stage))
        if again:
            repeated = self.run(self.driver.deliver(task, acquire_id))
            assert isinstance(repeated, Order)
            assert repeated.lease == answer.lease

    @precondition(has_leases)
    @rule(number=NUMBERS)
    def heartbeat(self, number: int) -> None:
        lease = self.pick(number)
        assert self.run(self.driver.beat(lease.order.lease))[0] == [self.expected_directive(lease)]

    @precondition(has_leases)
    @rule(number=NUMBERS, count=st.integers(0, 3), shift=st.integers(-2, 2))
    def publish(self, number: int, count: int, shift: int) -> None:
        """Publish a batch that continues, overlaps or leaves a gap."""
        lease = self.pick(number)
        have = len(lease.lines)
        first = max(1, have + 1 + shift)
        sent_lines = lease.lines[first - 1 : first - 1 + count]
        texts = sent_lines + [secrets.token_hex(4) for _ in range(count - len(sent_lines))]
        call = self.driver.publish(lease.order, first, *map(line, texts))
        if lease.end != "RUNNING":
            with pytest.raises(LeaseLost):
                self.run(call)
            return
        answer = self.run(call)
        if first <= have + 1:
            lease.lines += texts[have + 1 - first :]
        assert answer.sequence == len(lease.lines)
        assert answer.directive == self.expected_directive(lease)

    @precondition(has_leases)
    @rule(number=NUMBERS, chained=st.booleans())
    def complete(self, number: int, chained: bool) -> None:
        lease = self.pick(number)
        report = self.run(self.driver.completion(lease.order, last_event=len(lease.lines)))
        if not chained:
            report = type(report)(**{**vars(report), "successor_task_id": ""})
        if lease.end not in ("RUNNING", "SUCCEEDED"):
            with pytest.raises(LeaseLost):
                self.run(complete_stage(self.driver.context, report))
            return
        answer = self.run(complete_stage(self.driver.context, report))
        if lease.end == "RUNNING":
            self.completed(lease, chained=chained)
        assert answer is lease.answer

    @precondition(has_leases)
    @rule(number=NUMBERS, retryable=st.sampled_from([True, True, False]))
    def fail(self, number: int, retryable: bool) -> None:
        lease = self.pick(number)
        call = self.driver.fail(lease.order, retryable=retryable)
        if lease.end not in ("RUNNING", "FAILED"):
            with pytest.raises(LeaseLost):
                self.run(call)
            return
        answer = self.run(call)
        if lease.end == "RUNNING":
            lease.end = "FAILED"
            lease.answer = self.counted_failure(lease, retryable=retryable)
        assert answer is lease.answer

    @precondition(has_leases)
    @rule(number=NUMBERS)
    def release(self, number: int) -> None:
        lease = self.pick(number)
        call = self.driver.release(lease.order)
        if lease.end not in ("RUNNING", "RELEASED", "CANCELLED"):
            with pytest.raises(LeaseLost):
                self.run(call)
            return
        self.run(call)
        if lease.end == "RUNNING":
            self.released(lease)

    @precondition(has_leases)
    @rule(number=NUMBERS, beaten=st.booleans())
    def expire(self, number: int, beaten: bool) -> None:
        """Stop a lease's heartbeats, or send one just in time."""
        lease = self.pick(number)
        seen = self.run(self.attempt(lease))
        if beaten:
            self.heartbeat(number)
        expired = self.run(expire_attempt(self.driver.context, seen))
        assert expired is (lease.end == "RUNNING" and not beaten)
        if expired:
            self.expired(lease)

    @precondition(lambda self: self.state != "CANCELLED")
    @rule(odds=st.integers(0, 2))
    def cancel(self, odds: int) -> None:
        if odds:
            return  # Rarely, because runs would hardly progress otherwise.
        call = cancel_run(self.driver.context, CALLER, "r")
        if self.state in ("SUCCEEDED", "FAILED"):
            with pytest.raises(FailedPrecondition, match="nothing to cancel"):
                self.run(call)
            return
        self.run(call)
        self.cancelled()

    @precondition(lambda self: self.state in ("FAILED", "CANCELLED"))
    @rule()
    def retry(self) -> None:
        call = retry_run(self.driver.context, CALLER, "r", "")
        current = self.current()
        if current is None:
            with pytest.raises(FailedPrecondition, match="every result"):
                self.run(call)
            return
        self.run(call)
        self.retried(current)

    @rule(odds=st.integers(0, 3))
    def start_from_its_model(self, odds: int) -> None:
        if odds or len(self.waiting) == 3:
            return
        name = f"w{len(self.waiting)}"
        call = self.driver.create(name, model={"source": "runs/r"}, cache=False)
        if self.source_state() == "FAILED":
            with pytest.raises(FailedPrecondition, match="runs/r is"):
                self.run(call)
            return
        self.run(call)
        self.waiting[name] = self.source_state()

    @precondition(lambda self: "FAILED" in self.waiting.values())
    @rule()
    def retry_what_started_from_it(self) -> None:
        name = next(name for name, state in self.waiting.items() if state == "FAILED")
        call = retry_run(self.driver.context, CALLER, name, "")
        if self.source_state() == "FAILED":
            with pytest.raises(FailedPrecondition, match="runs/r is"):
                self.run(call)
            return
        self.run(call)
        self.waiting[name] = self.source_state()

    # Invariants between actions.

    @invariant()
    def waiting_runs_follow(self) -> None:
        if not hasattr(self, "uid"):
            return
        self.settle()
        expected = {
            "WAITING": ("QUEUED", "PENDING"),
            "QUEUED": ("QUEUED", "QUEUED"),
            "FAILED": ("FAILED", "FAILED"),
        }
        for name, state in self.waiting.items():
            view = self.run(self.driver.get(name))
            stage = view.stages[0].stage
            assert (view.run.state.value, stage.state.value) == expected[state]
            entries = self.run(self.entries(view.run.uid))
            assert entries == ({"train"} if state == "QUEUED" else set())

    @invariant()
    def the_database_agrees(self) -> None:
        if not hasattr(self, "uid"):
            return
        view = self.run(self.driver.get())
        assert view.run.state.value == self.state
        for model, seen in zip(self.stages, view.stages, strict=True):
            stage = seen.stage
            assert (stage.state.value, stage.attempt) == (model.state, model.attempt)
            assert (stage.failures, stage.max_attempts) == (model.failures, model.limit)
            assert (stage.result is not None) == is_done(model)
            assert bool(stage.cached_from) == (model.state == "SKIPPED")
        assert view.run.revision >= self.revision
        self.revision = view.run.revision
        self.check_attempts(view)
        self.check_history(view)
        queued = [i for i, stage in enumerate(self.stages) if stage.state == "QUEUED"]
        assert self.run(self.entries(self.uid)) == {STAGES[i] for i in queued}
        assert len(queued) <= 1

    def check_attempts(self, view: RunView) -> None:
        seen = {
            (attempt.stage_id, attempt.number): attempt
            for stage in view.stages
            for attempt in stage.attempts
        }
        assert len(seen) == len(self.leases)
        for lease in self.leases:
            attempt = seen[STAGES[lease.stage], lease.order.stage.attempt]
            assert attempt.state.value == lease.end
            assert attempt.log_lines == len(lease.lines)
            digest = b""
            for text in lease.lines:
                digest = hashlib.sha256(digest + text.encode()).digest()
            assert attempt.log_digest == digest.hex()
            assert (attempt.end_time is None) == (lease.end == "RUNNING")

    def check_history(self, view: RunView) -> None:
        """Check that every change is allowed and follows from the one before."""
        last: dict[str, str] = {"": "", **dict.fromkeys(STAGES, "PENDING")}
        if 0 not in self.cached:
            last["train"] = "QUEUED"
        for change in view.history:
            assert last[change.stage] == change.from_state
            last[change.stage] = change.to_state
            moves: Any = STAGE_TRANSITIONS if change.stage else RUN_TRANSITIONS
            assert not change.from_state or change.to_state in moves[change.from_state]
        assert last == {
            "": self.state,
            **dict(zip(STAGES, [s.state for s in self.stages], strict=True)),
        }

    async def entries(self, uid: str) -> set[str]:
        async with self.driver.context.database.read() as conn:
            return set(await outbox.list_publications(conn, uid))

    async def attempt(self, lease: Lease) -> Any:
        async with self.driver.context.database.read() as conn:
            return await attempts.get(conn, lease.order.stage.task_id)


async def opened(folder: Path) -> Driver:
    driver = Driver(make_context(f"sqlite+aiosqlite:///{folder}/tailrace.db", folder / "data"))
    await driver.register(judges={"mine": "1"})
    return driver


async def seeded(folder: Path) -> None:
    driver = await opened(folder)
    await datasets.seed(driver.context, CALLER, "golden-v2")
    await driver.create("source")
    for _ in STAGES:
        await driver.complete(await driver.start("source"))
    await driver.context.database.close()


@pytest.mark.timeout(420)
def test_any_order_of_events(
    sqlite_url: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    asyncio.run(seeded(tmp_path))
    Lifecycle.template = tmp_path
    run_state_machine_as_test(
        Lifecycle,
        settings=settings(
            max_examples=16,
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )

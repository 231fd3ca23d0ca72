"""Views of runs for clients."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import Run, RunState, Transition
from services.domain.stage import Attempt, Stage, StageError, StageState, next_unfinished
from services.domain.worker import Worker, worker_name
from services.storage.engine.columns import utc_now
from services.storage.rows import attempts, capacity, history, outbox, stages, workers
from services.storage.rows.capacity import Capacity
from services.storage.rows.outbox import Publication
from services.usecases.context import Context
from services.usecases.quotas.runs import place_wait
from services.usecases.runs.model_source import source_wait


@dataclass(frozen=True)
class StageView:
    """Stage with its attempts."""

    stage: Stage
    attempts: list[Attempt]
    waiting_reason: str
    """Reason for the wait of a queued stage, or of one that waits for another run."""


@dataclass(frozen=True)
class RunView:
    """Run with its stages and history."""

    run: Run
    stages: list[StageView]
    history: list[Transition]
    """Transitions of the run; empty unless requested."""

    @property
    def error(self) -> StageError | None:
        """Error of the failed stage, if the run has failed."""
        if self.run.state is not RunState.FAILED:
            return None
        errors = [v.stage.error for v in self.stages if v.stage.state is StageState.FAILED]
        return errors[0] if errors else None


async def view(conn: AsyncConnection, context: Context, run: Run) -> RunView:
    """Return a run with its stages and attempts."""
    return await view_with_stages(conn, context, run, await stages.list_for_run(conn, run.uid))


async def view_with_stages(
    conn: AsyncConnection,
    context: Context,
    run: Run,
    run_stages: list[Stage],
    *,
    with_history: bool = False,
) -> RunView:
    """Return a run, whose stages were read before, with its attempts and optional history."""
    run_attempts = await attempts.list_for_run(conn, run.uid)
    reasons = await _waiting_reasons(conn, context, run, run_stages)
    views = [
        StageView(
            stage,
            [attempt for attempt in run_attempts if attempt.stage_id == stage.stage_id],
            reasons.get(stage.stage_id, ""),
        )
        for stage in run_stages
    ]
    return RunView(run, views, await history.list_for_run(conn, run) if with_history else [])


def view_of_new(run: Run, run_stages: list[Stage], now: Capacity, place_wait: str) -> RunView:
    """Return a run that this transaction has created, with its stages."""
    views = [
        StageView(stage, [], place_wait or waiting_reason(stage, None, now))
        if stage.state is StageState.QUEUED
        else StageView(stage, [], "")
        for stage in run_stages
    ]
    return RunView(run, views, [])


def view_of_planned(run: Run, run_stages: list[Stage], now: Capacity, wait: str = "") -> RunView:
    """Return a run that is not stored; each stage has the reason why it would wait now.

    ``wait`` is the first stage's wait for another run or a place; empty if it would not wait.
    """
    reasons = [waiting_reason(stage, None, now) for stage in run_stages]
    reasons[0] = wait or reasons[0]
    views = [StageView(s, [], reason) for s, reason in zip(run_stages, reasons, strict=True)]
    return RunView(run, views, [])


async def _waiting_reasons(
    conn: AsyncConnection, context: Context, run: Run, run_stages: list[Stage]
) -> dict[str, str]:
    queued = [stage for stage in run_stages if stage.state is StageState.QUEUED]
    if not queued:
        waits = await source_wait(conn, run, run_stages)
        stage = next_unfinished(run_stages)
        return {stage.stage_id: waits} if waits and stage else {}
    entries = await outbox.list_publications(conn, run.uid)
    if any(entry.waits_for_place for entry in entries.values()):
        wait = await place_wait(conn, context, run.project)
        if wait:
            return {stage.stage_id: wait for stage in queued}
    now = await capacity.read(conn)
    unserved = {stage.pool for stage in queued} - {pool for pool, n in now.served.items() if n}
    fleet = Fleet(
        now,
        await workers.list_drained(conn, unserved) if unserved else [],
        await workers.list_without_broker(conn),
        await outbox.broker_error(conn),
    )
    return {
        stage.stage_id: fleet.broker_reason(stage, entries.get(stage.stage_id))
        or fleet.drained_reason(stage)
        or waiting_reason(stage, entries.get(stage.stage_id), fleet.capacity)
        for stage in queued
    }


@dataclass(frozen=True)
class Fleet:
    """Current state of the fleet and its broker."""

    capacity: Capacity
    drained: list[Worker]
    """Drained workers of pools without a serving worker."""
    without_broker: list[Worker]
    """Online workers without a connection to the broker."""
    broker_error: str
    """Error of the broker at the last refused publication; empty if none is waiting."""

    def broker_reason(self, stage: Stage, entry: Publication | None) -> str:
        """Return the broker's part in a queued stage's wait; empty if it has none."""
        refusal = "" if entry is None else entry.error
        if not refusal and entry is not None and entry.publications == 0:
            refusal = self.broker_error
        if refusal:
            return f"the control plane cannot publish it: {refusal}"
        cut_off_workers = [worker for worker in self.without_broker if stage.pool in worker.pools]
        slots = sum(len(worker.slots) for worker in cut_off_workers)
        if cut_off_workers and slots >= self.capacity.served.get(stage.pool, 0):
            first = cut_off_workers[0]
            return (
                f"no worker of pool {stage.pool!r} is connected to the broker: "
                f"{worker_name(first.worker_id)} reports that {first.broker_error}"
            )
        return ""

    def drained_reason(self, stage: Stage) -> str:
        """Return the drain's part in a queued stage's wait; empty if it has none."""
        names = [worker.worker_id for worker in self.drained if stage.pool in worker.pools]
        if not names:
            return ""
        return (
            f"every live worker of pool {stage.pool!r} is drained: `tailrace workers undrain "
            f"{names[0]}` lets it take stages"
        )


def waiting_reason(stage: Stage, entry: Publication | None, now: Capacity) -> str:
    """Return the reason for a queued stage's wait, given the current capacity."""
    slots = now.served.get(stage.pool, 0)
    if not slots:
        served_pools = ", ".join(sorted(now.served)) or "none"
        return (
            f"no live worker serves pool {stage.pool!r}: start one that does, or name another "
            f"pool in execution.{stage.kind}.pool (served now: {served_pools})"
        )
    if entry is not None and entry.publications == 0 and stage.failures:
        due = entry.due_time
        if due > utc_now():
            return f"attempt {stage.attempt} is due at {due:%Y-%m-%dT%H:%M:%SZ}, after a failure"
    if now.busy.get(stage.pool, 0) >= slots:
        busy = "the slot" if slots == 1 else f"all {slots} slots"
        return f"{busy} of pool {stage.pool!r} {'is' if slots == 1 else 'are'} busy"
    return ""

"""Runs as clients see them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.run import Run, RunState, Transition
from services.domain.stage import Attempt, Stage, StageError, StageState
from services.domain.worker import WorkerState
from services.storage import attempts, outbox, runs, stages, workers
from services.storage.database import utc_now


@dataclass(frozen=True)
class StageView:
    """A stage with what belongs to it."""

    stage: Stage
    attempts: list[Attempt]
    waiting_reason: str
    """Why it still waits; empty if it does not."""


@dataclass(frozen=True)
class RunView:
    """A run with what belongs to it."""

    run: Run
    stages: list[StageView]
    history: list[Transition]
    """Empty unless asked for."""

    @property
    def error(self) -> StageError | None:
        """The failed stage's error."""
        if self.run.state is not RunState.FAILED:
            return None
        failed = [v.stage.error for v in self.stages if v.stage.state is StageState.FAILED]
        return failed[0] if failed else None


async def view(conn: AsyncConnection, run: Run, *, history: bool = False) -> RunView:
    """A run with its stages and attempts, and its history if asked for."""
    of_run = await stages.of_run(conn, run.uid)
    tried = await attempts.of_run(conn, run.uid)
    reasons = await _waiting_reasons(conn, run, of_run)
    views = [
        StageView(
            stage,
            [attempt for attempt in tried if attempt.stage_id == stage.stage_id],
            reasons.get(stage.stage_id, ""),
        )
        for stage in of_run
    ]
    return RunView(run, views, await runs.history(conn, run) if history else [])


async def view_of_new(conn: AsyncConnection, run: Run, of_run: list[Stage]) -> RunView:
    """A run that this transaction has made, with its stages."""
    served = await workers.slots_served(conn)
    views = [
        StageView(
            stage,
            [],
            await _waiting_reason(conn, stage, None, served)
            if stage.state is StageState.QUEUED
            else "",
        )
        for stage in of_run
    ]
    return RunView(run, views, [])


async def _waiting_reasons(conn: AsyncConnection, run: Run, of_run: list[Stage]) -> dict[str, str]:
    queued = [stage for stage in of_run if stage.state is StageState.QUEUED]
    if not queued:
        return {}
    due = await outbox.due_times(conn, run.uid)
    served = await workers.slots_served(conn)
    return {
        stage.stage_id: await _waiting_reason(conn, stage, due.get(stage.stage_id), served)
        for stage in queued
    }


async def _waiting_reason(
    conn: AsyncConnection,
    stage: Stage,
    entry: tuple[datetime, int] | None,
    served: Mapping[str, int],
) -> str:
    """Why a queued stage does not run.

    ``entry`` is when its outbox entry is due and how often it was published, ``served`` how many
    slots each pool has.
    """
    slots = served.get(stage.pool, 0)
    if not slots:
        others = ", ".join(sorted(served)) or "none"
        return (
            f"no live worker serves pool {stage.pool!r}: start one that does, or name another "
            f"pool in execution.{stage.kind}.pool (served now: {others})"
        )
    if entry is not None and entry[1] == 0 and entry[0] > utc_now() and stage.failures:
        return f"attempt {stage.attempt} is due at {entry[0]:%Y-%m-%dT%H:%M:%SZ}, after a failure"
    # Counting all leases is cheap, finding out whose they are is not, in a large fleet.
    if await attempts.count_running(conn) >= slots and await _all_busy(conn, stage.pool):
        return f"all {slots} slots of pool {stage.pool!r} are busy"
    return ""


async def _all_busy(conn: AsyncConnection, pool: str) -> bool:
    """Whether every slot of the live workers that serve a pool runs something."""
    serving = [
        worker
        for worker in await workers.live(conn)
        if worker.state is WorkerState.ONLINE and pool in worker.pools
    ]
    slots = {(worker.worker_id, slot["id"]) for worker in serving for slot in worker.slots}
    return slots <= {(a.worker_id, a.slot) for a in await attempts.running(conn)}

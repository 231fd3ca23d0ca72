"""AcquireStage and ConfirmDispatch: deliveries of the broker.

AcquireStage answers a delivery with the right to execute, or with another instruction.
ConfirmDispatch records that a worker's chain has published the delivery of the next stage.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain import lease
from services.domain.content.artifact import Artifact
from services.domain.directive import StopReason
from services.domain.errors import (
    Aborted,
    FailedPrecondition,
    InvalidInput,
    NotFound,
    PermissionDenied,
)
from services.domain.lease import LeaseToken, parse_task_id
from services.domain.run import Run, RunState
from services.domain.stage import (
    STAGE_DONE,
    Attempt,
    AttemptState,
    Stage,
    StageState,
    successor,
)
from services.domain.worker import Worker, WorkerState, worker_name
from services.storage.engine.columns import utc_now
from services.storage.rows import artifacts, attempts, outbox
from services.usecases.context import Context
from services.usecases.runs.lifecycle import LockedRun, begin_stage, lock_run_for
from services.usecases.stages.inputs import Inputs, stage_inputs
from tailrace.formats.dispatch import TaskId
from tailrace.formats.limits import MAX_HANDLE

MIN_ACQUIRE_ID = 16
"""Minimum length of an acquire id, on which the lease's secret depends."""


@dataclass(frozen=True)
class Acquire:
    """One delivery and the worker that received it."""

    task_id: TaskId
    acquire_id: str
    worker_id: str
    slot: str
    secret: str
    """Secret from the worker's registration."""


@dataclass(frozen=True)
class Order:
    """The order to execute the stage."""

    lease: LeaseToken
    run: Run
    stage: Stage
    inputs: Inputs
    checkpoint: Artifact | None
    successor: TaskId | None
    """Current task of the next stage."""


@dataclass(frozen=True)
class Continue:
    """The stage is done and its successor is due: the chain must continue."""

    successor: TaskId


@dataclass(frozen=True)
class Stop:
    """There is nothing to do: the chain must end."""

    reason: StopReason


Answer = Order | Continue | Stop


async def acquire_stage(context: Context, command: Acquire) -> Answer:
    """Grant a lease by compare-and-set, or return the reason to stop or continue.

    A late delivery is not an error. The same acquire id gets the same answer again.

    Raises:
        InvalidInput: The acquire id is too short or too long.
        NotFound: The worker is not registered (WORKER_UNKNOWN).
        PermissionDenied: The secret is not from the last registration (WORKER_SECRET).
        FailedPrecondition: The worker serves no such pool, or has no such slot.
        Aborted: Another attempt holds the slot (SLOT_BUSY).
    """
    if not MIN_ACQUIRE_ID <= len(command.acquire_id) <= MAX_HANDLE:
        raise InvalidInput.field(
            "acquire_id", f"must have {MIN_ACQUIRE_ID} to {MAX_HANDLE} characters"
        )
    async with context.database.write() as conn:
        worker, locked_run = await lock_run_for(conn, command.task_id.run_uid, command.worker_id)
        if worker is None:
            raise unknown_worker(command.worker_id)
        if not worker.has_secret(command.secret):
            raise foreign_worker(command.worker_id)
        answer = await _answer(conn, locked_run, command, worker)
    if isinstance(answer, Order):
        context.wakeups.wake(answer.run.uid)
    return answer


async def confirm_dispatch(context: Context, task_id: str, worker_id: str = "") -> None:
    """Count a publication, so that the relay repeats it only if no worker claims the stage.

    Repetitions, and confirmations of claimed stages, change nothing.

    Args:
        context: Adapters and settings.
        task_id: Task id of the stage.
        worker_id: Worker whose credential the call carries; it must have had a stage of the run.

    Raises:
        InvalidInput: The task id is malformed.
        PermissionDenied: The worker had no stage of the run (WORKER_BINDING).
    """
    task = parse_task_id(task_id)
    if task is None:
        raise InvalidInput.field(
            "task_id", f"{task_id[:200]!r} is not of the form {{run uid}}.{{stage}}.{{attempt}}"
        )
    due = utc_now() + timedelta(seconds=context.settings.republish_seconds)
    async with context.database.write() as conn:
        if worker_id:
            await _require_part(conn, task, worker_id)
        await outbox.confirm(conn, task, due)


async def _require_part(conn: AsyncConnection, task: TaskId, worker_id: str) -> None:
    """Raise ``PermissionDenied`` unless a worker has had a stage of a run."""
    run_attempts = await attempts.list_for_run(conn, task.run_uid)
    if all(attempt.worker_id != worker_id for attempt in run_attempts):
        raise PermissionDenied(
            "WORKER_BINDING", f"{worker_name(worker_id)} has had no stage of the run: nothing to do"
        )


def unknown_worker(worker_id: str) -> NotFound:
    """Return the error for a worker that must register first."""
    return NotFound("WORKER_UNKNOWN", f"{worker_name(worker_id)} is not registered: register it")


def foreign_worker(worker_id: str) -> PermissionDenied:
    """Return the error for a call with the secret of an earlier registration of the name."""
    return PermissionDenied(
        "WORKER_SECRET",
        f"the call does not carry the secret that {worker_name(worker_id)} got when it registered "
        "last: register again; if another worker has the name, the refusal names its host",
    )


async def _answer(
    conn: AsyncConnection, locked_run: LockedRun | None, command: Acquire, worker: Worker
) -> Answer:
    stage = None if locked_run is None else locked_run.stage(command.task_id.stage)
    if locked_run is None or stage is None:
        return Stop(StopReason.UNKNOWN)
    if stage.attempt != command.task_id.attempt:
        return Stop(StopReason.STALE)
    if stage.state is StageState.RUNNING:
        return await _repeat(conn, locked_run, stage, command)
    if locked_run.run.state in (RunState.CANCELLING, RunState.CANCELLED):
        has_attempt = await attempts.get(conn, command.task_id) is not None
        return Stop(StopReason.STALE if has_attempt else StopReason.CANCELLED)
    if stage.state in STAGE_DONE:
        following = successor(locked_run.stages, stage)
        if following is not None and following.state is StageState.QUEUED:
            return Continue(following.task_id)
        return Stop(StopReason.STALE)
    if stage.state is not StageState.QUEUED:
        return Stop(StopReason.STALE)
    if worker.state is WorkerState.DRAINING:
        return Stop(StopReason.DRAINING)
    await _require_slot(conn, stage, command, worker)
    return await _grant(conn, locked_run, stage, command)


async def _require_slot(
    conn: AsyncConnection, stage: Stage, command: Acquire, worker: Worker
) -> None:
    """Raise unless the worker serves the stage's pool, and the slot is the worker's and free."""
    name = worker_name(command.worker_id)
    if stage.pool not in worker.pools:
        pools = ", ".join(worker.pools)
        raise FailedPrecondition(
            "POOL_NOT_SERVED", f"the stage is for pool {stage.pool}, and {name} serves {pools}"
        )
    if command.slot not in (slot["id"] for slot in worker.slots):
        raise FailedPrecondition(
            "SLOT_UNKNOWN", f"{name} did not register slot {command.slot}: register again"
        )
    for attempt in await attempts.list_running(conn, command.worker_id):
        if attempt.slot == command.slot:
            raise Aborted(
                "SLOT_BUSY",
                f"slot {command.slot} of {name} still has the lease of stage {attempt.stage_id} of "
                f"run {attempt.run_uid}: report it, or wait until it expires",
            )


async def _repeat(
    conn: AsyncConnection, locked_run: LockedRun, stage: Stage, command: Acquire
) -> Answer:
    attempt = await attempts.get(conn, command.task_id)
    if attempt is not None and attempt.state is AttemptState.RUNNING:
        token = lease.derive(command.task_id, command.acquire_id, attempt.lease_salt)
        if token.matches(attempt.lease_digest):
            return await _order(conn, locked_run, stage, token)
    return Stop(StopReason.RUNNING_ELSEWHERE)


async def _grant(
    conn: AsyncConnection, locked_run: LockedRun, stage: Stage, command: Acquire
) -> Order:
    granted = lease.grant(command.task_id, command.acquire_id)
    now = utc_now()
    attempt = Attempt(
        run_uid=stage.run_uid,
        project=locked_run.run.project,
        stage_id=stage.stage_id,
        ordinal=stage.ordinal,
        number=stage.attempt,
        state=AttemptState.RUNNING,
        worker_id=command.worker_id,
        slot=command.slot,
        lease_salt=granted.salt,
        lease_digest=granted.digest,
        heartbeats=0,
        last_event=0,
        log_lines=0,
        log_digest="",
        metric_points=0,
        metric_digest="",
        checkpoint_step=0,
        error=None,
        answer=None,
        start_time=now,
        end_time=None,
    )
    reason = f"attempt {stage.attempt} on {worker_name(command.worker_id)}"
    locked_run = await begin_stage(conn, locked_run, stage, reason, now)
    await attempts.add(conn, attempt)
    await outbox.remove(conn, stage.run_uid)
    return await _order(conn, locked_run, stage, granted.token)


async def _order(
    conn: AsyncConnection, locked_run: LockedRun, stage: Stage, token: LeaseToken
) -> Order:
    run = locked_run.run
    following = successor(locked_run.stages, stage)
    inputs = await stage_inputs(conn, run, locked_run.stages, stage)
    checkpoint = await _checkpoint(conn, run, stage)
    if stage.attempt > 1:
        # Those up to the checkpoint are learnt; -1 includes those of the pre-flight, step 0.
        step = -1 if checkpoint is None else checkpoint.step
        inputs.artifacts += await artifacts.list_rollouts(
            conn, run.project, run.uid, stage.stage_id, step
        )
    successor_id = None if following is None else following.task_id
    return Order(token, run, stage, inputs, checkpoint, successor_id)


async def _checkpoint(conn: AsyncConnection, run: Run, stage: Stage) -> Artifact | None:
    """Return the checkpoint to resume from; a first attempt has none."""
    if stage.attempt == 1:
        return None
    return await artifacts.newest_checkpoint(conn, run.project, run.uid, stage.stage_id)

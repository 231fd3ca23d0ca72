"""CompleteStage: record a result and queue the next stage, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Listing, Producer
from services.domain.errors import FailedPrecondition, InvalidInput
from services.domain.run import RunState
from services.domain.stage import AttemptState, StageState
from services.runtime.wakeups import OUTBOX
from services.storage.engine.columns import utc_now
from services.storage.rows import artifacts, attempts
from services.usecases.content.artifacts import check_listing
from services.usecases.context import Context
from services.usecases.quotas.content import check_listings
from services.usecases.runs.lifecycle import (
    LockedRun,
    OpenLease,
    end_cancelled,
    move_stage,
    open_lease,
    peek_lease,
)
from services.usecases.runs.waiting import settle_waiting
from services.usecases.stages.advance import advance
from services.usecases.stages.cache import reusable_key
from tailrace.formats.listing import FileEntry
from tailrace.formats.schema import Violation
from tailrace.formats.spec.run_spec import StageKind
from tailrace.formats.stage_protocol import ArtifactKind

NEEDED = {
    StageKind.TRAIN: frozenset({ArtifactKind.MODEL}),
    StageKind.INFER: frozenset({ArtifactKind.PREDICTIONS}),
    StageKind.JUDGE: frozenset({ArtifactKind.VERDICTS}),
}
"""Artifacts that a result must include, because later stages and clients read them."""


@dataclass(frozen=True)
class NewArtifact:
    """An artifact that the stage produced."""

    kind: ArtifactKind
    files: Sequence[FileEntry]


@dataclass(frozen=True)
class Completion:
    """Report of a worker about a stage that succeeded."""

    token: str
    """Lease token of the attempt."""
    result: dict[str, Any]
    """Result under the name of the stage's kind (``{"train": {…}}``), plain data."""
    artifacts: Sequence[NewArtifact]
    last_event_sequence: int
    """Sequence up to which all events must be stored."""
    successor_task_id: str
    """Next message of the Celery chain; empty if there is none."""


async def complete_stage(context: Context, report: Completion) -> bool:
    """Record the result and return whether the Celery chain continues.

    Repetitions under the same lease return the same.

    Raises:
        LeaseLost: The attempt does not run, or the token is not its lease.
        InvalidInput: The result or the artifacts do not fit the stage.
        FailedPrecondition: Content or events are missing (BLOB_MISSING, EVENTS_MISSING).
        QuotaExceeded: The project has no room for the artifacts (TOO_MANY_STORED_BYTES).
    """
    async with context.database.read() as conn:
        attempt = await peek_lease(conn, report.token)
    if attempt.state is AttemptState.SUCCEEDED:
        return bool((attempt.answer or {})["continue"])
    listings = [
        (
            artifact.kind,
            await check_listing(context, attempt.project, artifact.files, f"artifacts[{i}].files"),
        )
        for i, artifact in enumerate(report.artifacts)
    ]
    async with context.database.write() as conn:
        lease = await open_lease(conn, report.token)
        if lease.attempt.state is AttemptState.SUCCEEDED:
            return bool((lease.attempt.answer or {})["continue"])
        lease.require_alive()
        _check(report, lease.stage.kind)
        if report.last_event_sequence > lease.attempt.last_event:
            raise FailedPrecondition(
                "EVENTS_MISSING",
                f"events are stored up to {lease.attempt.last_event}, not "
                f"{report.last_event_sequence}: publish the rest first",
            )
        locked_run, proceed = await _complete(conn, context, lease, report, listings)
        waiting = await settle_waiting(conn, context, locked_run)
    context.wakeups.wake(OUTBOX, locked_run.run.uid, *waiting)
    return proceed


def _check(report: Completion, kind: StageKind) -> None:
    violations = []
    if list(report.result) != [kind.value]:
        given_kinds = ", ".join(report.result) or "none"
        violations.append(Violation("result", f"must be that of a {kind} stage, not {given_kinds}"))
    missing = NEEDED[kind] - {artifact.kind for artifact in report.artifacts}
    violations += [
        Violation("artifacts", f"lacks one of kind {missing_kind}") for missing_kind in missing
    ]
    if violations:
        raise InvalidInput(violations)


async def _complete(
    conn: AsyncConnection,
    context: Context,
    lease: OpenLease,
    report: Completion,
    listings: list[tuple[ArtifactKind, Listing]],
) -> tuple[LockedRun, bool]:
    locked_run, stage, attempt = lease.locked_run, lease.stage, lease.attempt
    run = locked_run.run
    await check_listings(conn, context, run.project, [listing for _, listing in listings])
    producer = Producer(run.uid, run.run_id, stage.stage_id, attempt.number)
    for kind, listing in listings:
        await artifacts.record(conn, run.project, listing, kind, producer=producer)
    now = utc_now()
    key = await reusable_key(conn, locked_run, stage, attempt, report.result)
    done = {"result": report.result, "error": None, "end_time": now, "cache_key": key}
    locked_run = await move_stage(
        conn, locked_run, stage, StageState.SUCCEEDED, "completed", **done
    )
    if locked_run.run.state is RunState.CANCELLING:
        locked_run, proceed = await end_cancelled(conn, locked_run, "cancelled"), False
    else:
        locked_run, proceed = await advance(
            conn,
            context,
            locked_run,
            "its inputs are ready",
            successor_task_id=report.successor_task_id,
        )
    ended = await attempts.end(
        conn, attempt, AttemptState.SUCCEEDED, end_time=now, answer={"continue": proceed}
    )
    if not ended:
        raise RuntimeError(f"attempt {stage.task_id} ended under the lock")
    return locked_run, proceed

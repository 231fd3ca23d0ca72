"""PublishEvents: store the events of a stage process exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.content.artifact import Listing, Producer
from services.domain.directive import Directive
from services.domain.errors import InvalidInput, LeaseLost
from services.domain.event import (
    Channel,
    CheckpointSaved,
    Evaluation,
    Event,
    LogLine,
    MetricPoint,
    ReferenceSaved,
    RolloutsSaved,
    Saved,
)
from services.domain.run import RunState
from services.domain.stage import Progress
from services.storage.rows import artifacts, attempts, evaluations, logs, runs, stages
from services.usecases.content.artifacts import check_listing
from services.usecases.context import Context
from services.usecases.quotas.content import check_listings
from services.usecases.runs.lifecycle import OpenLease, open_lease, peek_lease
from tailrace.formats.dispatch import TaskId
from tailrace.formats.limits import MAX_EVENTS
from tailrace.formats.stage_protocol import ArtifactKind

MAX_MESSAGES = 8
"""Maximum number of messages stored together: a worker sends no more without acknowledgement."""


@dataclass(frozen=True)
class Acknowledgement:
    """The response to one batch."""

    sequence: int
    """Sequence up to which all events are durable; the worker continues after it."""
    directive: Directive
    """Directive for the stage."""


@dataclass(frozen=True)
class Batch:
    """Consecutive events of one attempt."""

    token: str
    """Lease token of the attempt."""
    first_sequence: int
    """Sequence of the first event, from 1."""
    events: Sequence[Event]

    def followed_by(self, other: Batch) -> bool:
        """Return whether ``other`` continues this batch under the same lease."""
        return self.token == other.token and (
            self.first_sequence + len(self.events) == other.first_sequence
        )

    def with_(self, other: Batch) -> Batch:
        """Return both batches as one; ``other`` follows."""
        return Batch(self.token, self.first_sequence, [*self.events, *other.events])


async def publish_events(context: Context, batch: Batch) -> Acknowledgement:
    """Store the events that are not stored yet, in one transaction.

    A batch that leaves a gap stores nothing; its acknowledgement tells where to rewind to.

    Raises:
        LeaseLost: The attempt does not run, or the token is not its lease.
        InvalidInput: The batch is too large or malformed.
        FailedPrecondition: A checkpoint's content is missing (BLOB_MISSING).
        QuotaExceeded: The project has no room for it (TOO_MANY_STORED_BYTES).
    """
    most = MAX_EVENTS * MAX_MESSAGES
    if len(batch.events) > most:
        raise InvalidInput.field("events", f"has {len(batch.events)}, at most {most}")
    if batch.first_sequence < 1:
        raise InvalidInput.field("first_sequence", "must be at least 1")
    listings = await _listings(context, batch)
    async with context.database.write() as conn:
        lease = await open_lease(conn, batch.token)
        lease.require_alive()
        stored = lease.attempt.last_event
        new_events = list(batch.events[max(0, stored + 1 - batch.first_sequence) :])
        if new_events and batch.first_sequence <= stored + 1:
            await _store(conn, context, lease, new_events, listings)
            stored += len(new_events)
    context.wakeups.wake(lease.locked_run.run.uid)
    cancelling = lease.locked_run.run.state is RunState.CANCELLING
    return Acknowledgement(stored, Directive.CANCEL if cancelling else Directive.CONTINUE)


_SAVED: dict[type[Saved], ArtifactKind] = {
    CheckpointSaved: ArtifactKind.CHECKPOINT,
    RolloutsSaved: ArtifactKind.ROLLOUTS,
    ReferenceSaved: ArtifactKind.REFERENCE,
}
"""Kinds of the artifacts that events announce."""

Listings = dict[tuple[ArtifactKind, int], Listing]
"""Listings of artifacts by kind and step."""


async def _listings(context: Context, batch: Batch) -> Listings:
    """Return the listing of each artifact that the batch announces; all blobs exist."""
    saved = _saved(batch.events)
    if not saved:
        return {}
    async with context.database.read() as conn:
        attempt = await peek_lease(conn, batch.token)
    return {
        (kind, event.step): await check_listing(
            context, attempt.project, event.files, f"{kind}.files"
        )
        for kind, event in saved
    }


def _saved(events: Iterable[Event]) -> list[tuple[ArtifactKind, Saved]]:
    return [(_SAVED[type(event)], event) for event in events if isinstance(event, Saved)]


async def _store(
    conn: AsyncConnection,
    context: Context,
    lease: OpenLease,
    new_events: list[Event],
    listings: Listings,
) -> None:
    attempt, run = lease.attempt, lease.locked_run.run
    task_id = TaskId(attempt.run_uid, attempt.stage_id, attempt.number)
    lines = [event for event in new_events if isinstance(event, LogLine)]
    other_events = [event for event in new_events if not isinstance(event, LogLine)]
    points = [event for event in other_events if isinstance(event, MetricPoint)]
    log_head = logs.Head(attempt.log_lines, attempt.log_digest)
    metric_head = logs.Head(attempt.metric_points, attempt.metric_digest)
    log_head = await logs.append(conn, run.project, task_id, Channel.LOGS, log_head, lines)
    metric_head = await logs.append(
        conn, run.project, task_id, Channel.METRICS, metric_head, points
    )
    changed: dict[str, Any] = {
        "last_event": attempt.last_event + len(new_events),
        "log_lines": log_head.count,
        "log_digest": log_head.digest,
        "metric_points": metric_head.count,
        "metric_digest": metric_head.digest,
    }
    evaluated = [event for event in other_events if isinstance(event, Evaluation)]
    await evaluations.store(conn, run, attempt.number, evaluated)
    saved = _saved(other_events)
    new_listings = [listings[kind, event.step] for kind, event in saved]
    await check_listings(conn, context, run.project, new_listings)
    producer = Producer(run.uid, run.run_id, attempt.stage_id, attempt.number)
    for kind, event in saved:
        await artifacts.record(
            conn,
            run.project,
            listings[kind, event.step],
            kind,
            producer=producer,
            step=event.step,
            key=event.key if isinstance(event, ReferenceSaved) else None,
        )
        if kind is ArtifactKind.CHECKPOINT:
            changed["checkpoint_step"] = event.step
    progress = [event for event in other_events if isinstance(event, Progress)]
    if progress:
        await stages.set_progress(conn, lease.stage, progress[-1])
    if progress or saved:
        await runs.touch(conn, run)
    if not await attempts.advance(conn, attempt, **changed):
        raise LeaseLost

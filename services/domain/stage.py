"""Stages and their attempts: states, transitions and the retry rule."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tailrace.formats.dispatch import TaskId
from tailrace.formats.spec.run_spec import StageKind


class StageState(enum.StrEnum):
    """State of a stage."""

    PENDING = "PENDING"
    """Waits for the stage before it."""
    QUEUED = "QUEUED"
    """Waits for a worker."""
    RUNNING = "RUNNING"
    """A worker holds its lease."""
    SUCCEEDED = "SUCCEEDED"
    """Its result is recorded. Terminal."""
    FAILED = "FAILED"
    """Its last attempt failed. Terminal unless the run is retried."""
    CANCELLED = "CANCELLED"
    """It was cancelled. Terminal unless the run is retried."""
    SKIPPED = "SKIPPED"
    """An earlier result was reused. Terminal."""


STAGE_TRANSITIONS: Mapping[StageState, frozenset[StageState]] = {
    StageState.PENDING: frozenset({StageState.QUEUED, StageState.CANCELLED, StageState.SKIPPED}),
    StageState.QUEUED: frozenset({StageState.RUNNING, StageState.CANCELLED}),
    StageState.RUNNING: frozenset(
        {StageState.QUEUED, StageState.SUCCEEDED, StageState.FAILED, StageState.CANCELLED}
    ),
    StageState.SUCCEEDED: frozenset(),
    StageState.FAILED: frozenset({StageState.QUEUED}),
    StageState.CANCELLED: frozenset({StageState.QUEUED, StageState.PENDING}),
    StageState.SKIPPED: frozenset(),
}
"""Allowed transitions: state -> states it may move to."""

STAGE_DONE = frozenset({StageState.SUCCEEDED, StageState.SKIPPED})
"""States in which the stage's result is there."""


class AttemptState(enum.StrEnum):
    """State of an attempt."""

    RUNNING = "RUNNING"
    """A worker holds its lease."""
    SUCCEEDED = "SUCCEEDED"
    """It delivered the stage's result."""
    FAILED = "FAILED"
    """It reported a failure."""
    EXPIRED = "EXPIRED"
    """Its heartbeats stopped for a whole lease."""
    RELEASED = "RELEASED"
    """It was handed back; does not count against the attempt limit."""
    CANCELLED = "CANCELLED"
    """It was cancelled."""


COUNTED = frozenset({AttemptState.FAILED, AttemptState.EXPIRED})
"""Ends of an attempt that count against the attempt limit."""


@dataclass(frozen=True)
class StageError:
    """Why a stage or attempt failed."""

    code: int
    """A google.rpc.Code number."""
    reason: str
    """UPPER_SNAKE_CASE, stable."""
    message: str
    """What was wrong, where, and the way out."""
    retryable: bool = False
    """Whether another attempt could do better."""
    exit_code: int | None = None
    """Exit status of the stage process, if it exited."""
    signal: str = ""
    """Name of the signal that ended it."""
    log_tail: list[str] = field(default_factory=list)
    """The last log lines."""


@dataclass(frozen=True)
class Progress:
    """How far an attempt is."""

    done: int
    """Units done."""
    total: int
    """Units in all."""
    unit: str
    """``steps``, ``predictions`` or ``verdicts``."""


@dataclass(frozen=True)
class Stage:
    """One step of a run, as stored."""

    run_uid: str
    """The run."""
    stage_id: str
    """Id within the run."""
    ordinal: int
    """Place in the order of execution, from 0."""
    kind: StageKind
    """What it does."""
    pool: str
    """The pool whose slots may run it."""
    state: StageState
    """Where it is."""
    attempt: int
    """Number of the current attempt, which deliveries must name; from 1."""
    failures: int
    """Attempts so far that count against the limit."""
    max_attempts: int
    """The limit."""
    progress: Progress | None
    """How far the current attempt is."""
    error: StageError | None
    """Why its last attempt failed."""
    result: dict[str, Any] | None
    """Its result, plain data."""
    cached_from: str
    """The stage whose result was reused; empty otherwise."""
    queue_time: datetime | None
    """When it was queued first."""
    start_time: datetime | None
    """When its first attempt started."""
    end_time: datetime | None
    """When it became terminal."""
    cache_key: str = ""
    """Digest of all that its result depends on; empty where it is not known or not wanted."""
    cached_run_uid: str = ""
    """Uid of the run whose result was reused; empty otherwise."""

    @property
    def task_id(self) -> TaskId:
        """Id of the task that asks for its current attempt."""
        return TaskId(self.run_uid, self.stage_id, self.attempt)


@dataclass(frozen=True)
class Attempt:
    """One execution of a stage by one worker, as stored."""

    run_uid: str
    """The run."""
    stage_id: str
    """The stage."""
    ordinal: int
    """The stage's ordinal."""
    number: int
    """From 1."""
    state: AttemptState
    """Where it is."""
    worker_id: str
    """The worker that got its lease."""
    slot: str
    """The slot on that worker."""
    lease_salt: str
    """See :mod:`services.domain.lease`."""
    lease_digest: str
    """See :mod:`services.domain.lease`."""
    heartbeats: int
    """Counts heartbeats; watched by the reconciler."""
    last_event: int
    """Sequence of its last stored event."""
    log_lines: int
    """Log lines stored."""
    log_digest: str
    """Digest chain over them."""
    metric_points: int
    """Metric points stored."""
    metric_digest: str
    """Digest chain over them."""
    checkpoint_step: int
    """Step of its newest usable checkpoint; 0 if none."""
    error: StageError | None
    """Why it failed."""
    answer: dict[str, Any] | None
    """What its last report was answered, for repeats of that report."""
    start_time: datetime
    """When its lease was granted."""
    end_time: datetime | None
    """When it ended."""


def next_unfinished(stages: list[Stage]) -> Stage | None:
    """The first stage, in order of execution, whose result is not there yet."""
    return next((stage for stage in stages if stage.state not in STAGE_DONE), None)


def successor(stages: list[Stage], stage: Stage) -> Stage | None:
    """The stage that a chain sends after ``stage``: the next one in order of execution.

    A chain is frozen when it is published, and then no later stage has a result.
    """
    return next((other for other in stages if other.ordinal == stage.ordinal + 1), None)

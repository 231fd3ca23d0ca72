"""Stages and their attempts: states, transitions and stored values."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.dispatch import TaskId
from tailrace.formats.spec.run_spec import StageKind


class StageState(enum.StrEnum):
    """State of a stage."""

    PENDING = "PENDING"
    """Waits for the stage before it, or for the run whose model the first stage reads."""
    QUEUED = "QUEUED"
    """Waits for a worker."""
    RUNNING = "RUNNING"
    """A worker holds its lease."""
    SUCCEEDED = "SUCCEEDED"
    """The result is recorded. Terminal."""
    FAILED = "FAILED"
    """The last attempt failed. Terminal unless the run is retried."""
    CANCELLED = "CANCELLED"
    """The stage was cancelled. Terminal unless the run is retried."""
    SKIPPED = "SKIPPED"
    """An earlier result was reused. Terminal."""


STAGE_TRANSITIONS: Mapping[StageState, frozenset[StageState]] = {
    StageState.PENDING: frozenset(
        {StageState.QUEUED, StageState.FAILED, StageState.CANCELLED, StageState.SKIPPED}
    ),
    StageState.QUEUED: frozenset({StageState.RUNNING, StageState.CANCELLED}),
    StageState.RUNNING: frozenset(
        {StageState.QUEUED, StageState.SUCCEEDED, StageState.FAILED, StageState.CANCELLED}
    ),
    StageState.SUCCEEDED: frozenset(),
    StageState.FAILED: frozenset({StageState.QUEUED, StageState.PENDING}),
    StageState.CANCELLED: frozenset({StageState.QUEUED, StageState.PENDING}),
    StageState.SKIPPED: frozenset(),
}
"""Allowed transitions: the states that may follow each state."""

STAGE_DONE = frozenset({StageState.SUCCEEDED, StageState.SKIPPED})
"""States in which the stage has its result."""


class AttemptState(enum.StrEnum):
    """State of an attempt."""

    RUNNING = "RUNNING"
    """A worker holds its lease."""
    SUCCEEDED = "SUCCEEDED"
    """The attempt delivered the stage's result."""
    FAILED = "FAILED"
    """The attempt reported a failure."""
    EXPIRED = "EXPIRED"
    """No heartbeat arrived for a whole lease."""
    RELEASED = "RELEASED"
    """The worker released the stage; does not count against the attempt limit."""
    CANCELLED = "CANCELLED"
    """The attempt was cancelled."""


COUNTED = frozenset({AttemptState.FAILED, AttemptState.EXPIRED})
"""Final states of an attempt that count against the attempt limit."""


@dataclass(frozen=True)
class StageError:
    """Error with which a stage or attempt failed."""

    code: int
    """Number of ``google.rpc.Code``."""
    reason: str
    """Stable name in UPPER_SNAKE_CASE."""
    message: str
    """Text for people: the fault, its place and the way out."""
    retryable: bool = False
    """True if another attempt could succeed."""
    exit_code: int | None = None
    """Exit status of the stage process, if it exited."""
    signal: str = ""
    """Name of the signal that ended the stage process."""
    log_tail: list[str] = field(default_factory=list)
    """Last log lines."""


@dataclass(frozen=True)
class Progress:
    """Progress of an attempt."""

    done: int
    """Units done."""
    total: int
    """Units in all."""
    unit: str
    """``steps``, ``predictions`` or ``verdicts``."""


@dataclass(frozen=True)
class Stage:
    """One unit of a run's work, as stored."""

    run_uid: str
    """Uid of the run."""
    stage_id: str
    """Id within the run."""
    ordinal: int
    """Place in the order of execution, from 0."""
    kind: StageKind
    """Kind of work."""
    pool: str
    """Pool whose slots may run the stage."""
    state: StageState
    """Current state."""
    attempt: int
    """Number of the current attempt, which deliveries must name; from 1."""
    failures: int
    """Number of attempts so far that count against the limit."""
    max_attempts: int
    """Limit of counted attempts."""
    progress: Progress | None
    """Progress of the current attempt."""
    error: StageError | None
    """Error of the last attempt."""
    result: dict[str, Any] | None
    """Result, plain data."""
    cached_from: str
    """Name of the stage whose result was reused; empty otherwise."""
    queue_time: datetime | None
    """Time at which the stage was queued first."""
    start_time: datetime | None
    """Time at which the first attempt started."""
    end_time: datetime | None
    """Time at which the stage became terminal."""
    cache_key: str = ""
    """Digest of all that the result depends on; empty if unknown or if the run uses no cache."""
    cached_run_uid: str = ""
    """Uid of the run whose result was reused; empty otherwise."""

    @property
    def task_id(self) -> TaskId:
        """Id of the task for the current attempt."""
        return TaskId(self.run_uid, self.stage_id, self.attempt)


@dataclass(frozen=True)
class Attempt:
    """One execution of a stage by one worker, as stored."""

    run_uid: str
    """Uid of the run."""
    project: str
    """Project of the run."""
    stage_id: str
    """Id of the stage."""
    ordinal: int
    """Ordinal of the stage."""
    number: int
    """Number of the attempt, from 1."""
    state: AttemptState
    """Current state."""
    worker_id: str
    """Worker that holds or held the lease."""
    slot: str
    """Slot on that worker."""
    lease_salt: str
    """Salt of the lease, see :mod:`services.domain.lease`."""
    lease_digest: str
    """Digest of the lease's secret."""
    heartbeats: int
    """Number of heartbeats, watched by the reconciler."""
    last_event: int
    """Sequence number of the last stored event."""
    log_lines: int
    """Number of stored log lines."""
    log_digest: str
    """Digest chain over the log lines."""
    metric_points: int
    """Number of stored metric points."""
    metric_digest: str
    """Digest chain over the metric points."""
    checkpoint_step: int
    """Step of the newest usable checkpoint; 0 if there is none."""
    error: StageError | None
    """Error of a failed attempt."""
    answer: dict[str, Any] | None
    """Response to the last report, for repetitions of that report."""
    start_time: datetime
    """Time at which the lease was granted."""
    end_time: datetime | None
    """Time at which the attempt ended."""


def next_unfinished(stages: list[Stage]) -> Stage | None:
    """Return the first stage, in order of execution, that has no result yet."""
    return next((stage for stage in stages if stage.state not in STAGE_DONE), None)


def successor(stages: list[Stage], stage: Stage) -> Stage | None:
    """Return the stage that a chain sends after ``stage``: the next in order of execution.

    A chain is fixed when it is published, and at that time no later stage has a result.
    """
    return next((other for other in stages if other.ordinal == stage.ordinal + 1), None)


Scores = dict[tuple[str, str], float]
"""Scores by eval set and judge, the main one first."""


def last_loss(stages: Iterable[Stage]) -> float | None:
    """Return the loss at the end of the training; None without one."""
    for result in _results(stages, "train"):
        loss = result.get("last_loss")
        return None if loss is None else float(loss)
    return None


def main_scores(stages: Iterable[Stage]) -> Scores:
    """Return the scores by eval set and judge: those of the trained model, else of any."""
    scores = [
        score
        for result in _results(stages, "judge")
        for score in result.get("scores", ())
        if score.get("score") is not None
    ]
    trained = [score for score in scores if score.get("model_role") == ModelRole.TRAINED]
    figures: Scores = {}
    for score in (*trained, *scores):
        figures.setdefault((score["eval_set"], score["judge"]), float(score["score"]))
    return figures


def _results(stages: Iterable[Stage], kind: str) -> Iterable[Mapping[str, Any]]:
    return [stage.result[kind] for stage in stages if stage.result and kind in stage.result]

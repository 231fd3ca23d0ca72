"""Model of a run without a database: the expected state after each event."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.domain.directive import Directive, StopReason
from services.usecases.stages.acquire import Answer, Continue, Order, Stop
from tailrace.formats.dispatch import TaskId

MAX_ATTEMPTS = 2
STAGES = ("train", "infer", "judge")
DONE = ("SUCCEEDED", "SKIPPED")


@dataclass
class StageModel:
    state: str = "PENDING"
    attempt: int = 1
    failures: int = 0
    limit: int = MAX_ATTEMPTS


@dataclass
class Lease:
    """A granted lease and the response to its last report."""

    order: Order
    acquire_id: str
    stage: int
    end: str = "RUNNING"
    answer: bool = False
    lines: list[str] = field(default_factory=list)


class RunModel:
    """One run of three stages, its leases, and the stages with cached results."""

    uid: str
    state: str
    stages: list[StageModel]
    leases: list[Lease]
    cached: frozenset[int]
    waiting: dict[str, str]
    """States of the runs that start from this one's model: WAITING, QUEUED or FAILED."""

    def begin(self, cached: frozenset[int]) -> None:
        """Begin a run; an earlier run has the results of the stages ``cached``."""
        self.state = "QUEUED"
        self.stages = [StageModel() for _ in STAGES]
        self.leases = []
        self.cached = cached
        self.waiting = {}
        self.advance(0)

    def advance(self, stage: int) -> None:
        """Skip cached stages from ``stage`` on, then queue the next stage or end the run."""
        while stage in self.cached:
            self.stages[stage].state = "SKIPPED"
            stage += 1
        if stage == len(STAGES):
            self.state = "SUCCEEDED"
        else:
            self.stages[stage].state = "QUEUED"

    def source_state(self) -> str:
        """Return the state of a new run that starts from this one's model."""
        states = {"SUCCEEDED": "QUEUED", "FAILED": "FAILED", "CANCELLED": "FAILED"}
        return states.get(self.state, "WAITING")

    def settle(self) -> None:
        """Queue or fail the waiting runs if this one has ended."""
        for name, state in self.waiting.items():
            if state == "WAITING":
                self.waiting[name] = self.source_state()

    def current(self) -> int | None:
        """Return the first stage without a result."""
        return next((i for i, s in enumerate(self.stages) if s.state not in DONE), None)

    def task(self, stage: int) -> TaskId:
        return TaskId(self.uid, STAGES[stage], self.stages[stage].attempt)

    def pick(self, number: int) -> Lease:
        """Return a lease: mostly the newest one, sometimes an old one."""
        return self.leases[-1 if number < 6 else number % len(self.leases)]

    def end_cancelled(self) -> None:
        for stage in self.stages:
            if stage.state not in DONE:
                stage.state = "CANCELLED"
        self.state = "CANCELLED"

    def requeue(self, stage: StageModel) -> None:
        stage.state, stage.attempt = "QUEUED", stage.attempt + 1

    def counted_failure(self, lease: Lease, *, retryable: bool) -> bool:
        stage = self.stages[lease.stage]
        if self.state == "CANCELLING":
            self.end_cancelled()
            return False
        stage.failures += 1
        if retryable and stage.failures < stage.limit:
            self.requeue(stage)
            return True
        stage.state = self.state = "FAILED"
        return False

    def expected_answer(self, stage: int, behind: int) -> Answer | None:
        """Return the answer to a new delivery, or ``None`` if it gets a lease."""
        model = self.stages[stage]
        if behind != 0:
            return Stop(StopReason.STALE)
        if model.state == "RUNNING":
            return Stop(StopReason.RUNNING_ELSEWHERE)
        if self.state in ("CANCELLING", "CANCELLED"):
            has_begun = any(
                lease.stage == stage and lease.order.stage.attempt == model.attempt
                for lease in self.leases
            )
            return Stop(StopReason.STALE if has_begun else StopReason.CANCELLED)
        if model.state in DONE and stage < 2 and self.stages[stage + 1].state == "QUEUED":
            return Continue(self.task(stage + 1))
        return None if model.state == "QUEUED" else Stop(StopReason.STALE)

    def expected_directive(self, lease: Lease) -> Directive:
        if lease.end != "RUNNING":
            return Directive.LEASE_LOST
        return Directive.CANCEL if self.state == "CANCELLING" else Directive.CONTINUE

    def completed(self, lease: Lease, *, chained: bool) -> None:
        lease.end = self.stages[lease.stage].state = "SUCCEEDED"
        if self.state == "CANCELLING":
            self.end_cancelled()
        else:
            self.advance(lease.stage + 1)
            # Only the next stage: the chain contains no other.
            following = self.stages[lease.stage + 1 : lease.stage + 2]
            lease.answer = chained and [s.state for s in following] == ["QUEUED"]

    def expired(self, lease: Lease) -> None:
        lease.end = "EXPIRED"
        self.counted_failure(lease, retryable=True)

    def released(self, lease: Lease) -> None:
        if self.state == "CANCELLING":
            lease.end = "CANCELLED"
            self.end_cancelled()
        else:
            lease.end = "RELEASED"
            self.requeue(self.stages[lease.stage])

    def cancelled(self) -> None:
        if self.state not in ("QUEUED", "RUNNING"):
            return
        if any(stage.state == "RUNNING" for stage in self.stages):
            self.state = "CANCELLING"
        else:
            self.end_cancelled()

    def retried(self, first: int) -> None:
        self.state = "QUEUED"
        for stage in self.stages[first + 1 :]:
            stage.state = "PENDING"
        stage = self.stages[first]
        self.requeue(stage)
        stage.limit = stage.failures + MAX_ATTEMPTS

"""The Celery tasks: the handling of a delivery, which is the same for every kind of stage.

A delivery is only a hint that there may be a stage to run; the control plane decides. STOP ends the
chain with ``request.chain = None`` and a plain return: Ignore would keep the successors of the
message, and Reject, Retry or revoke would make deliveries a second source of truth.

Celery's own task events are off: they would report every delivery, so that Flower would show a
stage as SUCCESS after a duplicate of its message was turned away (:mod:`workers.task_events`).
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from typing import Any

import structlog
from celery import Task, current_task, shared_task

from tailrace.errors import TailraceError
from tailrace.formats import faults
from tailrace.formats.dispatch import TaskId, routing_key, task_name
from tailrace.formats.faults import Moment
from tailrace.formats.spec.run_spec import RESOURCE_ID, StageKind
from tailrace.v1 import stage_pb2
from workers.app import CONFIRM_SECONDS
from workers.attempt.outcome import worker_fault
from workers.attempt.report import Conclusion, ReportRefusedError
from workers.attempt.run import AttemptRunner
from workers.attempt.workspace import attempt_folder
from workers.pool.directives import Directives
from workers.pool.pool_process import PoolProcess
from workers.stage_client import LeaseLostError
from workers.task_events import AttemptEvents, Subject, cancelled_event

_log = structlog.get_logger(__name__)

_CONFIRM_PATIENCE_SECONDS = 30.0
"""Time for repeated calls of ConfirmDispatch; unconfirmed, the stage is published again."""

_RUN_UID = re.compile(r"[A-Za-z0-9_-]{1,64}")

_CANCELLED = "CANCELLED"
"""Reason of the control plane to stop for a stage that was cancelled while it was queued."""


class StageFailedError(Exception):
    """The attempt failed. The control plane knows that already; the error makes Flower show it."""


class StageTask(Task):  # type: ignore[misc]  # celery has no types
    """Base class of the stage tasks."""

    abstract = True
    throws = (StageFailedError,)
    send_events = False

    def apply_async(self, *args: Any, **options: Any) -> Any:
        """Publish a message; Celery calls this for the chain's next one, to be confirmed."""
        options.setdefault("confirm_timeout", CONFIRM_SECONDS)
        self._announce(options)
        faults.before(Moment.CHAIN)
        return super().apply_async(*args, **options)

    def _announce(self, options: Mapping[str, Any]) -> None:
        """Report the successor as sent, unless its message is a duplicate."""
        predecessor: Any = current_task
        if (
            not predecessor
            or getattr(predecessor.request, "first_publication", "") != options["task_id"]
        ):
            return
        pool = _pool(str(options["routing_key"]))
        task_id = TaskId.parse(str(options["task_id"]))
        subject = Subject(
            task_id, self.name, predecessor.request.root_id, predecessor.request.id, pool, slot=""
        )
        PoolProcess.get(self.app).socket.send_event(
            subject.event("sent", exchange=options["exchange"], routing_key=options["routing_key"])
        )

    def on_success(self, retval: dict[str, str], task_id: str, args: Any, kwargs: Any) -> None:
        """Confirm the successor. Celery calls this after it has sent the chain's next message."""
        if self.request.chain and retval.get("confirm"):
            faults.after(Moment.CHAIN)
            try:
                PoolProcess.get(self.app).stage_client.confirm(
                    retval["confirm"], patience=_CONFIRM_PATIENCE_SECONDS
                )
            except TailraceError as error:
                # The control plane will publish the successor again, which is harmless.
                _log.warning("dispatch not confirmed", task_id=retval["confirm"], error=str(error))


def _execute(task: Any, run_uid: str, stage: str, attempt: int) -> dict[str, str]:
    """Acquire the stage and follow the answer; return the result that Flower shows."""
    structlog.contextvars.bind_contextvars(run_uid=run_uid, stage=stage, attempt=attempt)
    try:
        if not _is_plausible(run_uid, stage, attempt):
            _log.error("a message that names no stage was dropped", args=repr(task.request.args))
            return _stop(task, "MALFORMED")
        return _deliver(task, TaskId(run_uid, stage, attempt))
    finally:
        structlog.contextvars.clear_contextvars()


def _deliver(task: Any, task_id: TaskId) -> dict[str, str]:
    pool_process = PoolProcess.get(task.app)
    if not pool_process.clean_slot.wait(
        pool_process.socket.quarantine, lambda: pool_process.socket.draining
    ):
        # The stage was not acquired: the control plane offers it again, perhaps to another worker.
        _log.error("the slot is not clean", slot=pool_process.slot.id)
        return _stop(task, "SLOT_QUARANTINED")
    request = stage_pb2.AcquireStageRequest(
        run_uid=task_id.run_uid,
        stage=task_id.stage,
        attempt=task_id.attempt,
        acquire_id=secrets.token_hex(16),
        worker=pool_process.settings.resource_name,
        slot=pool_process.slot.id,
    )
    faults.before(Moment.ACQUIRE)
    try:
        answer = pool_process.stage_client.acquire(
            request,
            secret=lambda: pool_process.socket.secret,
            patience=pool_process.settings.acquire_seconds,
            stop=lambda: pool_process.socket.draining,
        )
    except TailraceError as error:
        # The stage stays QUEUED, or its lease expires; it is published again in both cases.
        _log.error("no lease", error=str(error), code=error.code.name)
        return _stop(task, "NO_ANSWER")
    faults.after(Moment.ACQUIRE)
    if answer.HasField("run"):
        return _run(task, pool_process, task_id, answer.run)
    if answer.HasField("continue"):
        # `continue` is a keyword of Python.
        return _continue(task, getattr(answer, "continue").successor_task_id)
    _log.info("nothing to do", reason=answer.stop.reason)
    if answer.stop.reason == _CANCELLED:
        pool_process.socket.send_event(cancelled_event(_subject(task, pool_process, task_id)))
    return _stop(task, answer.stop.reason)


def _continue(task: Any, successor: str) -> dict[str, str]:
    """Continue the chain after a finished stage, if its next message is the expected one."""
    if _successor(task) != successor:
        return _stop(task, "STALE")
    _log.info("already done, the chain continues", successor=successor)
    return {"outcome": "continued", "confirm": successor}


def _run(
    task: Any, pool_process: PoolProcess, task_id: TaskId, order: stage_pb2.StageOrder
) -> dict[str, str]:
    successor = _successor(task)
    directives = Directives()
    with pool_process.clean_slot.in_use(), pool_process.socket.lease(order.lease_token, directives):
        _log.info("stage acquired", run=order.run, slot=pool_process.slot.id)
        subject = _subject(task, pool_process, task_id, order.run)
        events = AttemptEvents(subject, pool_process.socket.send_event)
        try:
            with attempt_folder(pool_process.workspace, pool_process.slot.id, task_id) as folder:
                attempt = AttemptRunner(pool_process.resources, task_id, order, directives, folder)
                conclusion = attempt.run(successor)
        except ReportRefusedError as error:
            _log.error("the control plane refused the report", error=str(error))
            conclusion = Conclusion("undelivered")
        except OSError as error:
            _log.exception("the attempt's files cannot be stored on this worker")
            conclusion = _report_unfit(pool_process, order, directives, error)
    _log.info("stage ended", outcome=conclusion.outcome, detail=conclusion.detail)
    lost = conclusion.outcome == "abandoned" and directives.lease_lost
    events.end(Conclusion("failed", detail="LEASE_LOST") if lost else conclusion)
    if conclusion.chain_goes_on:
        task.request.first_publication = successor
        return {"outcome": conclusion.outcome, "confirm": successor}
    summary = _stop(task, conclusion.detail, conclusion.outcome)
    if conclusion.outcome == "failed":
        raise StageFailedError(conclusion.detail)
    return summary


def _report_unfit(
    pool_process: PoolProcess, order: stage_pb2.StageOrder, directives: Directives, error: OSError
) -> Conclusion:
    """Report the failure of an attempt that could not start, because the disk is full, say."""
    failure = worker_fault(f"the worker cannot store the attempt's files: {error}")
    request = stage_pb2.FailStageRequest(lease_token=order.lease_token, error=failure.error)
    try:
        pool_process.stage_client.fail(
            request,
            stop=lambda: pool_process.socket.draining or directives.lease_lost,
        )
    except (LeaseLostError, TailraceError) as refusal:
        _log.error("the control plane refused the report", error=str(refusal))
        return Conclusion("abandoned")
    return Conclusion("failed", detail=failure.error.reason)


def _stop(task: Any, reason: str, outcome: str = "stopped") -> dict[str, str]:
    task.request.chain = None
    return {"outcome": outcome, "reason": reason}


def _subject(task: Any, pool_process: PoolProcess, task_id: TaskId, run: str = "") -> Subject:
    """Return the subject of a delivery's Celery events."""
    request = task.request
    delivery = request.delivery_info or {}
    return Subject(
        task_id,
        task.name,
        request.root_id or task_id.run_uid,
        request.parent_id or "",
        _pool(str(delivery.get("routing_key") or "")),
        pool_process.slot.id,
        run,
    )


def _pool(key: str) -> str:
    """Return the pool of a routing key."""
    return key.removeprefix(routing_key(""))


def _successor(task: Any) -> str:
    """Return the task id of the chain's next message, the last one in its list; empty for none."""
    chain = task.request.chain
    return str(chain[-1]["options"].get("task_id", "")) if chain else ""


def _is_plausible(run_uid: object, stage: object, attempt: object) -> bool:
    """Return True for a message that names a stage: its parts become a folder's name."""
    return (
        isinstance(run_uid, str)
        and _RUN_UID.fullmatch(run_uid) is not None
        and isinstance(stage, str)
        and re.fullmatch(RESOURCE_ID, stage) is not None
        and isinstance(attempt, int)
        and attempt >= 1
    )


for _kind in StageKind:
    shared_task(name=task_name(_kind), base=StageTask, bind=True)(_execute)

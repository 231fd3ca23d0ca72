"""Deliveries, orders and results of stages, between workers and the control plane."""

from __future__ import annotations

import re

from services.api.convert.artifact import artifact_to_proto, files_from_proto, kind_from_proto
from services.api.convert.values import duration, enum_to_proto, plain
from services.domain.directive import Directive
from services.domain.errors import InvalidInput
from services.domain.event import clean_line
from services.domain.lease import parse_task_id
from services.domain.names import id_violations
from services.domain.stage import StageError
from services.domain.worker import parse_worker_name
from services.usecases.stages.acquire import Acquire, Answer, Continue, Order, Stop
from services.usecases.stages.complete import Completion, NewArtifact
from services.usecases.stages.inputs import NamedInput
from tailrace.formats.dispatch import TaskId
from tailrace.formats.limits import MAX_ERROR_BYTES, MAX_TAIL_LINE_BYTES, MAX_TAIL_LINES
from tailrace.formats.schema import Violation
from tailrace.protomap import from_mapping
from tailrace.v1 import run_pb2, run_spec_pb2, stage_pb2


def acquire_from_proto(request: stage_pb2.AcquireStageRequest) -> Acquire:
    """Return a delivery. Raises ``InvalidInput``."""
    task_id = TaskId(request.run_uid, request.stage, request.attempt)
    if id_violations("slot", request.slot):
        raise InvalidInput(id_violations("slot", request.slot))
    if parse_task_id(str(task_id)) is None:
        raise InvalidInput.field(
            "run_uid", f"{str(task_id)[:200]!r} is not a delivery of this control plane"
        )
    return Acquire(
        task_id=task_id,
        acquire_id=request.acquire_id,
        worker_id=parse_worker_name(request.worker),
        slot=request.slot,
        secret=request.worker_secret,
    )


def answer_to_proto(answer: Answer, lease_seconds: float) -> stage_pb2.AcquireStageResponse:
    """Return the message of the answer to a delivery."""
    match answer:
        case Order() as order:
            return stage_pb2.AcquireStageResponse(run=_order(order, lease_seconds))
        case Continue(successor):
            response = stage_pb2.AcquireStageResponse()
            # `continue` is a keyword of Python, so it cannot be named in a call.
            chain = stage_pb2.ChainContinue(successor_task_id=str(successor))
            getattr(response, "continue").CopyFrom(chain)
            return response
        case Stop(reason):
            return stage_pb2.AcquireStageResponse(stop=stage_pb2.ChainStop(reason=reason))


def completion_from_proto(request: stage_pb2.CompleteStageRequest) -> Completion:
    """Return the report of a completed stage. Raises ``InvalidInput``."""
    return Completion(
        token=request.lease_token,
        result=plain(request.result, "result"),
        artifacts=[
            NewArtifact(
                kind_from_proto(artifact.kind, f"artifacts[{i}].kind"),
                files_from_proto(artifact.files),
            )
            for i, artifact in enumerate(request.artifacts)
        ],
        last_event_sequence=request.last_event_sequence,
        successor_task_id=request.successor_task_id,
    )


def error_from_proto(error: run_pb2.StageError) -> StageError:
    """Return an attempt's error, its texts cut to size. Raises ``InvalidInput``."""
    violations = []
    if not re.fullmatch(r"[A-Z][A-Z0-9_]{0,62}", error.reason):
        violations.append(Violation("error.reason", f"{error.reason[:80]!r} is not UPPER_SNAKE"))
    if not 1 <= error.code <= 16:
        violations.append(
            Violation("error.code", f"{error.code} is not an error's google.rpc.Code")
        )
    if violations:
        raise InvalidInput(violations)
    return StageError(
        code=error.code,
        reason=error.reason,
        message=clean_line(error.message, MAX_ERROR_BYTES),
        retryable=error.retryable,
        exit_code=error.exit_code if error.HasField("exit_code") else None,
        signal=clean_line(error.signal, 32),
        log_tail=[
            clean_line(line, MAX_TAIL_LINE_BYTES) for line in error.log_tail[-MAX_TAIL_LINES:]
        ],
    )


def directive_to_proto(directive: Directive) -> stage_pb2.Directive.ValueType:
    """Return the enum value of a directive."""
    number: stage_pb2.Directive.ValueType = enum_to_proto(stage_pb2.Directive, directive)
    return number


def decision_to_proto(*, proceed: bool) -> stage_pb2.CompleteStageResponse:
    """Return the message that lets the chain continue or stops it."""
    decision = enum_to_proto(stage_pb2.ChainDecision, "CONTINUE" if proceed else "STOP")
    return stage_pb2.CompleteStageResponse(decision=decision)


def _order(order: Order, lease_seconds: float) -> stage_pb2.StageOrder:
    return stage_pb2.StageOrder(
        lease_token=str(order.lease),
        lease_duration=duration(lease_seconds),
        run=order.run.name,
        project=order.run.project,
        kind=enum_to_proto(run_pb2.StageKind, order.stage.kind),
        spec=from_mapping(
            run_spec_pb2.RunSpec,
            {**order.run.stored_spec.mapping, "template_date": order.run.template_date},
        ),
        inputs=map(artifact_to_proto, order.inputs.artifacts),
        named_inputs=map(_named, order.inputs.named),
        checkpoint=None if order.checkpoint is None else artifact_to_proto(order.checkpoint),
        successor_task_id="" if order.successor is None else str(order.successor),
    )


def _named(named: NamedInput) -> stage_pb2.NamedInput:
    return stage_pb2.NamedInput(
        role=enum_to_proto(stage_pb2.InputRole, named.role),
        judge=named.judge,
        artifact=artifact_to_proto(named.artifact),
        eval_set=named.eval_set,
    )

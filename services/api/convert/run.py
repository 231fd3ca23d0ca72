"""Runs with their stages, attempts and history."""

from __future__ import annotations

import dataclasses

from google.protobuf.unknown_fields import UnknownFieldSet

from services.api.convert.shorten import shorten
from services.api.convert.values import EnumType, enum_name, enum_to_proto, timestamp
from services.domain.errors import InvalidInput
from services.domain.run import Transition
from services.domain.stage import Attempt, StageError
from services.domain.worker import worker_name
from services.usecases.runs.view import RunView, StageView
from tailrace.formats.schema import Violation
from tailrace.protomap import from_stored
from tailrace.v1 import evaluation_pb2, run_pb2, run_spec_pb2


def run_to_proto(view: RunView) -> run_pb2.Run:
    """Return the message of a run, shortened if it exceeds the message limit of clients."""
    return shorten(_run(view))


def _run(view: RunView) -> run_pb2.Run:
    run = view.run
    return run_pb2.Run(
        name=run.name,
        uid=run.uid,
        spec=from_stored(run_spec_pb2.RunSpec, run.spec),
        resolved_spec=from_stored(run_spec_pb2.RunSpec, run.stored_spec.mapping),
        state=enum_to_proto(run_pb2.RunState, run.state),
        stages=[_stage(stage) for stage in view.stages],
        revision=run.revision,
        error=_error(view.error),
        create_time=timestamp(run.create_time),
        start_time=timestamp(run.start_time),
        end_time=timestamp(run.end_time),
        update_time=timestamp(run.update_time),
        gates=[from_stored(run_pb2.GateResult, gate) for gate in run.gates or []],
        history=[_transition(transition) for transition in view.history],
    )


def _stage(view: StageView) -> run_pb2.Stage:
    stage = view.stage
    numbers = [attempt.number for attempt in view.attempts]
    progress = stage.progress
    return run_pb2.Stage(
        id=stage.stage_id,
        kind=enum_to_proto(run_pb2.StageKind, stage.kind),
        state=enum_to_proto(run_pb2.StageState, stage.state),
        pool=stage.pool,
        attempt=stage.attempt if numbers or stage.start_time else 0,
        attempts=[_attempt(attempt) for attempt in view.attempts],
        progress=None if progress is None else run_pb2.Progress(**dataclasses.asdict(progress)),
        error=_error(stage.error),
        result=(
            None if stage.result is None else from_stored(evaluation_pb2.StageResult, stage.result)
        ),
        waiting_reason=view.waiting_reason,
        cached_from=stage.cached_from,
        queue_time=timestamp(stage.queue_time),
        start_time=timestamp(stage.start_time),
        end_time=timestamp(stage.end_time),
    )


def _attempt(attempt: Attempt) -> run_pb2.Attempt:
    return run_pb2.Attempt(
        number=attempt.number,
        state=enum_to_proto(run_pb2.AttemptState, attempt.state),
        worker=worker_name(attempt.worker_id),
        slot=attempt.slot,
        start_time=timestamp(attempt.start_time),
        end_time=timestamp(attempt.end_time),
        error=_error(attempt.error),
        checkpoint_step=attempt.checkpoint_step,
        log_lines=attempt.log_lines,
        log_digest=attempt.log_digest,
    )


def _error(error: StageError | None) -> run_pb2.StageError | None:
    return None if error is None else run_pb2.StageError(**dataclasses.asdict(error))


def _transition(transition: Transition) -> run_pb2.Transition:
    states: EnumType = run_pb2.StageState if transition.stage else run_pb2.RunState
    return run_pb2.Transition(
        time=timestamp(transition.time),
        stage=transition.stage,
        from_state=enum_name(states, transition.from_state) if transition.from_state else "",
        to_state=enum_name(states, transition.to_state),
        reason=transition.reason,
        actor=transition.actor,
    )


def refuse_old_fields(spec: run_spec_pb2.RunSpec) -> None:
    """Raise :class:`InvalidInput` for keys that clients of earlier releases put into ``sft``.

    Protobuf keeps them as unknown fields, so that they would be dropped without a word.
    """
    if len(UnknownFieldSet(spec.train.sft)):
        moved = "has fields of an older client: keys such as batch_size are keys of train now"
        raise InvalidInput([Violation("spec.train.sft", moved)])

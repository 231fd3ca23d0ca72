"""Messages of runs and workers from the domain."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from services.api.convert.plain import timestamp
from services.api.convert.shorten import fitted
from services.domain.event import MetricPoint
from services.domain.run import RunState, Transition
from services.domain.stage import Attempt, Stage, StageError, StageState
from services.domain.worker import worker_name
from services.storage.rows.logs import Head
from services.usecases.fleet.workers import WorkerView
from services.usecases.runs.view import RunView, StageView
from tailrace.protomap import from_stored
from tailrace.v1 import evaluation_pb2, run_pb2, run_spec_pb2, worker_pb2


def run_to_proto(view: RunView) -> run_pb2.Run:
    """The message of a run; shortened where it is larger than clients take."""
    return fitted(_run(view))


def _run(view: RunView) -> run_pb2.Run:
    run = view.run
    return run_pb2.Run(
        name=run.name,
        uid=run.uid,
        spec=from_stored(run_spec_pb2.RunSpec, run.spec),
        resolved_spec=from_stored(run_spec_pb2.RunSpec, run.resolved_spec),
        state=run_pb2.RunState.Value(_run_state(run.state)),
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


def prediction_to_proto(body: dict[str, Any]) -> evaluation_pb2.Prediction:
    """The message of a prediction."""
    return fitted(from_stored(evaluation_pb2.Prediction, body))


def verdict_to_proto(body: dict[str, Any]) -> evaluation_pb2.Verdict:
    """The message of a verdict."""
    return fitted(from_stored(evaluation_pb2.Verdict, body))


def log_lines(
    first_sequence: int, records: Iterable[list[Any]], *, min_level: int = 0, contains: str = ""
) -> list[run_pb2.LogLine]:
    """Consecutive log lines, from their records, as far as level and text are asked for."""
    return [
        run_pb2.LogLine(
            sequence=sequence,
            time=Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1000),
            level=level,
            text=text,
        )
        for sequence, (micros, level, text) in enumerate(records, start=first_sequence)
        if level >= min_level and contains in text
    ]


def log_end(head: Head | None, cached_from: str) -> run_pb2.LogEnd | None:
    """The end marker of a log, if it has ended."""
    if head is None:
        return None
    return run_pb2.LogEnd(line_count=head.count, digest=head.digest, cached_from=cached_from)


def metric_point(point: MetricPoint) -> run_pb2.MetricPoint:
    """One point of a curve."""
    return run_pb2.MetricPoint(
        name=point.name, step=point.step, value=point.value, time=timestamp(point.time)
    )


def worker_to_proto(view: WorkerView) -> worker_pb2.Worker:
    """The message of a worker."""
    worker = view.worker
    slots = [from_stored(worker_pb2.Slot, slot) for slot in worker.slots]
    for slot in slots:
        slot.stage = view.occupied.get(slot.id, "")
    message = worker_pb2.Worker(
        name=worker_name(worker.worker_id),
        state=worker_pb2.WorkerState.Value(f"WORKER_STATE_{worker.state}"),
        hostname=worker.hostname,
        pools=worker.pools,
        slots=slots,
        versions=worker.versions,
        judges=worker.judges,
        protocol_version=worker.protocol_version,
        register_time=timestamp(worker.register_time),
        heartbeat_time=timestamp(worker.heartbeat_time),
        broker_error=worker.broker_error,
        drained=worker.drained,
    )
    return fitted(message)


def kind_name(stage: Stage) -> str:
    """The enum name of a stage's kind."""
    return f"STAGE_KIND_{stage.kind.name}"


def _stage(view: StageView) -> run_pb2.Stage:
    stage = view.stage
    numbers = [attempt.number for attempt in view.attempts]
    progress = stage.progress
    return run_pb2.Stage(
        id=stage.stage_id,
        kind=run_pb2.StageKind.Value(kind_name(stage)),
        state=run_pb2.StageState.Value(_stage_state(stage.state)),
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
        state=run_pb2.AttemptState.Value(f"ATTEMPT_STATE_{attempt.state}"),
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
    name = _stage_state if transition.stage else _run_state
    return run_pb2.Transition(
        time=timestamp(transition.time),
        stage=transition.stage,
        from_state=name(transition.from_state) if transition.from_state else "",
        to_state=name(transition.to_state),
        reason=transition.reason,
    )


def _run_state(state: RunState | str) -> str:
    return f"RUN_STATE_{state}"


def _stage_state(state: StageState | str) -> str:
    return f"STAGE_STATE_{state}"

"""Batches of events from stage processes."""

from __future__ import annotations

from services.api.convert.artifact import files_from_proto
from services.api.convert.evaluation import evaluation_from_proto
from services.api.convert.log import line_from_proto, lines_from_proto
from services.api.convert.metric import metric_from_proto
from services.domain.errors import InvalidInput
from services.domain.event import CheckpointSaved, Event, ReferenceSaved, RolloutsSaved, clean_line
from services.domain.stage import Progress
from services.request_limits import find_violations
from services.usecases.stages.publish import Batch
from tailrace.formats.limits import MAX_ID
from tailrace.formats.listing import is_sha256
from tailrace.formats.schema import Violation
from tailrace.v1 import run_pb2, stage_pb2


def batch_from_proto(request: stage_pb2.PublishEventsRequest) -> Batch:
    """Return a batch of events; raise ``InvalidInput`` with the fields of the first wrong event."""
    events = [
        line_from_proto(event.log, i) if event.HasField("log") else _event(event, f"events[{i}]")
        for i, event in enumerate(request.events)
    ]
    return Batch(request.lease_token, request.first_sequence, events)


def log_batch_from_proto(request: stage_pb2.PublishEventsRequest) -> Batch | None:
    """Return a batch of valid log lines only; ``None`` for any other batch."""
    lines = lines_from_proto(request.events)
    return None if lines is None else Batch(request.lease_token, request.first_sequence, lines)


def _event(event: stage_pb2.StageEvent, field: str) -> Event:
    match event.WhichOneof("event"):
        case "metric":
            return metric_from_proto(event.metric, f"{field}.metric")
        case "progress":
            return _progress(event.progress, f"{field}.progress")
        case "checkpoint":
            checkpoint = event.checkpoint
            _require_saved(checkpoint, f"{field}.checkpoint")
            return CheckpointSaved(checkpoint.step, files_from_proto(checkpoint.files))
        case "rollouts":
            rollouts = event.rollouts
            _require_saved(rollouts, f"{field}.rollouts")
            return RolloutsSaved(rollouts.step, files_from_proto(rollouts.files))
        case "reference":
            reference = event.reference
            violations = find_violations(reference, f"{field}.reference")
            if not is_sha256(reference.key):
                violations.append(Violation(f"{field}.reference.key", "must be a sha256 in hex"))
            if violations:
                raise InvalidInput(violations)
            return ReferenceSaved(reference.key, files_from_proto(reference.files))
        case "prediction":
            return evaluation_from_proto(event.prediction, f"{field}.prediction")
        case "verdict":
            return evaluation_from_proto(event.verdict, f"{field}.verdict")
        case _:
            raise InvalidInput.field(field, "holds no event that this server knows")


def _require_saved(saved: stage_pb2.CheckpointSaved | stage_pb2.RolloutsSaved, field: str) -> None:
    """Raise ``InvalidInput`` for a checkpoint or rollouts with wrong fields."""
    violations = find_violations(saved, field)
    if saved.step < 0:
        violations.append(Violation(f"{field}.step", "must not be negative"))
    if violations:
        raise InvalidInput(violations)


def _progress(progress: run_pb2.Progress, field: str) -> Progress:
    if not 0 <= progress.done <= progress.total:
        raise InvalidInput.field(
            field, f"must not exceed its total: {progress.done} of {progress.total}"
        )
    return Progress(progress.done, progress.total, clean_line(progress.unit, MAX_ID))

"""Messages of the control plane for events and log lines of the stage process."""

from __future__ import annotations

import time

import structlog
from google.protobuf import timestamp_pb2

from tailrace.formats.limits import MAX_GROUPS, RESULT_BYTES
from tailrace.formats.schema import to_mapping
from tailrace.formats.stage_protocol import (
    LogEvent,
    LogLevel,
    MetricEvent,
    PredictionEvent,
    ProgressEvent,
    ResultEvent,
    VerdictEvent,
)
from tailrace.protomap import from_mapping
from tailrace.v1 import evaluation_pb2, run_pb2, stage_pb2

_log = structlog.get_logger(__name__)

Storable = LogEvent | MetricEvent | ProgressEvent | PredictionEvent | VerdictEvent
"""Events that are sent immediately; the others end the attempt or need an upload first."""

_LEVELS = {
    LogLevel.DEBUG: run_pb2.LOG_LEVEL_DEBUG,
    LogLevel.INFO: run_pb2.LOG_LEVEL_INFO,
    LogLevel.WARNING: run_pb2.LOG_LEVEL_WARNING,
    LogLevel.ERROR: run_pb2.LOG_LEVEL_ERROR,
}


def log_line_event(text: str, level: LogLevel = LogLevel.INFO) -> stage_pb2.StageEvent:
    """Return the message of a log line with the current time; ``text`` must be a storable line."""
    return stage_pb2.StageEvent(
        log=stage_pb2.LogRecord(time=_timestamp(time.time()), level=_LEVELS[level], text=text)
    )


def stage_event(event: Storable) -> stage_pb2.StageEvent:
    """Return the message of an event; the text of a log event must be a storable line."""
    if isinstance(event, LogEvent):
        return log_line_event(event.text, event.level)
    if isinstance(event, MetricEvent):
        point = run_pb2.MetricPoint(
            name=event.name, step=event.step, value=event.value, time=_timestamp(event.time)
        )
        return stage_pb2.StageEvent(metric=point)
    if isinstance(event, ProgressEvent):
        progress = run_pb2.Progress(done=event.done, total=event.total, unit=event.unit)
        return stage_pb2.StageEvent(progress=progress)
    if isinstance(event, PredictionEvent):
        prediction = from_mapping(evaluation_pb2.Prediction, to_mapping(event.prediction))
        return stage_pb2.StageEvent(prediction=prediction)
    verdict = from_mapping(evaluation_pb2.Verdict, to_mapping(event.verdict))
    return stage_pb2.StageEvent(verdict=verdict)


def stage_result(event: ResultEvent) -> evaluation_pb2.StageResult:
    """Return the stage's result for CompleteStage.

    If the scores have more groups than the message may hold, the last groups of each score are left
    out with a warning: they can be computed from the verdicts.
    """
    mapping = to_mapping(event)
    mapping.pop("artifacts", None)
    message = from_mapping(evaluation_pb2.StageResult, mapping)
    scores = message.judge.scores if message.HasField("judge") else []
    counts = [len(score.groups) for score in scores]
    most = max(counts, default=0) if sum(counts) <= MAX_GROUPS else MAX_GROUPS // len(counts)
    while True:
        for score in scores:
            del score.groups[most:]
        if not most or message.ByteSize() <= RESULT_BYTES:
            break
        most //= 2
    left_out = sum(counts) - sum(len(score.groups) for score in scores)
    if left_out:
        _log.warning("groups were left out of the scores", count=left_out, per_score=most)
    return message


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    moment = timestamp_pb2.Timestamp()
    moment.FromNanoseconds(int(seconds * 1e9))
    return moment

from __future__ import annotations

import pytest

from tailrace.formats.results import InferResult, TrainResult
from tailrace.formats.schema import SpecError, parse
from tailrace.formats.spec.run_spec import RunSpec, StageKind
from tailrace.formats.stage_protocol import (
    ArtifactKind,
    CheckpointEvent,
    ErrorEvent,
    Event,
    LogEvent,
    LogLevel,
    MetricEvent,
    OutputArtifact,
    ProgressEvent,
    ResultEvent,
    StageInputs,
    StageJob,
    StoppedEvent,
    decode_event,
    decode_job,
    encode_event,
    encode_job,
)

SPEC = parse(
    RunSpec,
    {"dataset": "d", "model": {"preset": "gpt2-nano"}, "train": {"max_steps": 3}},
)


@pytest.mark.parametrize(
    "event",
    [
        LogEvent("zażółć\u2028", LogLevel.WARNING),
        MetricEvent("loss", 3, 0.25, 1.5),
        ProgressEvent(1, 2, "steps"),
        CheckpointEvent(100, "checkpoints/step-100"),
        ResultEvent(
            [OutputArtifact(ArtifactKind.MODEL, "final_model")],
            train=TrainResult(1, 2.0, 1.0, 3, 0, 10, 30, 0.5),
        ),
        StoppedEvent(True),
        ErrorEvent("EMPTY_DATASET", "no traces", True),
    ],
)
def test_events_round_trip_on_one_line(event: Event) -> None:
    line = encode_event(event)
    assert "\n" not in line
    assert decode_event(line) == event


@pytest.mark.parametrize(
    "line", ["", "[]", "{}", '{"log": {"text": "a"}, "x": 1}', '{"unknown": {}}', "plain text"]
)
def test_other_lines_are_not_events(line: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_event(line)


def test_a_result_event_holds_exactly_one_result() -> None:
    assert ResultEvent(infer=InferResult(1)).violations("") == []
    with pytest.raises(SpecError):
        decode_event('{"result": {}}')


def test_a_job_round_trips() -> None:
    job = StageJob(
        "runs/a", "train", 2, StageKind.TRAIN, SPEC, StageInputs(dataset="/d"), "/out", 2
    )
    assert decode_job(encode_job(job)) == job

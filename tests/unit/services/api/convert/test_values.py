from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from services.api.convert.values import plain, time, timestamp
from services.domain.errors import InvalidInput
from tailrace.v1 import evaluation_pb2, run_pb2, run_spec_pb2


def test_nul_is_replaced_everywhere() -> None:
    message = evaluation_pb2.Prediction(text="a\0b")
    assert plain(message, "x") == {"text": "a\N{REPLACEMENT CHARACTER}b"}
    spec = run_spec_pb2.RunSpec(labels={"a\0": "\0"})
    replaced = "\N{REPLACEMENT CHARACTER}"
    assert plain(spec, "x") == {"labels": {f"a{replaced}": replaced}}


def test_every_number_that_is_not_finite_is_named() -> None:
    scores = [
        evaluation_pb2.JudgeScore(score=float("nan")),
        evaluation_pb2.JudgeScore(score=0.5, marker_rate=float("inf")),
    ]
    message = evaluation_pb2.StageResult(judge=evaluation_pb2.JudgeResult(scores=scores))
    with pytest.raises(InvalidInput) as error:
        plain(message, "result")
    assert [v.field for v in error.value.violations] == [
        "result.judge.scores[0].score",
        "result.judge.scores[1].marker_rate",
    ]


def test_times_out_of_range_are_bad_input() -> None:
    far = Timestamp(seconds=2**60)
    with pytest.raises(InvalidInput, match="events"):
        time(far, "events[0].log.time")
    with pytest.raises(InvalidInput, match="point"):
        plain(run_pb2.MetricPoint(time=far), "point")
    moment = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    message = timestamp(moment)
    assert message is not None
    assert time(message, "t") == moment
    assert timestamp(None) is None

"""Event lines as messages."""

from __future__ import annotations

import time

import pytest

from services.request_limits import check_request
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.data.verdict import Outcome, Verdict
from tailrace.formats.limits import request_bytes
from tailrace.formats.results import (
    GroupKey,
    InferResult,
    JudgeResult,
    JudgeScore,
    ScoreGroup,
    TrainResult,
)
from tailrace.formats.stage_protocol import (
    ArtifactKind,
    LogEvent,
    LogLevel,
    MetricEvent,
    OutputArtifact,
    PredictionEvent,
    ProgressEvent,
    ResultEvent,
    VerdictEvent,
)
from tailrace.v1 import evaluation_pb2, run_pb2, stage_pb2
from workers.events.messages import stage_event, stage_result


@pytest.mark.parametrize("level", list(LogLevel))
def test_every_level_has_its_number(level: LogLevel) -> None:
    record = stage_event(LogEvent("text", level)).log
    assert run_pb2.LogLevel.Name(record.level) == f"LOG_LEVEL_{level.name}"
    assert record.text == "text"
    assert abs(record.time.ToNanoseconds() / 1e9 - time.time()) < 5


def test_metrics_keep_their_time_and_progress_its_unit() -> None:
    point = stage_event(MetricEvent("loss", 3, 0.25, 1_700_000_000.5)).metric
    assert (point.name, point.step, point.value) == ("loss", 3, 0.25)
    assert point.time.ToNanoseconds() == 1_700_000_000_500_000_000
    progress = stage_event(ProgressEvent(1, 9, "steps")).progress
    assert (progress.done, progress.total, progress.unit) == (1, 9, "steps")


def test_predictions_and_verdicts_keep_every_field() -> None:
    prediction = Prediction(
        "eval_v1", "7", ModelRole.BASE, "p", "", FinishReason.ERROR, 3, 0, 2, error="too long"
    )
    answer = Prediction(
        "eval_v1", "7", ModelRole.BASE, "p", "ok", FinishReason.EOS, 3, 2, 0, [5, 0], [-0.5, -1.25]
    )
    message = stage_event(PredictionEvent(answer)).prediction
    assert (list(message.token_ids), list(message.logprobs)) == ([5, 0], [-0.5, -1.25])
    assert stage_event(PredictionEvent(prediction)).prediction == evaluation_pb2.Prediction(
        eval_set="eval_v1",
        example_id="7",
        model_role=evaluation_pb2.MODEL_ROLE_BASE,
        sample=2,
        prompt="p",
        finish_reason=evaluation_pb2.FINISH_REASON_ERROR,
        error="too long",
        prompt_tokens=3,
    )
    verdict = Verdict(
        "eval_v1", "7", ModelRole.TRAINED, "j", "1", Outcome.PASS, "2", "equal", 1, 1.0, "2"
    )
    assert stage_event(VerdictEvent(verdict)).verdict == evaluation_pb2.Verdict(
        eval_set="eval_v1",
        example_id="7",
        model_role=evaluation_pb2.MODEL_ROLE_TRAINED,
        sample=1,
        judge="j",
        version="1",
        outcome=evaluation_pb2.OUTCOME_PASS,
        score=1.0,
        expected="2",
        extracted="2",
        reason="equal",
    )


def test_each_result_comes_without_its_folders() -> None:
    folders = [OutputArtifact(ArtifactKind.MODEL, "final_model")]
    train = TrainResult(
        steps=5, first_loss=5.5, last_loss=0.1, examples=9, held_out=1, parameters=7, tokens=8,
        seconds=2.5, resumed_from_step=3, model_digest="ab",
    )  # fmt: skip
    message = stage_result(ResultEvent(folders, train=train)).train
    assert (message.steps, message.resumed_from_step, message.model_digest) == (5, 3, "ab")
    assert stage_result(ResultEvent(infer=InferResult(4, 1))).infer.errors == 1
    score = JudgeScore("j", "1", "eval_v1", ModelRole.TRAINED, 1, 2, score=0.5)
    result_of_judge = stage_result(ResultEvent(judge=JudgeResult([score]))).judge
    assert result_of_judge.scores[0].score == 0.5
    assert not result_of_judge.scores[0].HasField("interval_low")
    empty = stage_result(ResultEvent(judge=JudgeResult()))
    assert empty.WhichOneof("result") == "judge"


@pytest.mark.parametrize(("scores", "groups"), [(2, 9000), (20, 600), (1, 6000)])
def test_a_result_of_very_many_groups_is_one_that_is_taken(scores: int, groups: int) -> None:
    group_count = 40
    parts = [
        ScoreGroup(by=GroupKey.CATEGORY, value=f"{'語' * 60}{i}", passed=1, total=1)
        for i in range(groups)
    ]
    score = JudgeScore(judge="j", version="1", eval_set="s", model_role=ModelRole.TRAINED,
                       passed=1, total=1, errors=0, groups=parts)  # fmt: skip
    message = stage_result(ResultEvent(judge=JudgeResult(scores=[score] * scores)))
    assert {len(s.groups) for s in message.judge.scores} == {len(message.judge.scores[0].groups)}
    assert len(message.judge.scores[0].groups) > group_count
    request = stage_pb2.CompleteStageRequest(result=message)
    check_request(request)
    assert request.ByteSize() < request_bytes("CompleteStageRequest")

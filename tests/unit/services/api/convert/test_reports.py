from __future__ import annotations

from typing import Any

import pytest

from services.api.convert.evaluation import prediction_to_proto
from services.api.convert.events import batch_from_proto
from services.api.convert.stage import acquire_from_proto, error_from_proto
from services.api.convert.worker import register_from_proto
from services.domain.errors import InvalidInput
from services.domain.event import CheckpointSaved, Evaluation, LogLevel, LogLine
from services.domain.stage import Progress
from tailrace.formats.limits import MAX_TAIL_LINE_BYTES
from tailrace.v1 import artifact_pb2, evaluation_pb2, run_pb2, stage_pb2, worker_pb2


def event(**body: Any) -> stage_pb2.StageEvent:
    return stage_pb2.StageEvent(**body)


def batch(*events: stage_pb2.StageEvent) -> list[Any]:
    return list(batch_from_proto(stage_pb2.PublishEventsRequest(events=events)).events)


def verdict(**changes: Any) -> evaluation_pb2.Verdict:
    fields: dict[str, Any] = {
        "eval_set": "eval_v1",
        "example_id": "a",
        "model_role": evaluation_pb2.MODEL_ROLE_TRAINED,
        "judge": "j",
        "outcome": evaluation_pb2.OUTCOME_PASS,
    }
    return evaluation_pb2.Verdict(**{**fields, **changes})


def test_every_kind_of_event_is_understood() -> None:
    file = artifact_pb2.ArtifactFile(path="a", sha256="0" * 64, size_bytes=1)
    log, progress, checkpoint, evaluation = batch(
        event(log=stage_pb2.LogRecord(text="x", level=run_pb2.LOG_LEVEL_ERROR)),
        event(progress=run_pb2.Progress(done=1, total=2, unit="steps")),
        event(checkpoint=stage_pb2.CheckpointSaved(step=3, files=[file])),
        event(verdict=verdict(sample=1)),
    )
    assert isinstance(log, LogLine)
    assert log.level == LogLevel.ERROR
    assert progress == Progress(1, 2, "steps")
    assert isinstance(checkpoint, CheckpointSaved)
    assert isinstance(evaluation, Evaluation)
    assert (evaluation.key, evaluation.judge) == (("eval_v1", "a", "trained", 1), "j")


@pytest.mark.parametrize(
    "parts",
    [
        {"answer": "b"},
        {"reasoning": "a", "answer": "b", "thinking_closed": True},
        {"reasoning": "a", "answer": "", "thinking_closed": False},
        {},
    ],
)
def test_thinking_and_answer_are_stored_as_they_came(parts: dict[str, Any]) -> None:
    message = evaluation_pb2.Prediction(
        eval_set="s",
        example_id="a",
        model_role=evaluation_pb2.MODEL_ROLE_BASE,
        prompt="p",
        text="<think>a</think>b",
        finish_reason=evaluation_pb2.FINISH_REASON_EOS,
        **parts,
    )
    (stored,) = batch(event(prediction=message))
    assert prediction_to_proto(stored.body) == message


def test_a_level_that_nobody_knows_is_info() -> None:
    record = stage_pb2.LogRecord(text="x")
    assert batch(event(log=record))[0].level == LogLevel.INFO
    record.level = run_pb2.LogLevel.ValueType(77)
    assert batch(event(log=record))[0].level == LogLevel.INFO


@pytest.mark.parametrize(
    ("bad", "fields"),
    [
        (event(), {"events[0]"}),
        (event(progress=run_pb2.Progress(done=3, total=2)), {"events[0].progress"}),
        (event(checkpoint=stage_pb2.CheckpointSaved(step=-1)), {"events[0].checkpoint.step"}),
        (event(metric=run_pb2.MetricPoint(step=1)), {"events[0].metric.name"}),
        (
            event(metric=run_pb2.MetricPoint(name="loss", value=float("inf"))),
            {"events[0].metric.value"},
        ),
        (
            event(prediction=evaluation_pb2.Prediction(example_id="x" * 129)),
            {
                "events[0].prediction.eval_set",
                "events[0].prediction.model_role",
                "events[0].prediction.example_id",
            },
        ),
        (event(verdict=verdict(judge="")), {"events[0].verdict.judge"}),
        (event(verdict=verdict(outcome=0)), {"events[0].verdict.outcome"}),
    ],
)
def test_wrong_events_are_named_with_their_place(
    bad: stage_pb2.StageEvent, fields: set[str]
) -> None:
    with pytest.raises(InvalidInput) as error:
        batch(bad)
    assert {v.field for v in error.value.violations} == fields


def test_errors_are_cut_to_size() -> None:
    message = run_pb2.StageError(
        code=13,
        reason="STAGE_CRASHED",
        message="x" * 100_000,
        exit_code=0,
        log_tail=[f"{i}" + "y" * 5000 for i in range(50)],
    )
    error = error_from_proto(message)
    assert len(error.message) == 16 * 1024
    assert error.exit_code == 0
    assert len(error.log_tail) == 20
    assert error.log_tail[-1].startswith("49y")
    assert {len(line) for line in error.log_tail} == {MAX_TAIL_LINE_BYTES}
    with pytest.raises(InvalidInput) as wrong:
        error_from_proto(run_pb2.StageError(code=99, reason="it broke"))
    assert {v.field for v in wrong.value.violations} == {"error.code", "error.reason"}


def test_deliveries_that_cannot_be_ours_are_refused() -> None:
    good = stage_pb2.AcquireStageRequest(
        run_uid="0" * 32, stage="train", attempt=1, acquire_id="a", worker="workers/w", slot="cpu-0"
    )
    assert acquire_from_proto(good).task_id.attempt == 1
    for field, value in (
        ("run_uid", "x"),
        ("stage", "tr\0ain"),
        ("attempt", 0),
        ("worker", "w"),
        ("slot", "\0"),
    ):
        bad = stage_pb2.AcquireStageRequest()
        bad.CopyFrom(good)
        setattr(bad, field, value)
        with pytest.raises(InvalidInput):
            acquire_from_proto(bad)


def test_a_registration_says_nothing_about_what_slots_run() -> None:
    slot = worker_pb2.Slot(id="cpu-0", cores=[0, 1], stage="runs/forged/stages/train")
    command = register_from_proto(
        stage_pb2.RegisterWorkerRequest(worker_id="w", hostname="h\0", slots=[slot])
    )
    assert command.slots == [{"id": "cpu-0", "cores": [0, 1]}]
    assert "\0" not in command.hostname


def test_unknown_values_of_a_newer_worker_are_left_unset_or_refused() -> None:
    prediction = evaluation_pb2.Prediction(
        eval_set="s",
        example_id="1",
        model_role=evaluation_pb2.MODEL_ROLE_TRAINED,
        finish_reason=99,  # type: ignore[arg-type]
    )
    (stored,) = batch(event(prediction=prediction))
    assert "finish_reason" not in stored.body
    with pytest.raises(InvalidInput, match="must be one of OUTCOME_PASS"):
        batch(event(verdict=verdict(outcome=99)))
    with pytest.raises(InvalidInput, match=r"verdict.judge: contains a NUL"):
        batch(event(verdict=verdict(judge="a\0b")))

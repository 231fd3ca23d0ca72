from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.protobuf import timestamp_pb2

from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.protomap import spec_to_proto
from tailrace.v1 import artifact_pb2, evaluation_pb2, run_pb2

HOSTILE = (
    "</script></style><script>alert(1)</script><img src=http://h/x onerror=alert(2)>\x00\x1b[2J"
)
"""Text that a model could have written."""

_START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.fixture
def finished(plane: Any, spec: dict[str, Any]) -> run_pb2.Run:
    """The run ``demo`` with everything that a report shows."""
    run = run_pb2.Run(name="runs/demo", uid="u1", state=run_pb2.RUN_STATE_SUCCEEDED, revision=9)
    run.resolved_spec.CopyFrom(spec_to_proto(parse(RunSpec, spec)))
    run.spec.CopyFrom(run.resolved_spec)
    run.create_time.CopyFrom(_at(0))
    run.start_time.CopyFrom(_at(5))
    run.end_time.CopyFrom(_at(95))
    run.history.add(time=_at(5), to_state="RUN_STATE_RUNNING", reason="the train stage started")
    _add_train(run)
    _add_judge(run)
    gate = run.gates.add(name="good-enough", outcome="GATE_OUTCOME_FAILED", value=0.6)
    gate.reason = "0.6 is below the minimum 0.7"
    plane.runs.runs[run.name] = run
    plane.runs.predictions, plane.runs.verdicts = _answers()
    plane.runs.points = _points()
    note = {"provenance.json": b'{"environment": {"python": "3.11.7"}}'}
    plane.artifacts.add(artifact_pb2.ARTIFACT_KIND_METRICS, note)
    return run


def _at(seconds: float) -> timestamp_pb2.Timestamp:
    timestamp = timestamp_pb2.Timestamp()
    timestamp.FromDatetime(_START + timedelta(seconds=seconds))
    return timestamp


def _add_train(run: run_pb2.Run) -> None:
    train = run.stages.add(id="train", state=run_pb2.STAGE_STATE_SKIPPED, pool="cpu")
    train.cached_from = "runs/earlier/stages/train"
    result = train.result.train
    result.first_loss, result.last_loss, result.steps, result.model_digest = 5.5, 0.5, 40, "d1" * 32
    result.best_step, result.best_eval_loss = 20, 1.25
    result.overlong = 1203
    infer = run.stages.add(id="infer", state=run_pb2.STAGE_STATE_SUCCEEDED, pool="cpu", attempt=2)
    lost = infer.attempts.add(number=1, worker="workers/w1", state=run_pb2.ATTEMPT_STATE_EXPIRED)
    lost.error.reason, lost.error.message = "LEASE_EXPIRED", "no heartbeat for 30 s"
    infer.attempts.add(
        number=2,
        worker="workers/w2",
        state=run_pb2.ATTEMPT_STATE_SUCCEEDED,
        start_time=_at(40),
        end_time=_at(81),
        log_lines=12,
        log_digest="ab" * 32,
    )


def _add_judge(run: run_pb2.Run) -> None:
    stage = run.stages.add(id="judge", state=run_pb2.STAGE_STATE_SUCCEEDED, pool="cpu")
    result = stage.result.judge
    for role, passed, low, high in (("TRAINED", 15, 0.407, 0.766), ("BASE", 5, 0.089, 0.391)):
        score = result.scores.add(judge="answer_correctness", version="3", eval_set="eval_v1")
        score.model_role = f"MODEL_ROLE_{role}"
        score.passed, score.total, score.errors = passed, 25, 1
        score.score, score.interval_low, score.interval_high = passed / 25, low, high
        score.error_low, score.error_high = low - 0.02, high + 0.02
        score.minimum_detectable_difference = 0.28
        for value, part in (("geometry", 3), ("arithmetic", 9)):
            group = score.groups.add(by="GROUP_KEY_CATEGORY", value=value, passed=part, total=12)
            group.score, group.low, group.high = part / 12, part / 12 - 0.15, part / 12 + 0.15
        score.groups.add(by="GROUP_KEY_CATEGORY", value="dates", errors=1)
    result.scores.add(judge="contains", version="1", eval_set="empty", model_role=1)
    lift = result.comparisons.add(judge="answer_correctness", eval_set="eval_v1")
    lift.kind, lift.test = "COMPARISON_KIND_LIFT", "PAIRED_TEST_MCNEMAR"
    lift.wins, lift.losses, lift.ties = 11, 1, 13
    lift.difference, lift.low, lift.high, lift.p_value = 0.4, 0.18, 0.62, 0.0063


def _answers() -> tuple[list[evaluation_pb2.Prediction], list[evaluation_pb2.Verdict]]:
    texts = {"a": "Answer: 2", "b": HOSTILE, "c": "", "d": "Answer: 9\nSo it is."}
    predictions = [
        evaluation_pb2.Prediction(
            eval_set="eval_v1",
            example_id=item,
            model_role="MODEL_ROLE_TRAINED",
            prompt=f"Question {item}?",
            text=text,
            error="" if text else "the context is used up",
        )
        for item, text in texts.items()
    ]
    verdicts = [
        evaluation_pb2.Verdict(
            eval_set="eval_v1",
            example_id=item,
            model_role="MODEL_ROLE_TRAINED",
            judge="answer_correctness",
            outcome=f"OUTCOME_{outcome}",
            score=None if outcome == "ERROR" else float(outcome == "PASS"),
            expected="2",
            reason=f"reason {item}",
        )
        for item, outcome in (("a", "PASS"), ("b", "FAIL"), ("c", "ERROR"))
    ]
    return predictions, verdicts


def _points() -> list[run_pb2.MetricPoint]:
    """A loss that an attempt measured again from step 30 on, and some of the held-out part."""
    loss = [(step, 5.5 * 0.93**step) for step in (*range(1, 36), *range(30, 41))]
    held_out = [(10, 2.9), (20, 1.25), (30, 1.6), (40, 1.9)]
    curves = (("loss", loss), ("eval_loss", held_out))
    return [
        run_pb2.MetricPoint(name=name, step=step, value=value)
        for name, points in curves
        for step, value in points
    ]

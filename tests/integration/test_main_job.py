"""The main job over real servers and processes: train, infer, judge, and everything read back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from transformers import AutoConfig, AutoTokenizer

from tailrace import transfer
from tailrace.v1 import artifact_pb2, evaluation_pb2, run_pb2
from tests.integration.follow import until_terminal
from tests.integration.specs import small, stage_states, state
from tests.stack import Stack


@pytest.fixture(scope="session")
def finished(stack: Stack) -> run_pb2.Run:
    """A run that went through all three stages."""
    with stack.client() as client:
        run = client.create_run(small(20, labels={"test": "main-job"}))
        return until_terminal(client, run.name)


def test_every_stage_succeeds_with_a_result(stack: Stack, finished: run_pb2.Run) -> None:
    assert state(finished) == "succeeded", finished
    assert stage_states(finished) == dict.fromkeys(("train", "infer", "judge"), "succeeded")
    train, infer, judge = (stage.result for stage in finished.stages)
    assert train.train.steps == 20
    assert train.train.last_loss < train.train.first_loss
    assert infer.infer.predictions == 13
    assert infer.infer.errors == 0
    (score,) = judge.judge.scores
    assert score.total == 13
    assert 0 <= score.interval_low <= score.score <= score.interval_high <= 1
    assert [len(stage.attempts) for stage in finished.stages] == [1, 1, 1]


def test_the_history_names_every_transition(finished: run_pb2.Run) -> None:
    moves = [(t.stage, t.from_state, t.to_state) for t in finished.history]
    for stage in ("train", "infer", "judge"):
        own = [move[2] for move in moves if move[0] == stage]
        # The first stage is queued from the start.
        queued = [] if stage == "train" else ["STAGE_STATE_QUEUED"]
        assert own == [*queued, "STAGE_STATE_RUNNING", "STAGE_STATE_SUCCEEDED"]
    whole = [move[2] for move in moves if not move[0]]
    assert whole == ["RUN_STATE_QUEUED", "RUN_STATE_RUNNING", "RUN_STATE_SUCCEEDED"]


def test_logs_are_contiguous_and_match_the_stored_digest(
    stack: Stack, finished: run_pb2.Run
) -> None:
    with stack.client() as client:
        batches = list(client.stream_logs(finished.name))
    for stage in finished.stages:
        own = [batch for batch in batches if batch.stage == stage.id]
        lines = [line for batch in own for line in batch.lines]
        assert [line.sequence for line in lines] == list(range(1, len(lines) + 1))
        digest = b""
        for line in lines:
            digest = hashlib.sha256(digest + line.text.encode()).digest()
        (end,) = [batch.end for batch in own if batch.HasField("end")]
        assert (end.line_count, end.digest) == (len(lines), digest.hex() if lines else "")
        assert stage.attempts[-1].log_lines == len(lines)
    assert any(batch.lines for batch in batches if batch.stage == "train")


def test_metrics_hold_the_loss_of_every_step(stack: Stack, finished: run_pb2.Run) -> None:
    with stack.client() as client:
        batches = list(client.stream_metrics(finished.name, metric_names=["loss"]))
    points = [point for batch in batches for point in batch.points]
    assert [point.step for point in points] == list(range(1, 21))
    assert points[0].value == pytest.approx(finished.stages[0].result.train.first_loss)


def test_predictions_and_verdicts_are_listed_and_agree(stack: Stack, finished: run_pb2.Run) -> None:
    with stack.client() as client:
        predictions = list(client.list_predictions(finished.name))
        verdicts = list(client.list_verdicts(finished.name))
        passed = list(client.list_verdicts(finished.name, outcome="pass"))
    keys = [(p.eval_set, p.example_id, p.sample) for p in predictions]
    assert keys == [(v.eval_set, v.example_id, v.sample) for v in verdicts]
    assert len(set(keys)) == 13
    (score,) = finished.stages[2].result.judge.scores
    assert len(passed) == score.passed
    outcomes = {v.outcome for v in verdicts}
    assert outcomes <= {evaluation_pb2.OUTCOME_PASS, evaluation_pb2.OUTCOME_FAIL}


def test_the_model_comes_back_as_a_folder_that_transformers_opens(
    stack: Stack, finished: run_pb2.Run, tmp_path: Path
) -> None:
    with stack.client() as client:
        (model,) = client.list_artifacts(finished.name, kind="model")
        transfer.download_artifact(client.channel, model, tmp_path / "model")
    weights = (tmp_path / "model/model.safetensors").read_bytes()
    digest = hashlib.sha256(weights).hexdigest()
    assert digest == finished.stages[0].result.train.model_digest
    assert AutoConfig.from_pretrained(tmp_path / "model").model_type == "gpt2"
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    assert tokenizer.chat_template
    assert json.loads((tmp_path / "model/config.json").read_text())["n_layer"] == 4


def test_every_kind_of_artifact_is_recorded(stack: Stack, finished: run_pb2.Run) -> None:
    with stack.client() as client:
        kinds = {artifact.kind for artifact in client.list_artifacts(finished.name)}
    names = {artifact_pb2.ArtifactKind.Name(kind) for kind in kinds}
    made = ("CHECKPOINT", "METRICS", "MODEL", "PREDICTIONS", "SPLIT", "VERDICTS")
    assert {f"ARTIFACT_KIND_{kind}" for kind in made} <= names


def test_watching_a_finished_run_sends_it_once(stack: Stack, finished: run_pb2.Run) -> None:
    with stack.client() as client:
        seen = list(client.watch_run(finished.name))
    assert [run.revision for run in seen] == [finished.revision]


def test_runs_are_found_by_label_and_state(stack: Stack, finished: run_pb2.Run) -> None:
    with stack.client() as client:
        found = list(client.list_runs(filter='labels.test = "main-job" AND state = SUCCEEDED'))
        none = list(client.list_runs(filter='labels.test = "main-job" AND state = FAILED'))
    assert [run.name for run in found] == [finished.name]
    assert none == []


def test_the_same_request_id_gives_the_same_run(stack: Stack) -> None:
    with stack.client() as client:
        before = len(list(client.list_runs()))
        checked = client.create_run(small(), validate_only=True)
        assert checked.resolved_spec.dataset == "golden-v2@1"
        assert len(list(client.list_runs())) == before

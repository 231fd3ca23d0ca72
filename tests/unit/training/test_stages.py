"""Stages on files that a worker has laid out, in this process."""

from __future__ import annotations

from pathlib import Path

from tailrace.formats.jsonl import write_records
from tailrace.formats.prediction import Prediction
from tailrace.formats.schema import parse
from tailrace.formats.stage_job import EvalSetInput, StageJob, decode_job, encode_job
from training.observer import Observer
from training.stages import run_stage


def test_predictions_for_an_imported_eval_set_are_judged(tmp_path: Path) -> None:
    items = tmp_path / "eval_set.jsonl"
    items.write_text('{"id": "a", "prompt": "2 + 2?", "expected_answer": "4"}\n')
    prediction = {
        "eval_set": "mine@2",
        "example_id": "a",
        "model_role": "base",
        "prompt": "2 + 2?",
        "text": "Answer: 4",
        "finish_reason": "eos",
        "prompt_tokens": 3,
        "completion_tokens": 3,
    }
    write_records(tmp_path / "made/predictions.jsonl", [parse(Prediction, prediction)])
    spec = {
        "model": {"source": "gpt2"},
        "infer": {"eval_sets": ["mine@2"]},
        "judges": [{"name": "answer_correctness"}],
    }
    job = {
        "run": "runs/r",
        "stage": "judge",
        "attempt": 1,
        "kind": "judge",
        "spec": spec,
        "inputs": {
            "predictions": str(tmp_path / "made"),
            "eval_sets": [{"name": "mine@2", "file": str(items)}],
        },
        "output_dir": str(tmp_path / "out"),
        "threads": 1,
    }
    sent = decode_job(encode_job(parse(StageJob, job)))
    assert sent.inputs.eval_sets == [EvalSetInput("mine@2", str(items))]
    result = run_stage(sent, Observer())
    assert result.judge is not None
    (score,) = result.judge.scores
    assert (score.eval_set, score.passed, score.total) == ("mine@2", 1, 1)

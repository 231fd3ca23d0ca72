"""Stages on files that a worker has laid out, in this process."""

from __future__ import annotations

from pathlib import Path

from tailrace.formats.data.golden import write_golden_v2
from tailrace.formats.data.jsonl import write_records
from tailrace.formats.data.prediction import Prediction
from tailrace.formats.data.split import HELD_OUT, eval_items, split_records
from tailrace.formats.schema import parse
from tailrace.formats.stage_protocol import EvalSetInput, StageJob, decode_job, encode_job
from training.data.datasets import load_dataset
from training.observer import Observer
from training.stage.kinds import run_stage


def test_answers_to_what_was_trained_on_are_told_as_leaked(tmp_path: Path) -> None:
    write_golden_v2(tmp_path)
    dataset = tmp_path / "golden-v2/dataset.jsonl"
    split = split_records(load_dataset(dataset), 0.2, 42)
    (tmp_path / "split").mkdir()
    (tmp_path / "split/split.json").write_text(split.dump())
    items = {"dataset:train": eval_items(split.train), HELD_OUT: eval_items(split.held_out)}
    predictions = [
        parse(
            Prediction,
            {
                "eval_set": name,
                "example_id": item.id,
                "model_role": "trained",
                "prompt": item.prompt,
                "text": f"Answer: {item.expected_answer}",
                "finish_reason": "eos",
                "prompt_tokens": 3,
                "completion_tokens": 3,
            },
        )
        for name, of_set in items.items()
        for item in of_set
    ]
    write_records(tmp_path / "made/predictions.jsonl", predictions)
    job = {
        "run": "runs/r",
        "stage": "judge",
        "attempt": 1,
        "kind": "judge",
        "spec": {
            "model": {"preset": "gpt2-nano"},
            "dataset": "golden-v2",
            "train": {"max_steps": 1, "eval_fraction": 0.2},
            "infer": {"eval_sets": list(items)},
            "judges": [{"name": "answer_correctness"}],
        },
        "inputs": {
            "predictions": str(tmp_path / "made"),
            "dataset": str(dataset),
            "split": str(tmp_path / "split"),
        },
        "output_dir": str(tmp_path / "out"),
        "threads": 1,
    }
    result = run_stage(parse(StageJob, job), Observer())
    assert result.judge is not None
    leaked = {score.eval_set: score.leaked for score in result.judge.scores}
    assert leaked == {"dataset:train": len(items["dataset:train"]), HELD_OUT: 0}
    assert leaked["dataset:train"] > 0


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

"""Output of an evaluation: a summary, predictions.jsonl, and traces parsed from the answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tailrace.formats.canonical import canonical_json
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import write_records
from tailrace.formats.data.prediction import FinishReason, Prediction
from tailrace.formats.data.thinking import TAG
from tailrace.formats.results import InferResult
from tailrace.formats.schema import to_mapping
from training.data.rendering import parse_response
from training.evalsets import EvalSets


def summarize(
    predictions: Sequence[Prediction], seconds: float, template_date: str | None = None
) -> InferResult:
    """Return the summary of an INFER stage that took ``seconds``.

    ``template_date`` is the date that a chat template with a clock read.
    """
    return InferResult(
        predictions=len(predictions),
        errors=sum(p.finish_reason is FinishReason.ERROR for p in predictions),
        completion_tokens=sum(p.completion_tokens for p in predictions),
        seconds=round(seconds, 3),
        template_date=template_date,
    )


def write_predictions(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write predictions.jsonl. Raises :class:`OSError`."""
    write_records(path, predictions)


def write_eval_traces(path: Path, predictions: Sequence[Prediction], eval_sets: EvalSets) -> None:
    """Write eval_results.jsonl: each prediction as a trace. Raises :class:`OSError`.

    The lines have the fields of a trace. Steps and answer come from the model, so either may be
    empty, which a training example forbids. Thinking becomes steps; thinking that never ends leaves
    no answer. Items without markers have their whole answer, without any step after the thinking.
    """
    questions = {(name, q.id): q for name, eval_set in eval_sets.items() for q in eval_set}
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for prediction in predictions:
            question = questions[prediction.eval_set, prediction.example_id]
            file.write(canonical_json(_eval_trace(prediction, question)) + "\n")


def _eval_trace(prediction: Prediction, question: EvalItem) -> dict[str, object]:
    split = prediction.split
    response = parse_response(prediction.text if question.marked else split.reasoning)
    lines = [step for step in response.steps if not TAG.fullmatch(step.content)]
    steps = [dataclasses.replace(step, i=i) for i, step in enumerate(lines)]
    answer = response.answer if question.marked else (split.answer or "").strip()
    return {
        "id": prediction.example_id,
        "prompt": prediction.prompt,
        "steps": [to_mapping(step) for step in steps],
        "answer": "" if split.closed is False else answer,
        "metadata": {
            "eval_set": prediction.eval_set,
            "model_role": prediction.model_role.value,
            "sample": prediction.sample,
            "expected_answer": question.expected_answer,
            "finish_reason": prediction.finish_reason.value,
            "error": prediction.error,
            "text": prediction.text,
        },
    }

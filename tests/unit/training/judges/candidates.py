"""Candidates for judges under test."""

from __future__ import annotations

from typing import Any

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.endpoint_access import EndpointAccess
from tailrace.formats.schema import parse
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.judges import Candidate, Judge, JudgeError, JudgeSetup, TextVerdict, make_judge


def judge_of(spec: dict[str, Any], access: EndpointAccess | None = None) -> Judge:
    setup = JudgeSetup(parse(JudgeSpec, spec), access=access or EndpointAccess())
    return make_judge(setup)


def prediction(text: str, role: ModelRole = ModelRole.TRAINED, **changes: Any) -> Prediction:
    fields: dict[str, Any] = {
        "eval_set": "s",
        "example_id": "i",
        "model_role": role,
        "prompt": "p",
        "text": text,
        "finish_reason": FinishReason.EOS,
        "prompt_tokens": 1,
        "completion_tokens": 1,
    }
    return Prediction(**fields | changes)


def candidate(text: str, other: str | None = None, **item: Any) -> Candidate:
    eval_item = EvalItem(**{"id": "i", "prompt": "p", "expected_answer": "5"} | item)
    opponent = None if other is None else prediction(other, ModelRole.BASE)
    return Candidate(eval_item, prediction(text), opponent)


def judge_one(judge: Judge, text: str, **item: Any) -> TextVerdict:
    (verdict,) = judge.judge_all([candidate(text, **item)])
    assert isinstance(verdict, TextVerdict), verdict
    return verdict


def refused(judge: Judge, text: str, **item: Any) -> str:
    (error,) = judge.judge_all([candidate(text, **item)])
    assert isinstance(error, JudgeError), error
    return str(error)

from __future__ import annotations

import dataclasses

import pytest

from tailrace.formats.data.jsonl import dump_record
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.data.thinking import SplitText
from tailrace.formats.schema import SpecError, parse, to_mapping

PREDICTION = Prediction(
    eval_set="dataset:train",
    example_id="a",
    model_role=ModelRole.TRAINED,
    prompt="p",
    text="",
    finish_reason=FinishReason.EOS,
    prompt_tokens=3,
    completion_tokens=1,
)


def test_round_trip() -> None:
    assert parse(Prediction, to_mapping(PREDICTION)) == PREDICTION
    assert '"finish_reason":"eos"' in dump_record(PREDICTION)


def test_an_error_goes_with_its_finish_reason() -> None:
    data = to_mapping(PREDICTION)
    for wrong in ({"error": "boom"}, {"finish_reason": "error"}):
        with pytest.raises(SpecError, match="goes with finish_reason error"):
            parse(Prediction, {**data, **wrong})
    parse(Prediction, {**data, "error": "boom", "finish_reason": "error"})


def test_thinking_and_answer_are_read_back() -> None:
    thinks = dataclasses.replace(
        PREDICTION, text="<think>a</think>b", reasoning="a", answer="b", thinking_closed=True
    )
    assert parse(Prediction, to_mapping(thinks)) == thinks
    assert thinks.split == SplitText("a", "b", True)
    endless = dataclasses.replace(PREDICTION, reasoning="a", answer="", thinking_closed=False)
    assert endless.split == SplitText("a", None, False)


def test_predictions_of_earlier_releases_are_split_when_they_are_read() -> None:
    old = parse(Prediction, to_mapping(PREDICTION) | {"text": "<think>a</think>b"})
    assert (old.answer, old.thinking_closed) == (None, None)
    assert old.split == SplitText("a", "b", True)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import read_records
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.spec.run_spec import InferSpec
from tests.unit.training.conftest import TINY
from training.errors import ModelConfigError, NoAnswersError, StoppedError
from training.generate.output import write_eval_traces
from training.generate.predict import Evaluated, evaluate_folder, predict
from training.loop.final_model import save_folder
from training.models.family import Model, Params
from training.models.registry import model_from_config
from training.observer import Observer, StopRequest

SETS = {
    "one": [
        EvalItem(id="long", prompt="x " * 80, expected_answer="1"),
        EvalItem(id="a", prompt="What is 82 + 15?", expected_answer="97"),
        EvalItem(id="b", prompt="Hi", expected_answer="hi"),
    ],
    "two": [EvalItem(id="a", prompt="Bye", expected_answer="bye")],
}
SPEC = InferSpec(max_new_tokens=6, batch_size=2)


@pytest.fixture
def folder(tmp_path: Path, model: Model, params: Params, tokenizer: Any) -> Path:
    save_folder(tmp_path / "model", model, params, tokenizer)
    return tmp_path / "model"


def test_a_prediction_for_every_item_in_order(folder: Path, tmp_path: Path, recorder: Any) -> None:
    seen = recorder()
    output, path = tmp_path / "out" / "eval_results.jsonl", tmp_path / "predictions.jsonl"
    predictions, result = evaluate_folder(folder, SETS, SPEC, ModelRole.BASE, output, path, seen)
    keys = [(p.eval_set, p.example_id) for p in predictions]
    assert keys == [("one", "long"), ("one", "a"), ("one", "b"), ("two", "a")]
    assert read_records(Prediction, path) == predictions
    assert {p.model_role for p in predictions} == {ModelRole.BASE}
    assert predictions[0].finish_reason is FinishReason.ERROR
    assert "no room in the model's context" in predictions[0].error
    assert all(1 <= p.completion_tokens <= 6 for p in predictions[1:])
    assert (result.predictions, result.errors) == (4, 1)
    assert result.completion_tokens == sum(p.completion_tokens for p in predictions)
    assert sorted(seen.predictions, key=keys_of) == sorted(predictions, key=keys_of)
    assert seen.done[0] == (0, 4, "predictions")
    assert seen.done[-1] == (4, 4, "predictions")
    assert len(output.read_text().splitlines()) == 4


def test_predictions_that_are_all_errors_fail(folder: Path, tmp_path: Path, recorder: Any) -> None:
    path = tmp_path / "predictions.jsonl"
    sets = {"one": [SETS["one"][0], EvalItem(id="b", prompt="y " * 80, expected_answer="1")]}
    with pytest.raises(NoAnswersError, match=r"all 2 predictions .* one/long: .*no room"):
        evaluate_folder(folder, sets, SPEC, ModelRole.BASE, tmp_path / "e.jsonl", path, recorder())
    assert len(read_records(Prediction, path)) == 2


def keys_of(prediction: Prediction) -> tuple[str, str]:
    return prediction.eval_set, prediction.example_id


def test_a_tokenizer_of_another_model_is_refused(tokenizer: Any, recorder: Any) -> None:
    small = model_from_config({**TINY, "vocab_size": 60})
    with pytest.raises(ModelConfigError, match="but the model embeds 60 tokens only"):
        predict(Evaluated(small, small.init(0), tokenizer), SETS, SPEC, ModelRole.BASE, recorder())


def test_stops_between_batches(model: Model, params: Params, tokenizer: Any, recorder: Any) -> None:
    seen = recorder(StopRequest.CANCEL, 2)
    with pytest.raises(StoppedError):
        predict(Evaluated(model, params, tokenizer), SETS, SPEC, ModelRole.TRAINED, seen)
    assert 2 <= len(seen.predictions) < 4


def test_eval_traces_hold_what_the_model_wrote(tmp_path: Path) -> None:
    def prediction(id: str, text: str) -> Prediction:
        return Prediction("one", id, ModelRole.TRAINED, "p", text, FinishReason.EOS, 1, 1)

    path = tmp_path / "eval_results.jsonl"
    written = [
        prediction("a", "82 + 15 = 97\nAnswer: 97"),
        prediction("b", "only words"),
        prediction("a", "<think>\nAnswer: 96?\n</think>\n\nAnswer: 97"),
        prediction("b", "<think>\nAnswer: 96"),
    ]
    write_eval_traces(path, written, SETS)
    first, second, thinks, endless = (json.loads(line) for line in path.read_text().splitlines())
    assert [step["content"] for step in thinks["steps"]] == ["Answer: 96?"]
    assert (thinks["steps"][0]["i"], thinks["answer"], endless["answer"]) == (0, "97", "")
    assert first["steps"] == [{"i": 0, "type": "generated", "content": "82 + 15 = 97"}]
    assert first["answer"] == "97"
    assert first["metadata"]["expected_answer"] == "97"
    assert first["metadata"]["eval_set"] == "one"
    assert second["steps"] == [{"i": 0, "type": "generated", "content": "only words"}]
    assert second["answer"] == ""


def test_greedy_predictions_repeat(model: Model, params: Params, tokenizer: Any) -> None:
    evaluated = Evaluated(model, params, tokenizer)
    first, second = (
        predict(evaluated, SETS, SPEC, ModelRole.TRAINED, Observer()) for _ in range(2)
    )
    assert first == second

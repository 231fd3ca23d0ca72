from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import read_records
from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.spec.run_spec import InferSpec
from tests.unit.training.conftest import TINY
from training.errors import DataError, ModelConfigError, NoAnswersError, StoppedError
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


def test_eval_traces_without_markers_hold_the_whole_answer(tmp_path: Path) -> None:
    text = "<think>France.</think>\n\nParis.\nAnswer: no"
    path = tmp_path / "eval_results.jsonl"
    sets = {"one": [EvalItem(id="a", prompt="p", expected_answer="x", marked=False)]}
    write_eval_traces(
        path, [Prediction("one", "a", ModelRole.BASE, "p", text, FinishReason.EOS, 1, 1)], sets
    )
    (trace,) = map(json.loads, path.read_text().splitlines())
    assert trace["answer"] == "Paris.\nAnswer: no"
    assert [step["content"] for step in trace["steps"]] == ["France."]


TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CHAT = EvalItem(
    id="c",
    messages=[
        Message(Role.USER, "Add 1 and 2."),
        Message(Role.ASSISTANT, tool_calls=[ToolCall(ToolFunction("add", {"a": 1, "b": 2}))]),
        Message(Role.TOOL, "3"),
    ],
    tools=[TOOL],
    expected_answer="3",
)
TEMPLATE = (
    "{% for t in tools or [] %}{{ t.function.name }}|{% endfor %}"
    "{% for m in messages %}{{ m.role }}:{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{{ eos_token }}{% endfor %}"
    "{% if add_generation_prompt %}bot:{{ opens }}{% endif %}"
)


def evaluated_with(
    model: Model, params: Params, tokenizer: Any, opens: str, **settings: Any
) -> Evaluated:
    tokenizer.chat_template = TEMPLATE
    return Evaluated(model, params, tokenizer, kwargs={"opens": opens}, **settings)


def test_prompts_are_rendered_with_tools_and_variables(
    model: Model, params: Params, tokenizer: Any
) -> None:
    evaluated = evaluated_with(model, params, tokenizer, "now")
    written = evaluated.chat.written(evaluated.prompt_tokens(CHAT))
    eos = tokenizer.eos_token
    assert written == f"add|user:Add 1 and 2.{eos}assistant:add{eos}tool:3{eos}bot:now"
    tokens = evaluated.prompt_tokens(EvalItem(id="q", prompt="Hi"))
    assert evaluated.chat.written(tokens) == f"user:Hi{eos}bot:now"


def test_special_tokens_are_allowed_in_prompts_of_the_dataset_alone(
    model: Model, params: Params, tokenizer: Any
) -> None:
    evaluated = evaluated_with(model, params, tokenizer, "", allow_special_tokens=True)
    item = EvalItem(id="q", prompt=f"Hi {tokenizer.eos_token}")
    counts = [
        evaluated.prompt_tokens(item, name).count(tokenizer.eos_token_id)
        for name in ("dataset:train", "dataset:held_out", "eval_v1")
    ]
    assert counts == [2, 2, 1]


def test_conversations_are_predicted_and_shown_as_transcripts(
    model: Model, params: Params, tokenizer: Any
) -> None:
    evaluated = evaluated_with(model, params, tokenizer, "")
    (prediction,) = predict(evaluated, {"s": [CHAT]}, SPEC, ModelRole.BASE, Observer())
    assert prediction.prompt == CHAT.shown_prompt
    assert (prediction.answer, prediction.thinking_closed) == (prediction.text, None)
    assert (prediction.reasoning, prediction.error) == ("", "")


def test_thinking_that_the_prompt_opens_is_open_until_it_is_closed(
    model: Model, params: Params, tokenizer: Any
) -> None:
    evaluated = evaluated_with(model, params, tokenizer, "<think>\n")
    (prediction,) = predict(evaluated, {"s": [CHAT]}, SPEC, ModelRole.BASE, Observer())
    assert "</think>" not in prediction.text
    assert (prediction.answer, prediction.thinking_closed) == ("", False)
    assert prediction.reasoning == prediction.text.strip()
    (failed,) = predict(evaluated, {"s": [SETS["one"][0]]}, SPEC, ModelRole.BASE, Observer())
    assert failed.error
    assert failed.thinking_closed is None


def test_stored_predictions_of_other_conversations_are_not_reused(
    model: Model, params: Params, tokenizer: Any
) -> None:
    evaluated = evaluated_with(model, params, tokenizer, "")
    stored = predict(evaluated, {"s": [CHAT]}, SPEC, ModelRole.BASE, Observer())
    marked = [replace(stored[0], text="stored")]
    again = predict(evaluated, {"s": [CHAT]}, SPEC, ModelRole.BASE, Observer(), stored=marked)
    assert again == marked
    # The same transcript, rendered in another way.
    other = replace(CHAT, tools=[])
    assert other.shown_prompt == CHAT.shown_prompt
    anew = predict(evaluated, {"s": [other]}, SPEC, ModelRole.BASE, Observer(), stored=marked)
    assert anew[0].text != "stored"


def test_a_template_that_refuses_conversations_says_which(
    model: Model, params: Params, tokenizer: Any
) -> None:
    tokenizer.chat_template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}"
        "{% endif %}{{ m.content }}{% endfor %}"
    )
    evaluated = Evaluated(model, params, tokenizer)
    complaint = r"cannot take 1 of 2 prompts: .*model\.chat_template.* first is s/c: .*no tools"
    with pytest.raises(DataError, match=complaint):
        predict(evaluated, {"s": [CHAT, SETS["one"][2]]}, SPEC, ModelRole.BASE, Observer())


def test_greedy_predictions_repeat(model: Model, params: Params, tokenizer: Any) -> None:
    evaluated = Evaluated(model, params, tokenizer)
    first, second = (
        predict(evaluated, SETS, SPEC, ModelRole.TRAINED, Observer()) for _ in range(2)
    )
    assert first == second

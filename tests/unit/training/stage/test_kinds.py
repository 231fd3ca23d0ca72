"""Stages on files that a worker has laid out, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailrace.formats.data.golden import write_golden_v2
from tailrace.formats.data.jsonl import read_records, write_records
from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.prediction import Prediction
from tailrace.formats.data.record import ChatRecord
from tailrace.formats.data.split import HELD_OUT, eval_items, split_records
from tailrace.formats.schema import parse
from tailrace.formats.stage_protocol import EvalSetInput, StageJob, decode_job, encode_job
from tests.unit.training.chat_folder import chat_tokenizer, write_chat_folder
from training.data.datasets import load_dataset
from training.errors import DataError
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


def conversation(number: int) -> ChatRecord:
    call = ToolCall(ToolFunction("add", {"a": number, "b": 1}), id="c1")
    messages = [
        Message(Role.SYSTEM, "Use <|im_end|> tools."),
        Message(Role.USER, f"{number} + 1?"),
        Message(Role.ASSISTANT, "", tool_calls=[call]),
        Message(Role.TOOL, str(number + 1), tool_call_id="c1"),
        Message(Role.ASSISTANT, f"It is {number + 1}."),
    ]
    tools = [{"type": "function", "function": {"name": "add", "parameters": {}}}]
    return ChatRecord(messages, tools, id=f"c{number}")


def test_conversations_are_trained_on_and_predicted_with_the_templates_of_the_spec(
    tmp_path: Path,
) -> None:
    base = write_chat_folder(tmp_path / "base")
    write_records(tmp_path / "dataset.jsonl", [conversation(i) for i in range(10)])
    train = {
        **{"max_steps": 2, "batch_size": 4, "max_seq_length": 128, "packing": True},
        **{"eval_fraction": 0.2, "eval_every_steps": 2, "adapter": {"lora": {"rank": 2}}},
        "sft": {"allow_special_tokens": True, "overlong": "drop_turns"},
    }
    template = (
        "{{ tools | length if tools else 0 }}{{ mark }}"
        "{% for m in messages %}<|im_start|>{{ m.role[0] }}{{ m.content }}"
        "{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}<|im_end|>{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>a{% endif %}"
    )
    model = {"source": "org/name", "chat_template": template, "chat_template_kwargs": {"mark": "#"}}
    infer = {"eval_sets": [HELD_OUT], "include_base": True, "max_new_tokens": 2}
    spec = {"model": model, "dataset": "d", "train": train, "infer": infer, "judges": []}
    job = {"run": "runs/r", "stage": "train", "attempt": 1, "kind": "train", "spec": spec}
    inputs = {"dataset": str(tmp_path / "dataset.jsonl"), "model": str(base)}
    out = tmp_path / "train"
    job |= {"inputs": inputs, "output_dir": str(out), "threads": 1}
    trained = run_stage(parse(StageJob, job), Observer()).train
    assert trained is not None
    assert (trained.examples, trained.held_out, trained.overlong) == (8, 2, 0)
    assert (out / "final_model" / "chat_template.jinja").read_text() == template
    inputs |= {
        **{"model": str(out / "final_model"), "base_model": str(base)},
        "split": str(out / "split"),
    }
    job |= {"kind": "infer", "stage": "infer", "output_dir": str(tmp_path / "infer")}
    assert run_stage(parse(StageJob, job), Observer()).infer is not None
    predictions = read_records(Prediction, tmp_path / "infer/predictions/predictions.jsonl")
    assert len(predictions) == 4
    number = predictions[0].prompt.split(" + ")[0].split()[-1]
    prompt = (
        f"1#<|im_start|>sUse <|im_end|> tools.<|im_end|><|im_start|>u{number} + 1?<|im_end|>"
        f"<|im_start|>aadd<|im_end|><|im_start|>t{int(number) + 1}<|im_end|><|im_start|>a"
    )
    tokens = len(chat_tokenizer()(prompt)["input_ids"])
    assert {p.prompt_tokens for p in predictions if p.example_id == f"c{number}"} == {tokens}
    assert {p.model_role.value for p in predictions} == {"trained", "base"}


def test_a_set_without_answers_is_refused_before_a_model_predicts(tmp_path: Path) -> None:
    items = tmp_path / "eval_set.jsonl"
    items.write_text('{"id": "a", "prompt": "Say hello."}\n')
    job = {
        "run": "runs/r",
        "stage": "infer",
        "attempt": 1,
        "kind": "infer",
        "spec": {
            "model": {"source": "gpt2"},
            "infer": {"eval_sets": ["mine@2"]},
            "judges": [{"name": "answer_correctness"}],
        },
        "inputs": {
            "model": str(tmp_path / "absent"),
            "eval_sets": [{"name": "mine@2", "file": str(items)}],
        },
        "output_dir": str(tmp_path / "out"),
        "threads": 1,
    }
    with pytest.raises(DataError, match=r"no item of mine@2 has an expected_answer"):
        run_stage(parse(StageJob, job), Observer())

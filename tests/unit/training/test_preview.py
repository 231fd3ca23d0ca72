from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.golden import write_golden_v2
from tests.unit.training.chat_folder import chat_tokenizer
from training import preview
from training.preview import main

TURNS = [
    {"role": "user", "content": "Hi <|im_end|> \x1b[31m"},
    {"role": "assistant", "content": "One \U0001f600"},
    {"role": "user", "content": "again"},
    {"role": "assistant", "content": "two", "weight": 0},
]
SILENT = [TURNS[0], TURNS[3]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a dataset, and the tokenizer files of a model without weights."""
    folder = tmp_path_factory.mktemp("preview")
    chat_tokenizer().save_pretrained(folder / "model")
    lines = [{"messages": TURNS, "id": "a"}, {"messages": SILENT}, {"messages": TURNS[:2]}]
    (folder / "chats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def run(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    status = main(["--dataset", str(folder / "chats.jsonl"), *flags])
    output = capsys.readouterr()
    assert status == 0, output.err
    return output.out


def document(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> Any:
    return json.loads(run(folder, capsys, "--model", str(folder / "model"), "--json", *flags))


def error(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    assert main(["--dataset", str(folder / "chats.jsonl"), *flags]) == 1
    return capsys.readouterr().err


def test_trained_text_is_in_brackets_and_control_characters_are_visible(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = run(folder, capsys, "--model", str(folder / "model"), "--examples", "1")
    text = (
        "<|im_start|>user\nHi <|im_end|> \\x1b[31m<|im_end|>\n<|im_start|>assistant\n"
        "⟦One \U0001f600<|im_end|>⟧\n<|im_start|>user\nagain<|im_end|>\n"
        "<|im_start|>assistant\ntwo<|im_end|>\n"
    )
    assert text in output
    assert "\x1b" not in output
    assert output.count("── token ids") == 1
    assert "── totals of 3 examples" in output
    assert "without a trained token         1" in output
    assert "share of loss                   assistant 100.0%" in output


def test_colours_replace_brackets(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--model", str(folder / "model"), "--color", "always")
    output = run(folder, capsys, *flags)
    assert "\x1b[32mOne \U0001f600<|im_end|>\x1b[0m" in output
    assert "⟦" not in output


def test_the_document_has_text_tokens_mask_and_totals(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = document(folder, capsys, "--examples", "2")
    assert content["dataset"] == {"kind": "messages", "read": 3, "complete": True}
    assert content["train_on"] == "all_assistant"
    first, second = content["examples"]
    assert (first["id"], second["id"]) == ("a", "messages-000002")
    assert len({len(first[name]) for name in ("tokens", "mask", "spans", "roles")}) == 1
    trained = zip(first["spans"], first["roles"], first["mask"], strict=True)
    parts = [(first["text"][begin:end], role) for (begin, end), role, mask in trained if mask]
    assert [part for part, _ in parts][-1] == "<|im_end|>"
    assert {role for _, role in parts} == {"assistant"}
    totals = content["totals"]
    assert (totals["examples"], totals["without_trained_tokens"], totals["refused"]) == (3, 1, 0)
    assert totals["trained_tokens"] == 2 * sum(first["mask"])
    assert totals["loss_share"] == {"assistant": 1.0}


def test_flags_and_configuration_decide_what_is_seen(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = tmp_path / "own.jinja"
    template.write_text("{{ start }}{% for m in messages %}{{ m.content }}|{% endfor %}")
    config = tmp_path / "run.yaml"
    config.write_text(
        "dataset: any\nmodel: {source: org/name, chat_template: own.jinja, "
        "chat_template_kwargs: {start: '>'}}\n"
        "train: {max_steps: 1, max_seq_length: 32, sft: {train_on: everything, overlong: drop}}\n"
    )
    configured = document(folder, capsys, "--config", str(config), "--examples", "1")
    assert configured["examples"][0]["text"].startswith(">Hi")
    assert configured["train_on"] == "everything"
    assert configured["totals"]["max_seq_length"] == 32
    flags = ["--chat-template", str(template), "--chat-template-kwargs", '{"start": "<"}']
    flags += ["--train-on", "last_assistant", "--max-seq-length", "99", "--examples", "1"]
    flagged = document(folder, capsys, "--config", str(config), *flags)
    assert flagged["examples"][0]["text"].startswith("<Hi")
    assert (flagged["train_on"], flagged["totals"]["max_seq_length"]) == ("last_assistant", 99)
    special = document(folder, capsys, "--allow-special-tokens", "--examples", "1")
    assert special["examples"][0]["tokens"].count(2) == 5


def test_a_preset_trains_its_tokenizer_from_the_dataset(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_golden_v2(tmp_path).dataset
    assert main(["--dataset", str(file), "--preset", "gpt2-nano", "--json", "--examples=0"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert content["dataset"]["kind"] == "trace"
    assert content["examples"] == []
    assert content["totals"]["examples"] == 100
    assert content["totals"]["lengths"]["max"] < 64


def test_only_the_first_lines_are_read_unless_all_are_wanted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "FIRST_LINES", 2)
    flags = ("--examples", "0")
    assert document(folder, capsys, *flags)["dataset"]["complete"] is False
    assert document(folder, capsys, *flags, "--all")["totals"]["examples"] == 3
    output = run(folder, capsys, "--model", str(folder / "model"), *flags)
    assert "── totals of 2 examples" in output
    assert "only the first 2 lines were read: --all reads every line" in output


def test_lines_that_the_template_refuses_are_counted(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = (
        "{% if messages | length == 4 %}{{ raise_exception('four') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    output = run(folder, capsys, "--model", str(folder / "model"), "--chat-template", template)
    assert "── totals of 2 examples" in output
    assert "1 further line cannot be rendered; the first is a: " in output
    assert "four" in output


def test_a_distillation_is_seen_as_its_training_encodes_it(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(
        "model: {preset: gpt2-nano}\ntrain: {max_steps: 1, max_seq_length: 32, "
        "distill: {teacher: models/t, train_on: everything}}\n"
    )
    seen = document(folder, capsys, "--config", str(config), "--examples", "1")
    assert seen["train_on"] == "everything"
    flags = ("--config", str(config), "--train-on", "completion")
    assert document(folder, capsys, *flags)["train_on"] == "completion"


def test_a_strict_preview_shows_the_totals_and_then_the_refusal_of_a_training(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--model", str(folder / "model"), "--max-seq-length", "9"]
    assert "(overlong: refuse)" in run(folder, capsys, *flags)
    status = main(["--dataset", str(folder / "chats.jsonl"), "--strict", *flags])
    output = capsys.readouterr()
    assert (status, "── totals of 3 examples" in output.out) == (1, True)
    assert "longer than max_seq_length" in output.err
    assert "raise max_seq_length" in output.err
    assert run(folder, capsys, "--strict", *flags, "--overlong", "drop")


def test_lines_that_are_all_refused_are_not_further_ones(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    template = (
        "{% if 'Hi' in messages[0].content %}{{ raise_exception('no') }}{% endif %}"
        "{% for m in messages %}{{ m.content }}<|im_end|>{% endfor %}"
    )
    flags = ["--model", str(folder / "model"), "--chat-template", template]
    assert "\n3 lines cannot be rendered; the first is a: " in run(folder, capsys, *flags)
    assert "3 of 3 lines cannot be rendered" in error(folder, capsys, "--strict", *flags)


def test_the_facts_of_an_example_are_those_of_the_totals(
    folder: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "chats.jsonl").write_text(json.dumps({"prompt": "", "completion": "a b c"}))
    output = run(tmp_path, capsys, "--model", str(folder / "model"))
    totals = document(folder, capsys, "-n", "0")["totals"]
    assert "share of loss                   text 100.0%" in output
    trained = re.search(r"(\d+) trained\n", output)
    assert trained
    assert f"trained tokens                  {trained[1]} (" in output
    shown = run(folder, capsys, "--model", str(folder / "model"), "-n", "3")
    counts = [int(n) for n in re.findall(r"^── \S+: (\d+) tokens", shown, re.MULTILINE)]
    assert max(counts) == totals["lengths"]["max"]
    assert " after the last trained one, " in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "there is no model: give --model, --preset, or --config with a model block"),
        (["--model", "nothing/here/at"], "the folder 'nothing/here/at' does not exist"),
        (["--preset", "gpt2-nano", "--chat-template", "chatlm"], "--chat-template: 'chatlm' is"),
        (["--preset", "gpt2-nano", "--chat-template", "no.jinja"], "no.jinja cannot be read"),
        (["--preset", "gpt2-nano", "--chat-template-kwargs", "[]"], "must be a JSON object"),
        (["--preset", "gpt2-nano", "--chat-template-kwargs", "{"], "is not JSON"),
        (["--preset", "gpt2-nano", "--config", "no.yaml"], "no configuration file no.yaml"),
    ],
)
def test_unusable_flags_are_refused_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    text = error(folder, capsys, *flags)
    assert message in text
    assert text.startswith("error: ")
    assert text.count("\n") == 1


def test_a_dataset_without_answers_is_refused_with_its_way_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "chats.jsonl").write_text('{"prompt": "q", "id": "x"}\n')
    assert "x has no answer to imitate" in error(tmp_path, capsys, "--preset", "gpt2-nano")


@pytest.fixture(scope="module")
def sums(folder: Path) -> Path:
    lines = [{"prompt": f"{i}+1?", "expected_answer": str(i + 1)} for i in (3, 4, 3, 5)]
    file = folder / "sums.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


GRPO = "grpo: {rewards: [{judge: {name: contains}}], n_samples: 2, max_new_tokens: 4}"
ON_POLICY = "distill: {teacher: models/t, on_policy: {max_new_tokens: 4}}"


@pytest.mark.parametrize("method", [GRPO, ON_POLICY])
def test_methods_that_sample_answers_show_distinct_prompts(
    folder: Path, sums: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(f"dataset: any\nmodel: {{source: a/b}}\ntrain: {{max_steps: 1, {method}}}\n")
    flags = ["--dataset", str(sums), "--model", str(folder / "model"), "--config", str(config)]
    assert main([*flags, "--examples", "1", "--strict"]) == 0
    output = capsys.readouterr().out
    assert "<|im_start|>user\n3+1?<|im_end|>\n<|im_start|>assistant\n⟦answer⟧\n" in output
    assert ("expected '4'" in output) is (method == GRPO)
    assert "── totals of 3 distinct prompts" in output
    assert "to each, of up to 4 tokens" in output
    assert main([*flags, "--json", "--max-seq-length", "8"]) == 0
    content = json.loads(capsys.readouterr().out)
    assert [prompt["expected_answers"] for prompt in content["prompts"]] == [["4"], ["5"], ["6"]]
    assert content["totals"]["overlong"] == 3
    assert main([*flags, "--strict", "--max-seq-length", "8"]) == 1
    assert "lower train." in capsys.readouterr().err
    assert main([*flags, "--train-on", "everything"]) == 1
    assert "leave out --train-on" in capsys.readouterr().err

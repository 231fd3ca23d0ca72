"""The command that judges, in this process; as a file it runs in test_commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.golden import golden_v2, write_golden_v2
from tailrace.formats.data.jsonl import read_records, write_records
from tailrace.formats.data.labelled_answer import Label, LabelledAnswer
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.split import split_records
from tailrace.formats.data.verdict import Verdict
from tests.servers.chat import Say, chat_server
from tests.unit.training.judges.candidates import prediction
from training import eval_generate
from training.generate.output import write_eval_traces
from training.generate.prediction_files import read_predictions
from training.judge import main

ITEMS = [EvalItem(id=str(i), prompt=f"p{i}", expected_answer=str(i)) for i in range(3)]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    write_records(tmp_path / "s.jsonl", ITEMS)
    answers = [prediction(f"I say {i}", example_id=str(i)) for i in range(3)]
    base = [prediction("1", ModelRole.BASE, example_id=str(i)) for i in range(3)]
    write_records(tmp_path / "predictions.jsonl", [*answers, *base])
    (tmp_path / "judge.yaml").write_text(
        "name: contains\ncontains: {values: [say, I], all: true}\n"
    )
    return tmp_path


def judge(files: Path, *flags: str) -> int:
    return main(
        [
            *("--predictions", str(files / "predictions.jsonl")),
            *("--eval-set", str(files / "s.jsonl")),
            *("--output", str(files / "verdicts.jsonl")),
            *flags,
        ]
    )


@pytest.mark.parametrize(
    ("given", "other", "count"), [(True, "I am the other", 12), (False, "1", 6)]
)
def test_a_file_of_other_answers_is_compared_with(
    files: Path, given: bool, other: str, count: int
) -> None:
    write_records(
        files / "other.jsonl", [prediction("I am the other", example_id=str(i)) for i in range(3)]
    )
    flags = ("--baseline_predictions", str(files / "other.jsonl")) if given else ()
    answer = Say(json.dumps({"winner": "A", "reason": "r"}))
    with chat_server(lambda *_: answer) as server:
        endpoint = {"url": server.url, "model": "m"}
        options = {"criteria": "c", "backend": {"endpoint": endpoint}}
        content = {"name": "pairwise", "pairwise": options}
        (files / "pairwise.yaml").write_text(json.dumps(content))
        config = ("--config", str(files / "pairwise.yaml"))
        assert judge(files, *config, "--allow-endpoint", server.place, *flags) == 0
        assert len(server.requests) == count
        assert server.asked(json.dumps(other)) == count


def test_a_server_of_ones_own_is_asked_with_a_flag_and_the_key_of_a_variable(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = Say(json.dumps({"score": 9, "reason": "r"}))
    with chat_server(lambda *_: answer) as server:
        endpoint = {"url": server.url, "model": "m", "api_key_env": "TAILRACE_JUDGE_KEY_MINE"}
        options = {"rubric": "r", "backend": {"endpoint": endpoint}}
        (files / "rubric.yaml").write_text(
            json.dumps({"name": "llm_rubric", "llm_rubric": options})
        )
        config = ("--config", str(files / "rubric.yaml"))
        assert judge(files, *config, "--allow-endpoint", server.place) == 1
        assert "set the environment variable TAILRACE_JUDGE_KEY_MINE" in capsys.readouterr().err
        monkeypatch.setenv("TAILRACE_JUDGE_KEY_MINE", "sk-mine")
        assert judge(files, *config) == 1
        assert f"takes --allow-endpoint {server.place}" in capsys.readouterr().err
        assert not server.requests
        assert judge(files, *config, "--allow-endpoint", server.place) == 0
        assert {request["headers"]["Authorization"] for request in server.requests} == {
            "Bearer sk-mine"
        }


def test_options_come_from_a_file(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert judge(files, "--config", str(files / "judge.yaml")) == 0
    output = capsys.readouterr().out
    assert "contains on s: 3/3 = 1.000 (95% interval 0.439-1.000)" in output
    assert "contains on s (base): 0/3" in output
    assert "contains on s, lift: 3 won, 0 lost, 0 tied, difference +1.000" in output
    assert len(read_records(Verdict, files / "verdicts.jsonl")) == 6


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--judge", "json_schema"], "json_schema needs a schema"),
        (["--judge", "regex", "--config", "judge.yaml"], "is of the judge contains, not of regex"),
        (["--config", "wrong.yaml"], "token_f1: belongs to the judge token_f1, not to regex"),
        (
            ["--judge", "answer_correctness", "--config", "strict.yaml"],
            "strictness: is not a known key",
        ),
    ],
)
def test_wrong_options(
    files: Path, flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "wrong.yaml").write_text("name: regex\ntoken_f1: {threshold: 0.5}\n")
    (files / "strict.yaml").write_text("strictness: 5\n")
    flags = [str(files / flag) if flag.endswith(".yaml") else flag for flag in flags]
    assert judge(files, *flags) == 1
    assert message in capsys.readouterr().err


def test_too_many_errors_end_the_command(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_records(files / "predictions.jsonl", [prediction("0", example_id="0")])
    assert judge(files) == 1
    assert "2 of 3 verdicts of answer_correctness are errors" in capsys.readouterr().err
    (files / "lenient.yaml").write_text("max_error_rate: 1\n")
    flags = ["--judge", "answer_correctness", "--config", str(files / "lenient.yaml")]
    assert judge(files, *flags) == 0


def test_agreement_with_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "labels.jsonl"
    labels = [("Answer: 0", Label.PASS), ("Answer: 9", Label.FAIL), ("Answer: 2", Label.FAIL)]
    write_records(
        path,
        [
            LabelledAnswer(id=item.id, item=item, text=text, label=label)
            for item, (text, label) in zip(ITEMS, labels, strict=True)
        ],
    )
    assert main(["--labels", str(path)]) == 0
    output = capsys.readouterr().out
    assert "agrees on 2/3 = 0.667" in output
    assert "Cohen's kappa 0.400, 1 wrong answers pass, 0 errors" in output
    assert "2: person fail, judge pass: the marked answer is the expected answer" in output


def test_traces_are_told_from_predictions(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    traces = files / "results.jsonl"
    write_eval_traces(traces, read_predictions(files / "predictions.jsonl"), {"s": ITEMS})

    def message() -> str:
        assert judge(files, "--predictions", str(traces)) == 1
        return capsys.readouterr().err

    own, other = files / "results.predictions.jsonl", files / "predictions.jsonl"
    assert message() == f"error: {traces} holds traces, not predictions: they are in {other}\n"
    other.rename(own)
    assert message() == f"error: {traces} holds traces, not predictions: they are in {own}\n"
    own.unlink()
    assert f"an evaluation writes them to {own}" in message()
    traces.write_text("x\n")
    assert "line 1: is not JSON" in message()


@pytest.mark.parametrize("command", [main, eval_generate.main])
def test_the_flag_that_a_part_of_a_dataset_needs_is_named(
    command: Callable[[list[str]], int], files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_golden_v2(files)
    given = ["--predictions", str(files / "predictions.jsonl"), "--output", str(files / "out")]
    given += ["--model", str(files)] if command is eval_generate.main else []

    def message(*flags: str) -> str:
        assert command([*given, *flags]) == 1
        return capsys.readouterr().err

    held_out, dataset = ("--eval-set", "dataset:held_out"), ("--dataset", str(files / "golden-v2"))
    assert "dataset:train needs --dataset" in message("--eval-set", "dataset:train")
    assert "dataset:held_out needs --dataset" in message(*held_out)
    assert "dataset:held_out needs --split: split.json of" in message(*held_out, *dataset)
    split = files / "split.json"
    split.write_text(split_records(golden_v2(), 0.0, 42).dump())
    assert "train with eval_fraction above 0" in message(*held_out, *dataset, "--split", str(split))


def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 1
    assert "give --predictions, --eval-set, --output; or --labels" in capsys.readouterr().err
    assert main(["--labels", "nowhere.jsonl"]) == 1
    assert "there is no file nowhere.jsonl" in capsys.readouterr().err

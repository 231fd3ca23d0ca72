"""The preview's child process, with a twin of ``training.preview`` that reports its arguments."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli import preview

LINE = json.dumps({"prompt": "q", "completion": "a"}).encode() + b"\n"
PROGRAM = """
import json, os, sys
from pathlib import Path
words = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:])
if words.get("train-on") == "everything":
    sys.exit("error: refused by order of the test")
if words.get("train-on") == "completion":
    os.kill(os.getpid(), 9)
folder = Path(words.get("model", "absent"))
report = {
    "words": words,
    "cwd": os.getcwd(),
    "on_stderr": os.path.sameopenfile(1, 2),
    "lines": Path(words["dataset"]).read_bytes().count(b"\\n"),
    "files": sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()),
    "config": json.loads(Path(words["config"]).read_text()) if "config" in words else None,
}
document = {"dataset": report, "totals": {"tokens": 7, "trained_tokens": 3, "lengths":
            {"p50": 1, "p90": 2, "p99": 3, "max": 4}}}
Path(os.environ["REPORT"]).write_text(json.dumps(report))
print(json.dumps(document) if "json" in words else "")
"""


@pytest.fixture(autouse=True)
def program(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the twin in place of the training library."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "preview_twin.py").write_text(PROGRAM)
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("REPORT", str(folder / "report.json"))
    monkeypatch.setattr(preview, "_MODULE", "preview_twin")


@pytest.fixture
def stored(plane: Any) -> Any:
    plane.datasets.content["d"] = LINE * 5
    return plane


def report() -> Any:
    """What the program saw."""
    return json.loads(Path(os.environ["REPORT"]).read_text())


def test_the_first_lines_are_read_unless_all_are_asked_for(
    served: Any, stored: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(preview, "FIRST_LINES", 3)
    command = ("datasets", "preview", "d", "--model", "org/name", "--json")
    first = served(*command).json()["dataset"]
    assert (first["lines"], first["complete"], first["name"]) == (3, False, "d")
    assert served(*command, "--all").json()["dataset"]["lines"] == 5
    assert "the first 3 lines of d were read" in served(*command[:-1]).err


def test_a_preset_is_passed_as_one_unless_a_folder_has_its_name(
    served: Any, stored: Any, tmp_path: Path
) -> None:
    command = ("datasets", "preview", "d", "--model", "gpt2-nano", "--json")
    words = served(*command).json()["dataset"]["words"]
    assert (words.get("preset"), "model" in words) == ("gpt2-nano", False)
    (tmp_path / "gpt2-nano").mkdir()
    words = served(*command).json()["dataset"]["words"]
    assert ("preset" in words, words.get("model")) == (False, "gpt2-nano")


def test_every_option_reaches_the_program(served: Any, stored: Any) -> None:
    options = "-n 0 --chat-template chatml --chat-template-kwargs {} --train-on last_assistant"
    more = "--max-seq-length 64 --overlong drop_turns --allow-special-tokens --json"
    command = f"datasets preview d --model org/name {options} {more}"
    words = served(*command.split()).json()["dataset"]["words"]
    del words["dataset"], words["json"]
    assert words == {
        "all": "",
        "model": "org/name",
        "examples": "0",
        "chat-template": "chatml",
        "chat-template-kwargs": "{}",
        "train-on": "last_assistant",
        "max-seq-length": "64",
        "overlong": "drop_turns",
        "allow-special-tokens": "",
    }


def test_only_the_files_of_the_tokenizer_are_fetched(
    served: Any, stored: Any, tmp_path: Path
) -> None:
    kept = {
        "tokenizer.json": b"{}",
        "config.json": b"{}",
        "additional_chat_templates/a.jinja": b"x",
    }
    stored.models.add("m", {**kept, "model.safetensors": b"weights", "README.md": b"text"})
    command = ("datasets", "preview", "d", "--model", "models/m", "--json")
    assert served(*command).json()["dataset"]["files"] == sorted(kept)
    (tmp_path / "models/m").mkdir(parents=True)
    (tmp_path / "models/m/here.txt").touch()
    assert served(*command).json()["dataset"]["files"] == ["here.txt"]


def test_a_tokenizer_that_is_too_large_is_refused(served: Any, stored: Any) -> None:
    stored.models.add("m", {"config.json": b" " * (2 << 20)})
    refusal = served("datasets", "preview", "d", "--model", "models/m")
    assert refusal.code == 2
    assert "models/m: config.json has 2097152 bytes, at most 1048576 allowed" in refusal.err


def test_a_refusal_ends_the_command_and_its_reason_is_shown_once(served: Any, stored: Any) -> None:
    command = ("datasets", "preview", "d", "--model", "org/name", "--train-on", "everything")
    assert served(*command).code == 2
    refusal = served(*command, "--json")
    assert (refusal.code, refusal.err) == (2, "error: refused by order of the test\n")


def test_a_killed_program_is_a_fault(served: Any, stored: Any) -> None:
    options = ["--model", "org/name", "--train-on", "completion"]
    failed = served("datasets", "preview", "d", *options)
    assert failed.code == 70
    assert "preview_twin was killed by SIGKILL" in failed.err


def test_without_the_extra_the_way_out_is_named(
    served: Any, stored: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "_NEEDED", ("json", "no_such_library"))
    for command in ("datasets preview d --model m", "datasets stats d --model m"):
        refusal = served(*command.split())
        assert refusal.code == 2
        assert "no_such_library cannot be imported" in refusal.err
        assert "pip install 'tailrace[training]'" in refusal.err
    assert stored.faults.calls == []


def test_stats_have_the_tokens_of_a_model(served: Any, stored: Any) -> None:
    command = ("datasets", "stats", "d", "--model", "org/name")
    tokens = served(*command, "--json").json()["tokens"]
    assert (tokens["tokens"], tokens["trained_tokens"]) == (7, 3)
    text = served(*command).out
    assert "tokens:         7" in text
    assert ["tokens", "1", "2", "3", "4"] in [line.split() for line in text.splitlines()]


RUN = """
dataset: d
model: {source: models/m, chat_template: chatml}
train: {max_steps: 9, sft: {train_on: last_assistant}}
template_date: 2026-01-31
"""


@pytest.fixture
def run_file(stored: Any, tmp_path: Path) -> Path:
    stored.models.add("m", {"tokenizer.json": b"{}", "model.safetensors": b"weights"})
    path = tmp_path / "run.yaml"
    path.write_text(RUN)
    return path


def test_a_run_is_previewed_with_its_own_settings_and_then_submitted(
    served: Any, stored: Any, run_file: Path
) -> None:
    result = served("runs", "create", "-f", run_file, "--preview", "--id", "r")
    assert result.code == 0
    seen = report()
    assert seen["config"]["model"] == {"source": "models/m", "chat_template": "chatml"}
    assert seen["config"]["train"]["sft"]["train_on"] == "last_assistant"
    assert seen["files"] == ["tokenizer.json"]
    assert seen["words"]["template-date"] == "2026-01-31"
    assert not Path(seen["cwd"]).is_relative_to(run_file.parent)
    assert "runs/r" in stored.runs.runs


def test_with_json_the_preview_is_on_standard_error(served: Any, run_file: Path) -> None:
    result = served("runs", "create", "-f", run_file, "--preview", "--id", "r", "--json")
    assert result.json()["name"] == "runs/r"
    assert (report()["lines"], report()["on_stderr"]) == (5, True)


def test_validate_only_previews_and_submits_nothing(
    served: Any, stored: Any, run_file: Path
) -> None:
    assert served("runs", "create", "-f", run_file, "--preview", "--validate-only").code == 0
    assert (report()["lines"], report()["on_stderr"]) == (5, False)
    (request,) = [request for name, request in stored.faults.calls if name == "CreateRun"]
    assert request.validate_only


def test_a_refused_preview_submits_nothing(served: Any, stored: Any, run_file: Path) -> None:
    stored.models.add("m", {"config.json": b" " * (2 << 20)})
    assert served("runs", "create", "-f", run_file, "--preview").code == 2
    assert stored.runs.runs == {}


def test_a_run_without_training_has_nothing_to_preview(
    served: Any, plane: Any, tmp_path: Path
) -> None:
    (tmp_path / "run.yaml").write_text("model: {source: m}\ninfer: {eval_sets: [eval_v1]}\n")
    refusal = served("runs", "create", "-f", "run.yaml", "--preview")
    assert refusal.code == 2
    assert "the run has no train block: there are no examples to preview" in refusal.err
    assert plane.runs.runs == {}

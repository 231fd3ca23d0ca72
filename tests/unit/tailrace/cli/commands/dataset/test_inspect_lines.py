from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.dataset_file import RecordFile
from tailrace.formats.data.split import split_records

CALL = {"function": {"name": "add", "arguments": {"a": 1}}}


def chat(number: int) -> dict[str, Any]:
    user = {"role": "user", "content": f"What is {number}?\nSay it."}
    return {"messages": [user, {"role": "assistant", "content": "It.", "tool_calls": [CALL]}]}


def content(*records: Any) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_head_shows_the_first_lines_of_a_version(served: Any, plane: Any) -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    plane.datasets.content["d"] = content({**chat(1), "tools": tools}, chat(2), chat(3))
    shown = served("datasets", "head", "d", "-n", "2").out
    assert shown.splitlines()[:4] == [
        "messages-000001  tools: add",
        "  user: What is 1?",
        "    Say it.",
        "  assistant: It.",
    ]
    assert 'add({"a": 1})' in shown
    assert "What is 3" not in shown


def test_head_as_json_prints_the_lines_as_stored(served: Any, plane: Any) -> None:
    plane.datasets.content["d"] = content(chat(1), chat(2))
    assert served("datasets", "head", "d", "--json").json_lines() == [chat(1), chat(2)]


def test_head_reads_a_local_file_without_a_server(tailrace: Any, tmp_path: Path) -> None:
    answers = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    (tmp_path / "d.jsonl").write_bytes(content(answers))
    shown = tailrace("datasets", "head", "d.jsonl", "--server", "127.0.0.1:1").out
    assert shown.splitlines() == [
        "preference-000001",
        "  user: q",
        "  chosen: good",
        "  rejected: bad",
    ]


def test_head_shows_the_expected_answer_of_a_prompt(tailrace: Any, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(content({"prompt": "q", "expected_answer": "a\nb"}))
    assert tailrace("datasets", "head", "d.jsonl").out.splitlines() == [
        "prompts-000001",
        "  user: q",
        "  expected answer: a",
        "    b",
    ]


def test_head_names_wrong_lines(tailrace: Any, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(content(chat(1), {"messages": []}))
    refusal = tailrace("datasets", "head", "d.jsonl")
    assert (refusal.code, refusal.out) == (2, "")
    assert "line 2: messages: must have at least one message" in refusal.err


@pytest.mark.parametrize("command", ["head x/d.jsonl", "stats ../d", "split D --eval-fraction 0.5"])
def test_neither_a_file_nor_a_name(tailrace: Any, command: str) -> None:
    refusal = tailrace("datasets", *command.split())
    assert refusal.code == 2
    assert "is neither a file here nor the name of a dataset: must be" in refusal.err


def test_head_shows_escapes_of_hostile_text(tailrace: Any, tmp_path: Path) -> None:
    record = {"prompt": "a\x1b[2Jb", "completion": "x", "metadata": {"k\n": "\x1b]0;t\x07"}}
    (tmp_path / "d.jsonl").write_bytes(content(record))
    shown = tailrace("datasets", "head", "d.jsonl").out
    assert "\x1b" not in shown
    assert "a\\x1b[2Jb" in shown
    assert "k⏎=" in shown


def test_stats_of_a_version(served: Any, plane: Any) -> None:
    plane.datasets.content["d"] = content(chat(1), chat(1), chat(22))
    stats = served("datasets", "stats", "d", "--json").json()
    assert (stats["kind"], stats["lines"]) == ("messages", 3)
    assert stats["turns"] == {"user": 3, "assistant": 3}
    assert stats["duplicates"] == {"lines": 1, "first": [{"line": 2, "earlier": 1}]}
    assert stats["lengths"]["turns"] == {"p50": 2, "p90": 2, "p99": 2, "max": 2}
    text = served("datasets", "stats", "d").out
    assert "turns:      6 (user 3, assistant 3)" in text
    assert (
        "1 lines repeat an earlier one, case and white space aside: line 2 repeats line 1" in text
    )


EVAL = {"id": "e", "prompt": "a b c d e f g h i j k l m n", "expected_answer": "x"}


def test_stats_name_eval_prompts_of_a_file(tailrace: Any, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_bytes(content(EVAL, {**EVAL, "id": "f", "prompt": "a b"}))
    (tmp_path / "d.jsonl").write_bytes(content({"prompt": EVAL["prompt"], "completion": "x"}))
    text = tailrace("datasets", "stats", "d.jsonl", "--against", "e.jsonl").out
    assert (
        "1 of 2 prompts of e.jsonl share 13 words in a row with the dataset (1 are shorter): e"
        in text
    )


def test_stats_name_eval_prompts_of_an_imported_set(served: Any, plane: Any) -> None:
    plane.datasets.content["d"] = content({"prompt": EVAL["prompt"], "completion": "x"})
    plane.eval_sets.content["s"] = content(EVAL)
    plane.artifacts.add(0, {"eval_set.jsonl": content(EVAL)})
    plane.eval_sets.artifact = plane.artifacts.artifacts[0].name
    leaks = served("datasets", "stats", "d", "--against", "s", "--json").json()["against"]
    assert leaks == {"eval_set": "s", "items": 1, "too_short": 0, "shared": ["e"]}


def test_stats_read_a_built_in_eval_set(tailrace: Any, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(content(chat(1)))
    leaks = tailrace("datasets", "stats", "d.jsonl", "--against", "eval_v2", "--json").json()
    assert leaks["against"]["items"] > 0
    assert leaks["against"]["shared"] == []


def test_split_writes_the_parts_of_a_run(served: Any, plane: Any, tmp_path: Path) -> None:
    plane.datasets.content["d"] = content(*map(chat, range(10)), chat(3))
    options = ["--eval-fraction", "0.3", "--seed", "7", "-o", "parts", "--json"]
    counts = served("datasets", "split", "d", *options).json()
    assert counts["train"]["prompts"] + counts["held_out"]["prompts"] == 10
    assert counts["held_out"]["prompts"] == 3
    (tmp_path / "all.jsonl").write_bytes(plane.datasets.content["d"])
    expected = split_records(RecordFile(tmp_path / "all.jsonl"), 0.3, 7)
    assert list(RecordFile(tmp_path / "parts/train.jsonl")) == list(expected.train)
    assert list(RecordFile(tmp_path / "parts/held_out.jsonl")) == list(expected.held_out)
    assert {p.name for p in (tmp_path / "parts").iterdir()} == {"train.jsonl", "held_out.jsonl"}


def test_split_counts_without_writing(tailrace: Any, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(content(*map(chat, range(10))))
    table = tailrace("datasets", "split", "d.jsonl", "--eval-fraction", "0.2").out
    assert [line.split() for line in table.splitlines()] == [
        ["PART", "LINES", "PROMPTS"],
        ["train", "8", "8"],
        ["held_out", "2", "2"],
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["d.jsonl"]


def test_split_refuses_an_empty_part(tailrace: Any, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(content(chat(1)))
    refusal = tailrace("datasets", "split", "d.jsonl", "--eval-fraction", "0.2")
    assert refusal.code == 2
    assert "eval_fraction 0.2 of 1 distinct prompts holds out none" in refusal.err


def test_export_writes_lines_of_any_kind_byte_for_byte(
    served: Any, plane: Any, tmp_path: Path
) -> None:
    stored = content(chat(1)) + '{"messages":[{"role":"user","content":"ñ🙂‏"}]}\n'.encode()
    plane.datasets.content["d"] = stored
    assert served("datasets", "export", "d", "-o", "d.jsonl").code == 0
    assert (tmp_path / "d.jsonl").read_bytes() == stored

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.data.dataset_file import RecordFile, detect_kind, parse_dataset, scan_records
from tailrace.formats.data.jsonl import FormatError, LineErrors
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import ChatRecord, CompletionRecord, DatasetKind
from tests.growth import LINEAR, growth

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def chat(**columns: Any) -> bytes:
    return json.dumps({"messages": CHAT, **columns}).encode() + b"\n"


def pair(**columns: Any) -> bytes:
    return json.dumps({"prompt": "p", "completion": "c", **columns}).encode() + b"\n"


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (chat(), DatasetKind.MESSAGES),
        (pair(), DatasetKind.COMPLETION),
        (pair(label=True), DatasetKind.FEEDBACK),
        (b'{"prompt": "p", "chosen": "a", "rejected": "b"}', DatasetKind.PREFERENCE),
        (b'{"prompt": "p"}', DatasetKind.PROMPTS),
        (b'{"prompt": "p", "answer": "a"}', DatasetKind.TRACE),
        (b'{"prompt": "p", "steps": [], "answer": "a"}', DatasetKind.TRACE),
        (b'{"x": 1}', DatasetKind.TRACE),
        (b"[1]", DatasetKind.TRACE),
        (b"{", DatasetKind.TRACE),
        (b"\xff", DatasetKind.TRACE),
        (b"", DatasetKind.TRACE),
    ],
)
def test_the_first_line_tells_the_kind(line: bytes, kind: DatasetKind) -> None:
    assert detect_kind(line) is kind


def test_records_without_id_are_named_by_kind_and_line() -> None:
    records = parse_dataset([chat(), b"\n", chat(id="own"), chat()])
    assert [record.id for record in records] == ["messages-000001", "own", "messages-000004"]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        (
            [pair(id="a"), pair(id="b"), pair(id="a")],
            "line 3: id: is that of line 1, but must be unique",
        ),
        (
            [pair(), pair(id="completion-000001")],
            "line 2: id: is that of line 1, but must be unique",
        ),
        (
            [pair(id="completion-000002"), pair()],
            "line 2: id: is that of line 1, but must be unique",
        ),
        ([], "line 1: there is no trace in the input"),
        ([b"\n", b" \r\n"], "line 1: there is no trace in the input"),
        (
            [pair(), chat(), pair(id=3)],
            "line 2: messages: is not a known key; known keys: prompt, completion, tools, id, "
            "metadata; prompt: is required; completion: is required; line 3: id: must be text, not "
            "3: put it into quotes",
        ),
        (
            [b"\n", pair(), b"{\n"],
            "line 3: is not JSON: Expecting property name enclosed in double quotes (column 2)",
        ),
    ],
)
def test_wrong_lines_are_named(lines: list[bytes], problem: str) -> None:
    with pytest.raises(FormatError) as error:
        parse_dataset(lines)
    assert str(error.value) == problem


@pytest.mark.parametrize(
    ("kind", "unit"),
    [(DatasetKind.MESSAGES, "conversation"), (DatasetKind.PROMPTS, "record")],
)
def test_empty_input_is_refused(kind: DatasetKind, unit: str) -> None:
    with pytest.raises(FormatError, match=f"^line 1: there is no {unit} in the input$"):
        parse_dataset([], kind)


def test_a_stated_kind_is_the_kind_of_every_line() -> None:
    records = parse_dataset([b'{"prompt": "p", "expected_answer": "4"}'], DatasetKind.PROMPTS)
    assert records[0].id == "prompts-000001"
    with pytest.raises(FormatError, match="the file has pairs of prompt and completion"):
        parse_dataset([pair()], DatasetKind.MESSAGES)


def test_blank_lines_before_the_first_record_take_no_memory() -> None:
    def lines() -> Iterator[bytes]:
        yield from (b" \n" for _ in range(200_000))
        yield pair()

    tracemalloc.start()
    numbers = [number for number, _ in scan_records(lines(), LineErrors())]
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert numbers == [200_001]
    assert used < 2 * 1024 * 1024


def test_scanning_is_linear() -> None:
    def scan(lines: list[bytes]) -> None:
        for _ in scan_records(lines, LineErrors()):
            pass

    assert growth(scan, [chat()] * 1000, [chat()] * 4000) < LINEAR


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "dataset.jsonl"
    lines = [b"\n", chat(), b"  \r\n", chat(id="é"), chat().replace(b"\n", b"\r\n")]
    path.write_bytes(b"".join(lines))
    return path


def test_a_file_reads_its_records_when_they_are_asked_for(path: Path) -> None:
    turns = [Message(Role.USER, "q"), Message(Role.ASSISTANT, "a")]
    ids = ["messages-000002", "é", "messages-000005"]
    records = RecordFile(path)
    assert records.kind is DatasetKind.MESSAGES
    assert len(records) == 3
    assert list(records) == [ChatRecord(turns, id=name) for name in ids]
    assert records[-1].id == "messages-000005"
    assert [record.id for record in records[1:]] == ids[1:]
    with pytest.raises(IndexError):
        records[3]
    records.close()


def test_a_file_without_a_line_feed_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "dataset.jsonl"
    path.write_bytes(pair() + pair().strip())
    records = RecordFile(path)
    assert records[1] == CompletionRecord("p", "c", id="completion-000002")
    records.close()


def test_a_wrong_file_names_its_lines(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n" + pair())
    with pytest.raises(FormatError, match=r"^line 7: prompt: is not a known key"):
        RecordFile(path)

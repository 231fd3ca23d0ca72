from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
from pathlib import Path

import pytest

from tailrace.formats.data.dataset_file import RecordFile, parse_dataset
from tailrace.formats.data.eval_item import parse_eval_items
from tailrace.formats.data.file_kind import foreign_kind
from tailrace.formats.data.jsonl import FormatError, dump_record
from tailrace.formats.data.record import DatasetKind
from tailrace.formats.data.trace import Step, Trace

TRACE = dump_record(Trace("What is 1 + 1?", "2", [Step(0, "reasoning", "c")], "a"))
LINES = 3 * TRACE.encode()
TABLE = b"prompt,answer,steps\r\nWhat?,2,\r\n"


def archive() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("dataset.jsonl", LINES)
    return packed.getvalue()


KINDS = {
    "gzip": (gzip.compress(LINES), "is compressed with gzip: unpack it first"),
    "bzip2": (bz2.compress(LINES), "is compressed with bzip2"),
    "xz": (lzma.compress(LINES), "is compressed with xz"),
    "zip": (archive(), "is a ZIP archive"),
    "parquet": (b"PAR1\x15\x04\n\x00PAR1", "is a Parquet file: write it as JSON Lines"),
    "mark": (b"\xef\xbb\xbf" + LINES, "begins with a byte order mark: save it as UTF-8 without"),
    "utf-16": (TRACE.encode("utf-16"), "is UTF-16 text: convert it"),
    "utf-16, no mark": (TRACE.encode("utf-16-le"), "is UTF-16 text: .*UTF-16LE"),
    "utf-16, big end": (TRACE.encode("utf-16-be"), "is UTF-16 text: .*UTF-16BE"),
    "utf-32": (TRACE.encode("utf-32"), "is UTF-32 text"),
    "utf-32, no mark": (TRACE.encode("utf-32-le"), "is UTF-32 text: .*UTF-32LE"),
    "utf-32, big end": (TRACE.encode("utf-32-be"), "is UTF-32 text: .*UTF-32BE"),
    "table with an index": (b",prompt,answer\n0,What?,2\n", r"is a table \(CSV\)"),
    "table with spaces": (b'id,"the prompt",expected answer\n1,a,b\n', r"is a table \(CSV\)"),
    "table with umlauts": ("Frage;Lösung\nx;y\n".encode(), r"is a table \(CSV\)"),
    "table without a head": (b'0,"What, then?",2\n1,b,c\n', r"is a table \(CSV\)"),
    "array": (f"[{TRACE}, {TRACE}]".encode(), "is a JSON array, not JSON Lines"),
    "indented array": (b"\n[\n {\n"[1:], "is a JSON array, not JSON Lines"),
    "indented object": (
        b'{\n  "data": [1]\n}',
        "is JSON written over several lines",
    ),
    "object of lists": (b'{"data": [\n{}]}', "is JSON written over several lines"),
    "table": (TABLE, r"is a table \(CSV\)"),
    "table with tabs": (TABLE.replace(b",", b"\t"), r"is a table \(CSV\)"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
    "page": (b"<!DOCTYPE html>\n", "is HTML or XML"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_of_another_kind_is_named_once_with_the_way(kind: str, tmp_path: Path) -> None:
    content, named = KINDS[kind]
    path = tmp_path / "dataset.jsonl"
    path.write_bytes(content)
    for read in (lambda: RecordFile(path), lambda: parse_eval_items(io.BytesIO(content))):
        with pytest.raises(FormatError, match=f"^line 1: the file {named}") as error:
            read()
        assert error.value.count == 1


def test_blank_lines_come_before_the_first_one() -> None:
    with pytest.raises(FormatError, match=r"^line 3: the file is a JSON array") as error:
        parse_eval_items(io.BytesIO(b"\n \n[\n{},\n{}]\n"))
    assert error.value.count == 1


@pytest.mark.parametrize(
    "line",
    [
        TRACE.encode(),
        b'{"id": "a,b"}',
        b"",
        b"\n",
        b" {}",
        b"no JSON at all",
        b",",
        b'"a,b"',
        b"a, b",
        b"\x00\x01",
    ],
)
def test_other_first_lines_are_read_as_lines(line: bytes) -> None:
    assert foreign_kind(line) is None


@pytest.mark.parametrize("kind", ["gzip", "parquet", "mark", "array", "table"])
def test_a_dataset_in_a_file_that_the_import_reads_is_sent_there(kind: str) -> None:
    content, _ = KINDS[kind]
    with pytest.raises(FormatError) as error:
        parse_dataset(io.BytesIO(content))
    assert str(error.value).endswith(", or let `tailrace datasets import FILE` convert it")
    with pytest.raises(FormatError) as error:
        parse_eval_items(io.BytesIO(content))
    assert "datasets import" not in str(error.value)


CHAT_FORM = '{"messages": [{"role": "user", "content": …}, …]}'
PAIR_FORM = '{"prompt": …, "chosen": …, "rejected": …}'
COMPLETION_FORM = '{"prompt": …, "completion": …}'
FOREIGN_RECORDS = [
    ('{"messages": [{"role": "user", "content": "2 + 2?"}]}', "chats (messages)", CHAT_FORM),
    ('{"conversations": []}', "chats (conversations, as ShareGPT has them)", CHAT_FORM),
    (
        '{"instruction": "add", "input": "", "output": "4"}',
        "instructions (as Alpaca has them)",
        COMPLETION_FORM,
    ),
    (
        '{"prompt": "p", "chosen": "a", "rejected": "b"}',
        "preference pairs (chosen, rejected)",
        PAIR_FORM,
    ),
    (
        '{"input": {}, "preferred_output": [], "non_preferred_output": []}',
        "preference pairs (preferred_output, non_preferred_output)",
        PAIR_FORM,
    ),
    (
        '{"prompt": "p", "completion": "a", "label": true}',
        "labelled completions (prompt, completion, label)",
        '{"prompt": …, "completion": …, "label": true}',
    ),
    ('{"prompt": "p", "completion": "a"}', "pairs of prompt and completion", COMPLETION_FORM),
    ('{"question": "q", "answer": "a"}', "pairs of question and answer", COMPLETION_FORM),
    ('{"text": "t"}', "plain texts (text)", COMPLETION_FORM),
]


@pytest.mark.parametrize(("line", "kind", "form"), FOREIGN_RECORDS)
def test_records_of_other_data_sets_are_recognised(line: str, kind: str, form: str) -> None:
    lines = [f"{line}\n".encode()] * 3
    with pytest.raises(FormatError) as error:
        parse_dataset(lines, DatasetKind.TRACE)
    assert str(error.value) == (
        f"line 1: the file has {kind}: `tailrace datasets import FILE` converts them; the server "
        f"takes canonical lines only, here {form}"
    )
    with pytest.raises(FormatError) as error:
        parse_eval_items(lines)
    accepted = '{"id": …, "prompt": …, "expected_answer": …}'
    assert str(error.value) == f"line 1: the file has {kind}: each line must be {accepted}"


@pytest.mark.parametrize(
    "line",
    [
        '{"conversations": [{"from": "human", "value": "q"}]}',
        '{"instruction": "add", "output": "4"}',
        '{"input": {}, "preferred_output": [], "non_preferred_output": []}',
        '{"text": "t"}',
        '{"chosen": "a", "rejected": "b"}',
    ],
)
def test_a_dataset_of_no_stated_kind_names_the_way_too(line: str) -> None:
    with pytest.raises(FormatError, match="`tailrace datasets import FILE` converts them"):
        parse_dataset([line.encode()])


def test_a_record_with_one_key_too_many_is_not_another_kind() -> None:
    line = b'{"id": "a", "prompt": "p", "expected_answer": "4", "text": "t"}\n'
    with pytest.raises(FormatError, match=r"^line 1: text: is not a known key"):
        parse_eval_items([line])

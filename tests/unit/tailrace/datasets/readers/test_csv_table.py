from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace.datasets.readers import csv_table
from tailrace.datasets.readers.formats import read_rows
from tailrace.datasets.readers.row import DataFileError, Row


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """Write a table and return its rows."""

    def rows(content: str | bytes, name: str = "d.csv") -> list[Row]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_rows(path))

    return rows


@pytest.mark.parametrize(
    "content",
    [
        "prompt,completion\nq,a\n",
        "prompt;completion\r\nq;a\r\n",
        "prompt\tcompletion\nq\ta",
        "\ufeffsep=|\r\nprompt|completion\r\nq|a\r\n",
        '"prompt","completion"\n\n"q","a"\n',
    ],
)
def test_delimiters(table: Any, content: str) -> None:
    assert [row.content for row in table(content)] == [{"prompt": "q", "completion": "a"}]


def test_a_table_of_another_name_is_recognised(table: Any) -> None:
    assert table("prompt,completion\nq,a\n", "d.txt")[0].content["prompt"] == "q"


def test_quoted_line_breaks_survive_and_lines_are_counted(table: Any) -> None:
    rows = table('text,n\r\n"a\r\n""b""\nc",1\r\nd,2\r\n')
    assert [row.content["text"] for row in rows] == ['a\r\n"b"\nc', "d"]
    assert [row.place for row in rows] == ["line 2", "line 5"]


def test_rows_of_another_length(table: Any) -> None:
    good, long, short = table("a,b\n1,2\n1,2,3\n1\n")
    assert good.content == {"a": "1", "b": "2"}
    assert long.problem == "has 3 fields, the header has 2"
    assert short.problem == "has 1 fields, the header has 2"


def test_long_fields_are_read(table: Any) -> None:
    assert len(table("a,b\n" + "x" * 500_000 + ",2\n")[0].content["a"]) == 500_000


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("a,b;c\n1,2;3\n", "',' and ';' split into 2 columns alike: put a line sep=,"),
        ("a,a\n1,2\n", "has the column 'a' twice in its header"),
        (",a\n0,1\n", "has no name for column 1 in its header: .*index=False"),
        ('a,b\n"1,2\n3,4\n', "line 2 begins a row that is not CSV: unexpected end of data"),
        ('a,b\n"1"x,2\n', "line 2 begins a row that is not CSV: .* must be doubled"),
        ("\n\n", "has no header"),
        ("a,b\r1,2\r", "a header that is not CSV: .*; lines must end with LF or CRLF"),
        ("a,b\n1,2\r3,4\n", "line 2 begins a row that is not CSV: .* end with LF or CRLF"),
        (
            b"a,b\n\xff,2\n",
            r"line 2 is not UTF-8 \(byte 0 of the line\): save the table as CSV UTF-8",
        ),
        (",".join(f"c{i}" for i in range(1001)) + "\n", "has 1001 columns, at most 1000 allowed"),
    ],
)
def test_tables_that_are_refused(table: Any, content: Any, problem: str) -> None:
    with pytest.raises(DataFileError, match=problem):
        table(content)


def test_a_quote_that_never_closes_is_refused_in_bounded_memory(
    table: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(csv_table, "MAX_LINE_BYTES", 1000)
    with pytest.raises(DataFileError, match=r"line 2: the row is longer .* closing quote missing"):
        table('a,b\n"' + "x\n" * 100_000)

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.datasets.readers import json_text
from tailrace.datasets.readers.formats import read_rows
from tailrace.datasets.readers.row import DataFileError, Row

ROWS = [{"text": 'a "quoted" [bracket] \\ {brace}, comma'}, {"n": [1, [2, {"x": []}]]}, {}]


@pytest.fixture
def written(tmp_path: Path) -> Any:
    """Write a file and return its rows."""

    def rows(content: bytes | str, name: str = "d.json") -> list[Row]:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return list(read_rows(path))

    return rows


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_json_lines_with_or_without_a_byte_order_mark(written: Any, mark: str, end: str) -> None:
    rows = written(mark + end.join(["", '{"a": 1}', "", '{"a": 2}', ""]))
    assert [row.content for row in rows] == [{"a": 1}, {"a": 2}]
    assert [row.place for row in rows] == ["line 2", "line 4"]


def test_a_wrong_line_does_not_end_the_file(written: Any) -> None:
    good, wrong, last = written('{"a": 1}\n{"a": 1, "a": 2}\n{"a": 3}\n')
    assert (good.problem, last.content) == ("", {"a": 3})
    assert (wrong.place, wrong.problem) == ("line 2", "has the key 'a' twice")


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("read_bytes", [1, 7, 1 << 18])
def test_items_of_an_array(
    written: Any, monkeypatch: Any, indent: int | None, read_bytes: int
) -> None:
    monkeypatch.setattr(json_text, "_READ_BYTES", read_bytes)
    rows = written(f" \n{json.dumps(ROWS, indent=indent)}\n")
    assert [row.content for row in rows] == ROWS
    assert rows[1].place == "item 2"


def test_scalars_and_no_items(written: Any) -> None:
    assert written(" [ ] ") == []
    assert [row.content for row in written('[1, "]", null]')] == [1, "]", None]


def test_wrong_items_are_named_and_others_read(written: Any) -> None:
    first, second, third, fourth = written('[{"a": NaN}, {"b": 1}, , {"c" 1}]')
    assert first.problem == "contains NaN, which is not JSON"
    assert second.content == {"b": 1}
    assert third.problem.startswith("is not JSON: Expecting value")
    assert fourth.problem.startswith("is not JSON: Expecting ':'")


def test_nesting_is_bounded(written: Any) -> None:
    deep = "[" * 5000 + "]" * 5000
    assert [row.problem for row in written(f'[{deep}, {{"a": 1}}]')] == [
        "is nested too deeply",
        "",
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('[{"a": 1}', "is a JSON array that ends in the middle of item 1"),
        ('[{"a": 1}, {"b": "]', "is a JSON array that ends in the middle of item 2"),
        ('[{"a": 1}]\n{"b": 2}', "has content after the end of its JSON array"),
        ('{\n  "a": 1\n}', "is JSON written over several lines"),
        ("", "is empty"),
        ("\ufeff".encode("utf-16"), "is UTF-16 text"),
        ("<!DOCTYPE html>", "is HTML"),
    ],
)
def test_files_that_are_refused(written: Any, content: str, problem: str) -> None:
    with pytest.raises(DataFileError, match=r"d\.json: ") as refusal:
        written(content)
    assert problem in str(refusal.value)


def test_an_item_without_end_is_refused_in_bounded_memory(written: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(json_text, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(json_text, "_READ_BYTES", 100)
    with pytest.raises(DataFileError, match="item 2 is longer than 1000 bytes"):
        written('[1, "' + "x" * 100_000)

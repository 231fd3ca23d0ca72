from __future__ import annotations

import contextlib
import json
import tracemalloc
from dataclasses import dataclass
from pathlib import Path

import pytest

from tailrace.formats.data import jsonl
from tailrace.formats.data.jsonl import (
    FormatError,
    LineErrors,
    decode_line,
    parse_records,
    read_records,
    write_records,
)
from tailrace.formats.schema import key
from tests.growth import LINEAR, growth


@dataclass(frozen=True)
class Point:
    x: int = key("Across.")
    label: str | None = key("Name.", default=None)


def test_write_and_read(tmp_path: Path) -> None:
    points = [Point(1), Point(2, "é\u2028")]
    path = tmp_path / "deep" / "points.jsonl"
    write_records(path, points)
    assert path.read_bytes() == b'{"x":1}\n' + '{"label":"é\u2028","x":2}\n'.encode()
    assert read_records(Point, path) == points


def test_all_wrong_lines_are_reported_with_numbers() -> None:
    lines = [b'{"x": 1}\n', b"\n", b"{\n", b'{"x": "a"}\n', b'{"x": 2}']
    errors = LineErrors()
    good = list(parse_records(Point, lines, errors))
    assert good == [(1, Point(1)), (5, Point(2))]
    assert [(e.line, e.reason.split(":")[0]) for e in errors.errors] == [
        (3, "is not JSON"),
        (4, "x"),
    ]
    with pytest.raises(FormatError, match=r"line 3: is not JSON.*line 4: x: must be"):
        errors.raise_any()


def test_errors_are_capped_but_counted() -> None:
    errors = LineErrors()
    list(parse_records(Point, [b"no"] * 250, errors))
    with pytest.raises(FormatError, match="and 247 more") as caught:
        errors.raise_any()
    assert len(caught.value.errors) == jsonl.MAX_REPORTED_ERRORS
    assert caught.value.count == 250


def test_the_message_stays_short() -> None:
    line = b"{" + b", ".join(b'"key_%d": 1' % i for i in range(500)) + b"}"
    errors = LineErrors()
    list(parse_records(Point, [line] * 100, errors))
    with pytest.raises(FormatError, match=r"line 3: key_0: .*…; and 97 more") as caught:
        errors.raise_any()
    assert len(str(caught.value)) < 1000
    assert len(caught.value.errors[0].reason) > 1000


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b"\xff{}", "is not UTF-8"),
        (b'{"x": 1, "x": 2}', "has the key 'x' twice"),
        (b'{"x": NaN}', "contains NaN"),
        (b'{"x": -Infinity}', "contains -Infinity"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"x": ' + b"9" * 5000 + b"}", "a whole number with thousands of digits"),
        (b"{} {}", "is not JSON"),
    ],
)
def test_refused_lines(line: bytes, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        decode_line(line)


@pytest.mark.parametrize("newline", [b"", b"\n", b"\r\n"])
@pytest.mark.parametrize(
    ("line", "column"), [(b'{"x": 1', 8), (b'{"x": 1,', 9), (b'{"x": "y', 7), (b'{"x" 1}', 6)]
)
def test_the_column_is_one_of_the_line(line: bytes, column: int, newline: bytes) -> None:
    with pytest.raises(ValueError, match=rf"\(column {column}\)"):
        decode_line(line + newline)


def test_a_line_over_the_limit_costs_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jsonl, "MAX_LINE_BYTES", 100)
    path = tmp_path / "long.jsonl"
    path.write_bytes(b'{"x": 1}\n' + b"y" * 1000 + b"\n" + b'{"x": "z"}\n')
    with pytest.raises(FormatError) as caught:
        read_records(Point, path)
    assert [error.line for error in caught.value.errors] == [2, 3]
    assert "longer than 100 bytes" in caught.value.errors[0].reason


def refused(line: bytes) -> str:
    with pytest.raises(ValueError) as error:
        decode_line(line)
    return str(error.value)


def test_looking_for_a_repeated_key_is_linear() -> None:
    def line(keys: int) -> bytes:
        names = [*range(keys), keys - 1]
        return b"{" + b",".join(b'"key-%d":1' % name for name in names) + b"}"

    assert refused(line(30_000)) == "has the key 'key-29999' twice"
    assert growth(refused, line(10_000), line(40_000)) < LINEAR


@pytest.mark.parametrize(
    "end",
    [b'"]', b'\\"]', b"]", b""],
    ids=["quoted", "escaped quote", "no quote", "cut off"],
)
def test_counting_the_values_of_a_long_line_is_linear(end: bytes) -> None:
    def line(texts: int) -> bytes:
        return b'["' + b',\\"' * texts + end

    def decode(line: bytes) -> None:
        with contextlib.suppress(ValueError):
            decode_line(line)

    assert growth(decode, line(500_000), line(2_000_000)) < LINEAR


@pytest.mark.parametrize("value", [b"[],", b"1,", b'"a",', b"{},"])
def test_a_line_of_countless_values_is_refused_before_they_are_made(value: bytes) -> None:
    line = b"[" + value * (jsonl.MAX_VALUES + 1) + b"1]"
    assert refused(line) == "has more than 500,000 values"


def test_commas_of_a_text_are_no_values() -> None:
    text = "a, b: [c] {d} \\" * 100_000
    assert decode_line(json.dumps([text]).encode()) == [text]


def test_unknown_keys_without_number_stay_cheap() -> None:
    line = b"{" + b",".join(b'"k%d":1' % i for i in range(100_000)) + b"}"
    errors = LineErrors()
    tracemalloc.start()
    list(parse_records(Point, [line], errors))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "and 99901 more" in errors.errors[0].reason
    assert used < 30 * 1024 * 1024

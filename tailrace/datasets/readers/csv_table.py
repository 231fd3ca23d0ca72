"""Reader of CSV files."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from tailrace.datasets.readers.row import DataFileError, Row
from tailrace.formats.data.jsonl import MAX_LINE_BYTES, bounded_lines
from tailrace.formats.wording import describe

DELIMITERS = {",": "','", ";": "';'", "\t": "tab"}
"""Delimiters that are recognised, with their names."""

MAX_COLUMNS = 1000
"""Maximum number of columns."""

_SEPARATOR = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
"""First line with which Excel names the delimiter."""


def read_csv(stream: io.BufferedReader) -> Iterator[Row]:
    """Yield the rows of a CSV file as mappings of column to text; ``number`` is that of the line.

    The first line must be a header. The delimiter is the one of comma, semicolon and tab that the
    header has, or that of a line ``sep=;`` before it. Quoted fields may hold line breaks. Rows
    without any field are skipped.

    Raises:
        DataFileError: There is no header, its delimiter is ambiguous, or quotes do not match.
    """
    # The limit is that of the process: a longer one of other code stays.
    csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))
    lines = _Lines(stream)
    delimiter, first = _delimiter(lines)
    lines.push(first)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    header = _checked_header(_next_record(reader, lines) or [])
    while (record := _next_record(reader, lines)) is not None:
        if not record:
            continue
        if len(record) == len(header):
            values = dict(zip(header, record, strict=True))
            yield Row(lines.start, values, size=lines.record_bytes)
        else:
            problem = f"has {len(record)} fields, the header has {len(header)}"
            yield Row(lines.start, None, problem=problem)


class _Lines:
    """Lines of a table as text, with the number of the line in which the current record began."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._lines = bounded_lines(stream)
        self._pushed: str | None = None
        self._number = 0
        self.record_bytes = 0
        self.start = 1

    def begin(self) -> None:
        """Note that the next line begins a record."""
        self.start = self._number + 1
        self.record_bytes = 0

    def push(self, line: str) -> None:
        """Return a line that was read ahead."""
        self._pushed = line
        self._number -= 1

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        self._number += 1
        if self._pushed is not None:
            line, self._pushed = self._pushed, None
            return line
        content = next(self._lines)
        self.record_bytes += len(content)
        if self.record_bytes > MAX_LINE_BYTES:
            raise DataFileError(
                f"line {self.start}: the row is longer than {MAX_LINE_BYTES} bytes; is a closing "
                "quote missing?"
            )
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            raise DataFileError(
                f"line {self._number} is not UTF-8 (byte {error.start} of the line): save the "
                "table as CSV UTF-8"
            ) from error


def _next_record(reader: Iterator[list[str]], lines: _Lines) -> list[str] | None:
    lines.begin()
    try:
        return next(reader, None)
    except csv.Error as error:
        raise DataFileError(
            f"line {lines.start} begins a row that is not CSV: {_reason(error)}"
        ) from error


def _reason(error: csv.Error) -> str:
    if "new-line" in str(error):
        return "it has a carriage return outside quotes; lines must end with LF or CRLF"
    return f"{error}; a quote within a quoted field must be doubled"


def _delimiter(lines: _Lines) -> tuple[str, str]:
    """Return the delimiter, and the header's first line.

    Raises:
        DataFileError: The file is empty, or several delimiters split the header alike.
    """
    first = next(lines, None)
    if first is None:
        raise DataFileError("is empty: the first line must be a header with the columns' names")
    named = _SEPARATOR.fullmatch(first)
    if named:
        return named[1], next(lines, "")
    counts = {sign: len(_split(first, sign)) for sign in DELIMITERS}
    most = max(counts.values())
    candidates = [sign for sign, count in counts.items() if count == most]
    if most <= 1:
        return ",", first
    if len(candidates) > 1:
        names = " and ".join(DELIMITERS[sign] for sign in candidates)
        raise DataFileError(
            f"has a header that {names} split into {most} columns alike: put a line sep=, (or "
            "another delimiter) before it"
        )
    return candidates[0], first


def _split(line: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([line], delimiter=delimiter), [])
    except csv.Error as error:
        raise DataFileError(f"has a header that is not CSV: {_reason(error)}") from error


def _checked_header(names: list[str]) -> list[str]:
    if not names:
        raise DataFileError("has no header: the first line must have the columns' names")
    if len(names) > MAX_COLUMNS:
        raise DataFileError(f"has {len(names)} columns, at most {MAX_COLUMNS} allowed")
    seen: set[str] = set()
    for number, name in enumerate(names, start=1):
        if not name.strip():
            raise DataFileError(
                f"has no name for column {number} in its header: give one, or leave the column "
                "out (pandas: to_csv(FILE, index=False))"
            )
        if name in seen:
            raise DataFileError(f"has the column {describe(name)} twice in its header")
        seen.add(name)
    return names

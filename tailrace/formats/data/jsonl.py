"""JSON Lines: records of one schema, one a line; wrong lines are reported by number."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from gzip import GzipFile
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from tailrace.formats.canonical import canonical_json
from tailrace.formats.data.file_kind import (
    dataset_hint,
    foreign_kind,
    foreign_records,
    records_hint,
)
from tailrace.formats.data.record import SCHEMAS
from tailrace.formats.schema import SpecError, parse, to_mapping
from tailrace.formats.wording import describe

T = TypeVar("T")

MAX_LINE_BYTES = 32 * 1024 * 1024
"""Maximum length of a line, in bytes; the largest allowed trace fits in ASCII."""

MAX_VALUES = 500_000
"""Maximum number of values in a line, including names and brackets: a prediction of 65,536 tokens
with log-probabilities has a quarter of it."""

_VALUE_END = re.compile(rb'[\[{,:]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""A sign next to a value, or a whole string, whose commas do not separate values. The closing quote
is optional, so that an unterminated string is not searched again from each quote within it."""

MAX_REPORTED_ERRORS = 100
"""Number of wrong lines that an error lists; further ones are only counted."""

_SHOWN_LINES = 3
_SHOWN_CHARACTERS = 300
"""Characters of each reason in the message: enough to recognise the kind of file."""


@dataclass(frozen=True)
class LineError:
    """A wrong line: its number, counted from 1, and the reason."""

    line: int
    reason: str


class FormatError(ValueError):
    """Lines that are not records of their schema.

    ``errors`` lists the first :data:`MAX_REPORTED_ERRORS` of them in order; ``count`` is the number
    of all.
    """

    def __init__(self, errors: list[LineError], count: int | None = None) -> None:
        self.errors = errors[:MAX_REPORTED_ERRORS]
        self.count = len(errors) if count is None else count
        first = self.errors[:_SHOWN_LINES]
        text = "; ".join(f"line {e.line}: {_beginning(e.reason)}" for e in first)
        more = f"; and {self.count - len(first)} more" if self.count > len(first) else ""
        super().__init__(f"{text}{more}")


class LineErrors:
    """A collector of line errors that keeps the first, so that huge bad input stays cheap."""

    def __init__(self) -> None:
        self.errors: list[LineError] = []
        self.count = 0

    def add(self, line: int, reason: str) -> None:
        """Record one wrong line; ``line`` counts from 1."""
        self.count += 1
        if len(self.errors) == MAX_REPORTED_ERRORS and line > self.errors[-1].line:
            return
        bisect.insort(self.errors, LineError(line, reason), key=lambda error: error.line)
        del self.errors[MAX_REPORTED_ERRORS:]

    def raise_any(self) -> None:
        """Raise :class:`FormatError` with all errors in line order, if there are any."""
        if self.count:
            raise FormatError(self.errors, self.count)


def parse_records(
    schema: type[T], lines: Iterable[bytes], errors: LineErrors
) -> Iterator[tuple[int, T]]:
    """Yield (line number, record) for every good line; wrong lines go to ``errors``.

    Blank lines are skipped. ``lines`` may include their newlines. A file of another kind is a
    single error; its first non-blank line shows the kind. A schema whose records are confused with
    others has a ``FORM``, which that error shows.
    """
    is_first = True
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        kind = _foreign_kind(schema, line) if is_first else None
        is_first = False
        if kind is not None:
            errors.add(number, f"the file {kind}")
            return
        try:
            yield number, parse(schema, decode_line(line))
        except (SpecError, ValueError) as error:
            errors.add(number, str(error))


def _foreign_kind(schema: type[Any], first_line: bytes) -> str | None:
    """Return the kind of a file that does not hold records of ``schema``, with the way out."""
    kind = foreign_kind(first_line)
    is_dataset = schema in SCHEMAS.values()
    if kind is not None:
        return kind + dataset_hint(kind) if is_dataset else kind
    form = getattr(schema, "FORM", None)
    if form is None:
        return None
    try:
        record = decode_line(first_line)
        parse(schema, record)
    except SpecError as error:
        # A record with every required key is one of the schema with a wrong key.
        is_foreign = any(v.description == "is required" for v in error.violations)
        records = foreign_records(record) if is_foreign else None
        if records is None:
            return None
        hint = records_hint(record) if is_dataset else f"each line must be {form}"
        return f"has {records}: {hint}"
    except ValueError:
        return None
    return None


def decode_line(line: bytes) -> Any:
    """Return one line as plain data.

    Bad UTF-8, repeated keys, NaN and infinities, which JSON forbids or leaves open, are refused.

    Raises:
        ValueError: The line is wrong; the message says what is wrong with it.
    """
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"is longer than {MAX_LINE_BYTES} bytes")
    try:
        # With the newline, JSON that ends too early would be reported in column 1 of the next line.
        text = line.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"is not UTF-8 (byte {error.start} of the line)") from error
    _check_values(line)
    try:
        return json.loads(text, object_pairs_hook=_no_repeats, parse_constant=_no_constants)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: {error.msg} (column {error.colno})") from error
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
    except ValueError as error:
        # Python's own message names a setting that users do not have.
        if "set_int_max_str_digits" in str(error):
            raise ValueError("holds a whole number with thousands of digits") from error
        raise


def read_records(schema: type[T], path: Path) -> list[T]:
    """Return all records of a file.

    Raises:
        FormatError: Lines are not records of the schema.
        OSError: The file cannot be read.
    """
    errors = LineErrors()
    records = [record for _, record in parse_records(schema, file_lines(path), errors)]
    errors.raise_any()
    return records


def file_lines(path: Path) -> Iterator[bytes]:
    """Yield the lines of a file, as :func:`bounded_lines`.

    Raises:
        OSError: The file cannot be read.
    """
    with path.open("rb") as file:
        yield from bounded_lines(file)


def bounded_lines(file: BinaryIO | GzipFile) -> Iterator[bytes]:
    """Yield the lines of an open file, each cut just above :data:`MAX_LINE_BYTES`."""
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
            # Skip the rest of the line, which will be refused, in bounded pieces.
            line = file.readline(MAX_LINE_BYTES + 1)


def dump_record(record: Any) -> str:
    """Return a schema instance as a line of canonical JSON, without unset keys."""
    return canonical_json(to_mapping(record)) + "\n"


def write_records(path: Path, records: Iterable[Any]) -> None:
    """Write schema instances to a file, one a line, as UTF-8.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.writelines(dump_record(record) for record in records)


def _beginning(reason: str) -> str:
    return reason if len(reason) <= _SHOWN_CHARACTERS else reason[: _SHOWN_CHARACTERS - 1] + "…"


def _check_values(line: bytes) -> None:
    """Check the number of values in a line before they are parsed.

    Parsing takes a hundred times the memory of the line, and blocks every other thread.

    Raises:
        ValueError: The line has too many values.
    """
    if sum(map(line.count, (b"[", b"{", b",", b":"))) <= MAX_VALUES:
        return
    # Strings may contain many of these signs.
    for count, _ in enumerate(_VALUE_END.finditer(line)):
        if count > MAX_VALUES:
            raise ValueError(f"has more than {MAX_VALUES:,} values")


def _no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"has the key {describe(name)} twice")
            seen.add(name)
    return mapping


def _no_constants(name: str) -> Any:
    raise ValueError(f"contains {name}, which is not JSON")

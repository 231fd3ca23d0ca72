"""Readers of JSON Lines and of JSON arrays."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

from tailrace.datasets.readers.row import DataFileError, Row
from tailrace.formats.data.file_kind import foreign_kind
from tailrace.formats.data.jsonl import MAX_LINE_BYTES, bounded_lines, decode_line

_READ_BYTES = 1 << 18

_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(")?|[\[\]{},]', re.DOTALL)
"""A bracket, a comma, or a string; the group is missing if the buffer ends within the string."""


def read_json_lines(stream: io.BufferedReader) -> Iterator[Row]:
    """Yield the rows of JSON Lines; blank lines are skipped.

    Raises:
        DataFileError: The first line shows that the file is something else.
    """
    is_first = True
    for number, line in enumerate(bounded_lines(stream), start=1):
        if not line.strip():
            continue
        if is_first:
            kind = foreign_kind(line)
            if kind is not None:
                raise DataFileError(kind)
            is_first = False
        try:
            yield Row(number, decode_line(line), raw=line, size=len(line))
        except ValueError as error:
            yield Row(number, None, problem=str(error))


def read_json_array(stream: io.BufferedReader) -> Iterator[Row]:
    """Yield the items of a JSON array; one item is in memory at a time.

    Raises:
        DataFileError: The array does not end, is followed by other content, or has an item of more
            than :data:`MAX_LINE_BYTES`.
    """
    for number, element in enumerate(_items(stream), start=1):
        try:
            yield Row(number, decode_line(element), "item", size=len(element))
        except ValueError as error:
            yield Row(number, None, "item", problem=str(error))


def _items(stream: io.BufferedReader) -> Iterator[bytes]:
    """Yield the text of each item of an array, found by its brackets, commas and strings."""
    buffer, start, at, depth, count = b"", 0, 0, 0, 0
    while True:
        token = _TOKEN.search(buffer, at)
        if token is None or (token[0].startswith(b'"') and not token[1]):
            at = (len(buffer) if token is None else token.start()) - start
            buffer = _longer(buffer[start:], stream, count + 1)
            start = 0
            continue
        at = token.end()
        sign = token[0]
        if sign in (b"[", b"{"):
            depth += 1
            start = at if depth == 1 else start
        elif sign in (b"]", b"}"):
            depth -= 1
        if depth == 0 or (depth == 1 and sign == b","):
            element = buffer[start : token.start()].strip()
            # An array without items has no comma either.
            if element or count or depth:
                count += 1
                yield element
            start = at
        if depth == 0:
            _require_nothing(buffer[start:], stream)
            return


def _longer(buffer: bytes, stream: io.BufferedReader, number: int) -> bytes:
    """Return the beginning of an item with more of it, twice as much so that searching is linear.

    Raises:
        DataFileError: The item is too long, or the file ends in it.
    """
    if len(buffer) > MAX_LINE_BYTES:
        raise DataFileError(f"item {number} is longer than {MAX_LINE_BYTES} bytes")
    more = stream.read(max(_READ_BYTES, len(buffer)))
    if not more:
        raise DataFileError(f"is a JSON array that ends in the middle of item {number}")
    return buffer + more


def _require_nothing(rest: bytes, stream: io.BufferedReader) -> None:
    while not rest.strip():
        rest = stream.read(_READ_BYTES)
        if not rest:
            return
    raise DataFileError("has content after the end of its JSON array: each row must be an item")

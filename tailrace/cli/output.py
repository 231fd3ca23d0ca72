"""What commands print: JSON for programs, tables for people."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tailrace.cli.tables import Column, widths
from tailrace.protomap import to_mapping

_PIPED_TEXT = 60
"""Characters of free text that a table shows where there is no terminal."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """Text without control characters, which could rewrite the terminal; they become escapes."""
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)


def console(*, stderr: bool = False) -> Console:
    """The terminal; a pipe or a file gets whole lines, however long."""
    made = Console(stderr=stderr, highlight=False, markup=False, emoji=False)
    return (
        made
        if made.is_terminal
        else Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=10_000)
    )


def plain(message: Message) -> dict[str, Any]:
    """A message as ``--json`` shows it: every scalar is there, also when zero."""
    return to_mapping(message, defaults=True)


def print_json(data: Any) -> None:
    """One JSON document, indented."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False, indent=2) + "\n")


def print_json_line(data: Any) -> None:
    """One JSON document on one line, at once: streams are read as they come."""
    sys.stdout.write(json.dumps(data, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def print_messages(messages: Iterable[Message]) -> None:
    """A JSON array."""
    print_json([plain(message) for message in messages])


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    text: Collection[str] = (),
    keys: Collection[str] | None = None,
) -> None:
    """A table without lines; numbers to the right.

    ``text`` names columns of free text, ``keys`` those that are copied (the first unless given). A
    terminal folds what has no room and cuts nothing; a pipe gets a line per row, in which free text
    is shortened: one long answer would pad every row.
    """
    out = console()
    limit = None if out.is_terminal else _PIPED_TEXT
    filled = [
        [
            _shortened(cell(v), limit if c in text else None)
            for c, v in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    keys = columns[:1] if keys is None else keys
    measured = [
        Column([name, *(row[index] for row in filled)], name in text, name in keys)
        for index, name in enumerate(columns)
    ]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column, width in zip(measured, widths(measured, out.width), strict=True):
        numeric = all(re.fullmatch(r"[-\d.,/ %]*", each) for each in column.cells[1:])
        justify: Literal["left", "right"] = "right" if filled and numeric else "left"
        table.add_column(Text(column.cells[0]), justify=justify, width=width, overflow="fold")
    for row in filled:
        table.add_row(*(Text(value) for value in row))
    out.print(table)


def _shortened(value: str, limit: int | None) -> str:
    return value if limit is None or len(value) <= limit else value[: limit - 1] + "…"


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """``name: value`` lines, aligned; empty values are left out."""
    shown = [(name, cell(value)) for name, value in fields if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        console().print(f"{name + ':':<{width + 1}} {value}", soft_wrap=True)


def cell(value: object) -> str:
    """One value as text."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return printable(str(value).replace("\n", "⏎"))


def moment(value: timestamp_pb2.Timestamp) -> str:
    """Local time to the second; empty when not set."""
    if not value.seconds:
        return ""
    return value.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(start: timestamp_pb2.Timestamp, end: timestamp_pb2.Timestamp) -> str:
    """Time from start to end, or to now while it lasts; empty when not started."""
    if not start.seconds:
        return ""
    until = end.ToDatetime(UTC) if end.seconds else datetime.now(UTC)
    seconds = max(0, round((until - start.ToDatetime(UTC)).total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def size(count: int) -> str:
    """A number of bytes with its unit (powers of 1024)."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"

"""What commands print: JSON for programs, tables for people."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tailrace.protomap import to_mapping

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


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table without lines; numbers to the right, nothing cut off in a pipe."""
    filled = [[cell(value) for value in row] for row in rows]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numeric = all(re.fullmatch(r"[-\d.,/ %]*", row[index]) for row in filled)
        table.add_column(column, justify="right" if filled and numeric else "left")
    for row in filled:
        table.add_row(*(Text(value) for value in row))
    console().print(table)


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

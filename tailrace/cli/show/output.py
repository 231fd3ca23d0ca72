"""What commands print: JSON for programs, tables for people."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from google.protobuf import timestamp_pb2
from google.protobuf.message import Message
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from tailrace.cli.show.tables import Column, widths
from tailrace.protomap import to_mapping

_PIPED_TEXT = 60
"""Characters of free text that a table shows where there is no terminal."""

_LARGE_LOSS = 1e6

_UNSAFE = re.compile(
    # C0 but for tab and line feed, DEL and C1: they move the cursor, rewrite lines, call programs.
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"
    # Marks of direction and lines, which show text in another order than it is stored.
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"
    # Halves of characters, and invisible tags.
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """Return text from outside with an escape for each character that could deceive a reader."""
    return _UNSAFE.sub(lambda match: _escape(ord(match[0])), text)


def one_line(text: str) -> str:
    """Return :func:`printable` text in which line feeds are visible signs as well."""
    return printable(text.replace("\n", "⏎"))


def _escape(number: int) -> str:
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class SafeConsole(Console):
    """A console on which every text is :func:`printable`, also one that nobody thought of."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Yield the segments of a renderable, without unsafe characters in their text."""
        for segment in super().render(renderable, options):
            if segment.control or not _UNSAFE.search(segment.text):
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)


def console(*, stderr: bool = False) -> Console:
    """The terminal; a pipe or a file gets whole lines, however long."""
    settings: dict[str, Any] = {
        "stderr": stderr,
        "highlight": False,
        "markup": False,
        "emoji": False,
    }
    terminal = SafeConsole(**settings)
    return terminal if terminal.is_terminal else SafeConsole(**settings, width=10_000)


def replace_unencodable() -> None:
    """Let standard output replace characters that its encoding lacks, rather than fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def plain(message: Message) -> dict[str, Any]:
    """A message as ``--json`` shows it: every scalar is there, also when zero."""
    return to_mapping(message, defaults=True)


def print_json(data: Any) -> None:
    """One JSON document, indented."""
    sys.stdout.write(_json_text(data, indent=2) + "\n")


def print_json_line(data: Any) -> None:
    """One JSON document on one line, at once: streams are read as they come."""
    sys.stdout.write(_json_text(data) + "\n")
    sys.stdout.flush()


def _json_text(data: Any, indent: int | None = None) -> str:
    """Return JSON that means exactly ``data``, whatever standard output can show."""
    text = json.dumps(data, ensure_ascii=False, indent=indent)
    # Unsafe characters stand in strings only, where an escape means the same.
    text = _UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(data, indent=indent)
    return text


def print_messages(messages: Iterable[Message]) -> None:
    """A JSON array."""
    print_json([plain(message) for message in messages])


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    text: Collection[str] = (),
    keys: Collection[str] | None = None,
    whole: bool = False,
) -> None:
    """A table without lines; numbers to the right.

    ``text`` names columns of free text, ``keys`` those that are copied (the first unless given). A
    terminal folds what has no room and cuts nothing; a pipe gets a line per row, in which free text
    is shortened unless it must be ``whole``: one long answer would pad every row.
    """
    out = console()
    limit = None if out.is_terminal or whole else _PIPED_TEXT
    filled = [
        [
            _shortened(cell(v), limit if c in text else None)
            for c, v in zip(columns, row, strict=True)
        ]
        for row in rows
    ]
    keys = columns[:1] if keys is None else keys
    measured = [
        Column([one_line(name), *(row[index] for row in filled)], name in text, name in keys)
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
    shown = [(one_line(name), cell(value)) for name, value in fields if value not in (None, "")]
    width = max((len(name) for name, _ in shown), default=0)
    for name, value in shown:
        console().print(f"{name + ':':<{width + 1}} {value}", soft_wrap=True)


def cell(value: object) -> str:
    """One value as text."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return one_line(str(value))


def loss(value: float) -> str:
    """A loss with four decimals; one that is no longer a loss as a power of ten."""
    return f"{value:.4f}" if abs(value) < _LARGE_LOSS else f"{value:.4g}"


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

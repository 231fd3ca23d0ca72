"""Output of commands: JSON for programs, tables for people."""

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
"""Characters of free text in a table that is not printed on a terminal."""

_LARGE_LOSS = 1e6

_UNSAFE = re.compile(
    # C0 except tab and line feed, DEL and C1: they move the cursor, rewrite lines, call programs.
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f"
    # Marks of direction and lines, which show text in another order than stored.
    r"\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb"
    # Halves of characters, and invisible tags.
    r"\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    """Return untrusted text with an escape for each character that could deceive a reader."""
    return _UNSAFE.sub(lambda match: _escape(ord(match[0])), text)


def one_line(text: str) -> str:
    """Return :func:`printable` text in which line feeds are visible, too."""
    return printable(text.replace("\n", "⏎"))


def _escape(number: int) -> str:
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class SafeConsole(Console):
    """Console that makes every text :func:`printable`, whichever command prints it."""

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
    """Return a console; in a pipe or a file its lines are never folded."""
    settings: dict[str, Any] = {
        "stderr": stderr,
        "highlight": False,
        "markup": False,
        "emoji": False,
    }
    terminal = SafeConsole(**settings)
    return terminal if terminal.is_terminal else SafeConsole(**settings, width=10_000)


def replace_unencodable() -> None:
    """Replace characters that the encoding of the standard streams lacks, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def plain(message: Message) -> dict[str, Any]:
    """Return a message as ``--json`` prints it: with every scalar, also zero."""
    return to_mapping(message, defaults=True)


def print_json(document: Any) -> None:
    """Print one JSON document, indented."""
    sys.stdout.write(_json_text(document, indent=2) + "\n")


def print_json_line(document: Any) -> None:
    """Print one JSON document on one line, unbuffered for readers of a stream."""
    sys.stdout.write(_json_text(document) + "\n")
    sys.stdout.flush()


def _json_text(document: Any, indent: int | None = None) -> str:
    """Return JSON that standard output can encode and that decodes to ``document``."""
    text = json.dumps(document, ensure_ascii=False, indent=indent)
    # Unsafe characters occur in strings only, where an escape means the same.
    text = _UNSAFE.sub(lambda match: json.dumps(match[0])[1:-1], text)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        return json.dumps(document, indent=indent)
    return text


def print_messages(messages: Iterable[Message]) -> None:
    """Print messages as one JSON array."""
    print_json([plain(message) for message in messages])


def print_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    text: Collection[str] = (),
    keys: Collection[str] | None = None,
    shorten: bool = True,
) -> None:
    """Print a table without rules, numbers aligned to the right.

    A terminal folds wide cells and cuts none. A pipe gets one line per row with free text
    shortened, because one long answer would pad every row.

    Args:
        columns: Heads of the columns.
        rows: Cells of each row.
        text: Columns of free text, which are folded first.
        keys: Columns that are copied, which are folded last (default: the first).
        shorten: Shorten free text in a pipe.
    """
    out = console()
    limit = None if out.is_terminal or not shorten else _PIPED_TEXT
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
        numeric = all(re.fullmatch(r"[-\d.,/ %]*", text) for text in column.cells[1:])
        justify: Literal["left", "right"] = "right" if filled and numeric else "left"
        table.add_column(Text(column.cells[0]), justify=justify, width=width, overflow="fold")
    for row in filled:
        table.add_row(*(Text(value) for value in row))
    out.print(table)


def _shortened(value: str, limit: int | None) -> str:
    return value if limit is None or len(value) <= limit else value[: limit - 1] + "…"


def print_fields(fields: Iterable[tuple[str, object]]) -> None:
    """Print aligned ``name: value`` lines without empty values."""
    lines = [(one_line(name), cell(value)) for name, value in fields if value not in (None, "")]
    width = max((len(name) for name, _ in lines), default=0)
    for name, value in lines:
        console().print(f"{name + ':':<{width + 1}} {value}", soft_wrap=True)


def cell(value: object) -> str:
    """Return one value as text."""
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.4g}"
    return one_line(str(value))


def loss(value: float) -> str:
    """Return a loss with four decimals; one of a diverged training as a power of ten."""
    return f"{value:.4f}" if abs(value) < _LARGE_LOSS else f"{value:.4g}"


def moment(value: timestamp_pb2.Timestamp) -> str:
    """Return local time to the second; empty if not set."""
    if not value.seconds:
        return ""
    return value.ToDatetime(UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def duration(start: timestamp_pb2.Timestamp, end: timestamp_pb2.Timestamp) -> str:
    """Return the time from start to end, or until now; empty before the start."""
    if not start.seconds:
        return ""
    until = end.ToDatetime(UTC) if end.seconds else datetime.now(UTC)
    seconds = max(0, round((until - start.ToDatetime(UTC)).total_seconds()))
    hours, rest = divmod(seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}h{minutes:02}m" if hours else f"{minutes}m{seconds:02}s"


def size(count: int) -> str:
    """Return a number of bytes with its unit (powers of 1024)."""
    amount = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if amount < 1024:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} TiB"

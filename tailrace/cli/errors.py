"""Errors as one readable block on stderr, without a stack trace."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Sequence

from tailrace.access import AccessError
from tailrace.channel import SERVER_VARIABLE
from tailrace.cli import exit_codes
from tailrace.cli.show.output import one_line, printable
from tailrace.datasets.columns import MappingError
from tailrace.datasets.content import DatasetError
from tailrace.datasets.detect import DetectionError
from tailrace.datasets.importing import WrongRows
from tailrace.datasets.readers.row import DataFileError
from tailrace.errors import HTTP_STATUS, TailraceError
from tailrace.formats.data.jsonl import FormatError
from tailrace.formats.schema import MORE, SpecError, Violation, capped
from tailrace.profiles import ProfileError
from tailrace.spec_file import SpecFileError
from tailrace.tls_files import TlsFilesError


class CommandError(Exception):
    """Failure of a command, with an exit code of :mod:`tailrace.cli.exit_codes`."""

    def __init__(self, message: str, exit_code: int = exit_codes.BAD_INPUT) -> None:
        super().__init__(message)
        self.exit_code = exit_code


REPORTED = (
    TailraceError,
    SpecError,
    FormatError,
    WrongRows,
    DataFileError,
    DetectionError,
    MappingError,
    DatasetError,
    CommandError,
    AccessError,
    ProfileError,
    TlsFilesError,
    OSError,
)
"""Errors that a command reports to its user; any other is a fault of this program."""

_BEGINNING = 200
"""Characters of a description that are enough to recognise it."""

_HINTS = {
    exit_codes.UNAVAILABLE: (
        f"is the control plane running? `tailrace up` starts one; --server or {SERVER_VARIABLE} "
        "selects another"
    ),
    exit_codes.FAULT: "the control plane's log has the details",
}


def fault(raised: Exception) -> int:
    """Show a fault of this program with its stack trace; return the exit code."""
    sys.stderr.write(printable("".join(traceback.format_exception(raised))))
    sys.stderr.write(
        "error: a fault of the tailrace command itself; please report the lines above\n"
    )
    return exit_codes.FAULT


def error(raised: BaseException) -> int:
    """Show an error on stderr; return the exit code."""
    lines, code = _describe(raised)
    sys.stderr.write("\n".join(printable(line) for line in lines) + "\n")
    return code


def _describe(raised: BaseException) -> tuple[list[str], int]:
    if isinstance(raised, TailraceError):
        code = exit_codes.of_error(raised)
        lines = [f"error: {_head(raised)}", *_fields(raised.violations)]
        if raised.reason:
            lines.append(f"  reason: {raised.reason}")
        if code in _HINTS and raised.reason != HTTP_STATUS and not _answers(raised):
            lines.append(f"  hint: {_HINTS[code]}")
        # A line feed in a server's text must not begin a line that looks like ours.
        return [one_line(line) for line in lines], code
    if isinstance(raised, SpecFileError):
        return [f"error: {raised.where} {raised.problem}"], exit_codes.BAD_INPUT
    if isinstance(raised, SpecError):
        head = _count(raised.violations)
        return [f"error: {head}", *_fields(capped(raised.violations))], exit_codes.BAD_INPUT
    if isinstance(raised, FormatError):
        lines = [f"  line {e.line}: {e.reason}" for e in raised.errors]
        more = raised.count - len(lines)
        lines += [f"  and {more} more"] if more else []
        return [f"error: {_wrong(raised.count, 'line')}", *lines], exit_codes.BAD_INPUT
    if isinstance(raised, DetectionError):
        lines = [f"  {detail}" for detail in raised.details]
        return [f"error: {raised.problem}", *lines], exit_codes.BAD_INPUT
    if isinstance(raised, WrongRows):
        lines = [f"  {e.place}: {e.reason}" for e in raised.errors]
        more = raised.count - len(lines)
        lines += [f"  and {more} more"] if more else []
        return [f"error: {_wrong(raised.count, 'row')}", *lines], exit_codes.BAD_INPUT
    if isinstance(raised, OSError) and raised.strerror:
        place = f"{raised.filename}: " if raised.filename is not None else ""
        is_full = raised.errno == errno.ENOSPC and not place
        hint = "; TMPDIR names the folder for temporary files" if is_full else ""
        return [f"error: {place}{raised.strerror}{hint}"], exit_codes.BAD_INPUT
    code = raised.exit_code if isinstance(raised, CommandError) else exit_codes.BAD_INPUT
    return [f"error: {raised}"], code


def _answers(raised: TailraceError) -> bool:
    """Return True if a server is there, but access to it is set wrongly; the message says what."""
    return raised.message.startswith(("the server", "the certificate"))


def _head(raised: TailraceError) -> str:
    """Return the message, or a count of the fields if it only repeats them."""
    # Either text may be cut, so that only beginnings are compared.
    is_repeated = any(v.description[:_BEGINNING] in raised.message for v in raised.violations)
    return _count(raised.violations) if is_repeated else raised.message


def _count(violations: Sequence[Violation]) -> str:
    listed = [v for v in violations if v.field != MORE]
    noun = "line" if all(v.field.startswith("line ") for v in listed) else "field"
    count = _wrong(len(listed), noun)
    return count if len(listed) == len(violations) else f"more than {count}"


def _wrong(count: int, noun: str) -> str:
    return f"a {noun} is wrong" if count == 1 else f"{count} {noun}s are wrong"


def _fields(violations: Sequence[Violation]) -> list[str]:
    return [
        f"  {v.description}" if v.field == MORE else f"  {v.field}: {v.description}"
        for v in violations
    ]

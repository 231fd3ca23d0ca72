"""The page of errors: codes, reasons, ways out and exit codes."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

from docs.generate import markdown
from docs.generate.attributes import module_attribute_docs
from docs.generate.reasons import CALLS, STAGES, WORKER_CALLS, Reason
from tailrace import errors
from tailrace.cli import exit_codes

_INTRODUCTION = """
A failed call carries a gRPC code and, in `google.rpc.ErrorInfo` of domain `tailrace`, a *reason*:
a stable name for programs. The Python SDK raises one class per code, with `reason`, `metadata` and
`violations`; the message says what was wrong and names the way out. A stage that fails does not
fail a call: its error is part of the run, with its own reason.
"""
_WHEN = re.compile(r"^``(\w+)``\s+([A-Z_]+)\s+(.+)$", re.MULTILINE)


def page() -> str:
    """Return the page."""
    return markdown.page(
        "Errors",
        _INTRODUCTION,
        ["## Codes", "", *_codes()],
        ["## Reasons of calls", "", *_reasons(CALLS)],
        ["## Reasons of workers' calls", "", *_reasons(WORKER_CALLS)],
        [
            "## Reasons of stages",
            "",
            "UNAVAILABLE, ABORTED, DEADLINE_EXCEEDED and INTERNAL mark errors that another attempt",
            "may not meet: the stage is tried again, up to the run's",
            "[`retry.max_attempts`](run-spec.md#retry).",
            "",
            *_reasons(STAGES),
        ],
        ["## Exit codes", "", "The same for every command of `tailrace`.", "", *_exit_codes()],
    )


def _codes() -> Iterator[str]:
    meanings = {name: text for name, _, text in _WHEN.findall(errors.__doc__ or "")}
    yield from markdown.table(
        ("gRPC code", "Python", "exit code", "meaning"),
        (
            (
                f"`{kind.code.name}`",
                f"`errors.{kind.__name__}`",
                str(exit_codes.of_error(kind(""))),
                markdown.from_docstring(meanings[kind.__name__]),
            )
            for kind in errors.TailraceError.__subclasses__()
        ),
    )


def _reasons(reasons: dict[str, Reason]) -> Iterator[str]:
    yield from markdown.table(
        ("reason", "gRPC code", "meaning", "way out"),
        (
            (f"`{name}`", f"`{reason.code}`", reason.meaning, reason.way_out)
            for name, reason in sorted(reasons.items())
        ),
    )


def _exit_codes() -> Iterator[str]:
    docs = module_attribute_docs(inspect.getsource(exit_codes))
    codes = {name: getattr(exit_codes, name) for name in docs if name.isupper()}
    yield from markdown.table(
        ("exit code", "name", "meaning"),
        (
            (str(code), f"`{name}`", docs[name])
            for name, code in sorted(codes.items(), key=lambda entry: entry[1])
        ),
    )

"""Short text for log lines of the stack's processes, which write JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

SHOWN_LINES = 8
"""Maximum number of log lines in an error."""

_WIDTH = 200
_ROUTINE = ("debug", "info")
_CELERY_ROUTINE = re.compile(r"\[[^]]*: (INFO|DEBUG)/")
_LEFT_OUT = ("level", "event", "timestamp", "logger", "exception")


def short_text(line: str) -> str:
    """Return at most :data:`_WIDTH` characters; a JSON object as ``LEVEL event key=value …``.

    A stack trace is reduced to its last line, which names the error.
    """
    entry = _entry(line)
    if entry is None:
        return _cut(line)
    words = [str(entry.get("level", "")).upper(), str(entry.get("event", ""))]
    words += [f"{name}={value}" for name, value in entry.items() if name not in _LEFT_OUT]
    trace = str(entry.get("exception") or "").strip().splitlines()
    return _cut(" ".join(word for word in [*words, *trace[-1:]] if word))


def last_words(lines: Iterable[str]) -> list[str]:
    """Return the end of a process's log without routine lines, each as :func:`short_text`."""
    return [short_text(line) for line in lines if line.strip() and not _is_routine(line)][
        -SHOWN_LINES:
    ]


def _is_routine(line: str) -> bool:
    entry = _entry(line)
    if entry is None:
        return _CELERY_ROUTINE.match(line) is not None
    return entry.get("level") in _ROUTINE


def _entry(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else text[: _WIDTH - 1] + "…"

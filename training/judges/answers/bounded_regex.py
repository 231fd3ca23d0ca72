"""Regular expressions from untrusted sources, bounded in time and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import regex

from training.errors import ConfigError
from training.judges.base import JudgeError
from training.machine.bounded_process import BoundedProcess, OutOfBoundsError, WorkFailedError

SECONDS = 2.0
"""Time limit for compiling a pattern and searching one text."""

MEMORY_BYTES = 1 << 30
"""Memory limit of a pattern, in bytes: compiling ``a{1000000000}`` expands it."""


@dataclass(frozen=True)
class Span:
    """A part of a text that matches."""

    start: int
    end: int


def check_pattern(pattern: str) -> None:
    """Compile a pattern.

    Raises:
        ConfigError: The text is not a valid pattern, or takes too much time or memory.
    """
    try:
        reply = PROCESS.ask({"pattern": pattern})
    except (OutOfBoundsError, WorkFailedError) as error:
        raise ConfigError(f"the pattern {pattern[:100]!r} {error}") from error
    if "wrong" in reply:
        raise ConfigError(reply["wrong"])


def search(pattern: str, text: str, *, full_match: bool = False) -> Span | None:
    """Return the span that ``pattern`` matches, or None.

    Raises:
        ConfigError: The text is not a valid pattern.
        JudgeError: The search takes too much time or memory.
    """
    request = {"pattern": pattern, "text": text, "full_match": full_match}
    try:
        reply = PROCESS.ask(request)
    except OutOfBoundsError as error:
        raise JudgeError(f"the pattern {error} on this text") from error
    if "wrong" in reply:
        raise ConfigError(reply["wrong"])
    return Span(*reply["span"]) if reply["span"] else None


PROCESS = BoundedProcess(
    "training.judges.answers.bounded_regex:answer", seconds=SECONDS, memory_bytes=MEMORY_BYTES
)
"""Process that compiles and searches, since compiling has no time limit."""


def answer(request: dict[str, Any]) -> dict[str, object]:
    """Serve a request of :func:`search`, in its process."""
    try:
        pattern = compile_pattern(request["pattern"])
    except ConfigError as error:
        return {"wrong": str(error)}
    if "text" not in request:
        return {}
    look = pattern.fullmatch if request["full_match"] else pattern.search
    match = look(request["text"])
    return {"span": match.span() if match else None}


def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """Compile a pattern. Call this only in a process that may be killed.

    Raises:
        ConfigError: The text is not a valid pattern.
    """
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"the pattern {pattern[:100]!r} is not valid: {error}") from error

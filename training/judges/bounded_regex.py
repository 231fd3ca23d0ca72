"""Regular expressions that may come from anywhere: none takes longer than it may."""

from __future__ import annotations

import regex

from training.errors import ConfigError
from training.judges.base import JudgeError

SECONDS = 2.0
"""Longest search of one text."""


def compile_pattern(pattern: str) -> regex.Pattern[str]:
    """Compile a pattern. Raises :class:`training.errors.ConfigError` saying what is wrong."""
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError) as error:
        raise ConfigError(f"the pattern {pattern[:100]!r} is not one: {error}") from error


def search(
    pattern: regex.Pattern[str], text: str, *, full_match: bool = False
) -> regex.Match[str] | None:
    """Where ``pattern`` matches. Raises :class:`JudgeError` after :data:`SECONDS`."""
    look = pattern.fullmatch if full_match else pattern.search
    try:
        return look(text, timeout=SECONDS)
    except TimeoutError:
        raise JudgeError(f"the pattern took longer than {SECONDS:g} s on this text") from None

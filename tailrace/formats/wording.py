"""Wording of messages about wrong values: as the user's file spells them, not as Python does."""

from __future__ import annotations

import datetime
import decimal
import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping

_SHOWN_TEXT = 100
_MOST_DIGITS = 30

_INVISIBLE = ("Zs", "Zl", "Zp", "Cc", "Cf")
"""Unicode categories of invisible characters."""

_FILLERS = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
"""Invisible letters, marks and signs: fillers and variation selectors."""


def describe(data: object) -> str:
    """Return a wrong value as YAML spells it, or the name of its type."""
    match data:
        case None:
            return "nothing"
        case bool():
            return "true" if data else "false"
        case int() | float():
            return digits(data)
        case str():
            return repr(shorten(data))
        case list() | tuple():
            return "a list"
        case Mapping():
            return "a mapping"
        case datetime.date():
            return f"the date {data.isoformat()}"
    return "a value of another kind"


def shorten(text: str) -> str:
    """Cut a text to the length at which messages show it."""
    return text if len(text) <= _SHOWN_TEXT else text[: _SHOWN_TEXT - 1] + "…"


def name_text(name: str) -> str:
    """Return the name of a key or a tensor for a message: quoted and cut unless it is plain."""
    is_plain = name.isprintable() and 0 < len(name) <= _SHOWN_TEXT
    return name if is_plain else repr(shorten(name))


def is_blank(text: str) -> bool:
    """Return True for a text without visible characters."""
    first = text[:1]
    if first.isascii() and first.isalnum():
        return False
    return all(unicodedata.category(c) in _INVISIBLE for c in _FILLERS.sub("", text))


def pluralize(count: int, noun: str) -> str:
    """Return a count with a noun that has a regular plural: ``1 step``, ``2 steps``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def quote_hint(data: object) -> str:
    """Return the way out for a word that YAML does not read as text; empty for other values."""
    if isinstance(data, (bool, int, float, datetime.date)):
        return ": put it into quotes"
    return ""


def unknown_name(name: str, known_names: tuple[str, ...]) -> str:
    """Return the problem with a name that is not among the known ones; empty for one that is."""
    if name in known_names:
        return ""
    # Classes are named in camel case where files are not: AnswerCorrectness.
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name[: _SHOWN_TEXT + 1]).lower()
    near = nearest(snake, known_names)
    hint = f"did you mean {near!r}? " if near else ""
    return f"{describe(name)} is not known; {hint}there is: {', '.join(known_names)}"


def nearest(name: str, known_names: Iterable[str]) -> str:
    """Return the known name most similar to a wrong one; empty if there is no similar name.

    A long name is similar to none, and comparing it would take seconds.
    """
    matches = difflib.get_close_matches(name, known_names, n=1) if len(name) <= _SHOWN_TEXT else []
    return matches[0] if matches else ""


def digits(number: float) -> str:
    """Return a number in digits, or in words if it has too many of them."""
    size = abs(number)
    if isinstance(number, int):
        if size < 10**_MOST_DIGITS:
            return str(number)
        bound = f"10^{_MOST_DIGITS}"
        return f"a number above {bound}" if number > 0 else f"a number below -{bound}"
    if not math.isfinite(number) or (size and not 1e-4 <= size < 10.0**_MOST_DIGITS):
        return f"{number:g}"
    text = format(decimal.Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text

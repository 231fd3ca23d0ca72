"""Answers that name several things."""

from __future__ import annotations

import re

MOST_PARTS = 100
"""Longer lists are compared as text."""

_BRACES = re.compile(r"\{(.*)\}|\[(.*)\]|\((.*)\)", re.DOTALL)
_SEPARATOR = re.compile(r"\s*[,;]\s*(?:(?:and|&)\s+)?|\s+(?:and|&)\s+|\s*\n\s*")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ORDER = re.compile(
    r"\b(?:(?:in|what|which|correct|right|ascending|descending|alphabetical|chronological) order|"
    r"order (?:them|these|the)|sort(?:ed|ing)?|rank(?:ed|ing)?|ascending|descending|"
    r"(?:in|de)creasing|alphabetically|chronologically|respectively|reversed?|backwards?|"
    r"(?:smallest|largest|lowest|highest|biggest|shortest|longest|oldest|youngest|earliest|latest) "
    r"to)\b",
    re.IGNORECASE,
)


def read_list(text: str) -> list[str]:
    """The elements of normalized text; one where it is no list, and for too long ones."""
    braced = _BRACES.fullmatch(text)
    inner = next((group for group in braced.groups() if group is not None), "") if braced else text
    # The comma of 1,234 separates nothing.
    guarded = _THOUSANDS.sub("\0", inner) if not braced else inner
    parts = [part.replace("\0", ",").strip() for part in _SEPARATOR.split(guarded)]
    return parts if len(parts) <= MOST_PARTS and all(parts) else [text]


def is_ordered(prompt: str, expected: str) -> bool:
    """Whether the order of a list counts: where the prompt speaks of one, and in (1, 2)."""
    return expected.startswith("(") or _ORDER.search(prompt) is not None

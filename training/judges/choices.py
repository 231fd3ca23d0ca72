"""Answers to multiple-choice questions: which option they mean."""

from __future__ import annotations

import re

from tailrace.formats.eval_item import EvalItem
from training.judges.answers import Answer, same_text

_LETTER = re.compile(
    r"(?:option |choice |answer )?\(?(?P<letter>[a-z])\)?"
    r"(?:(?:[).:,]| -|:)?\s+\(?(?P<rest>.+?)\)?)?",
    re.DOTALL,
)


def choice(given: Answer, item: EvalItem) -> int | None:
    """The number of the option that an answer means: its text, its letter, or both."""
    if not item.choices:
        return None
    named = option(given.text, item)
    if named is not None:
        return named
    match = _LETTER.fullmatch(given.text)
    index = ord(match["letter"]) - ord("a") if match else -1
    if match is None or not 0 <= index < len(item.choices):
        return None
    rest = match["rest"]
    return index if not rest or option(rest, item) == index else None


def option(text: str, item: EvalItem) -> int | None:
    """The number of the option whose text this is, if it is one's."""
    if not item.choices:
        return None
    answer = Answer(text)
    for index, each in enumerate(item.choices):
        other = Answer(each)
        if same_text(answer, other):
            return index
    return None

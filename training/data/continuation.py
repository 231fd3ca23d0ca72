"""Answers behind a rendered prompt that the chat template does not continue itself."""

from __future__ import annotations

import re

from tailrace.formats.data.thinking import TAG

_SPACE = re.compile(r"\s+")


def continuation(opened: str, content: str, reasoning: str | None = None) -> str:
    """Return the text of an answer behind its prompt.

    It first closes the thinking block that the prompt has opened.

    Args:
        opened: The rendered prompt.
        content: The answer; it may begin with thinking.
        reasoning: Thinking apart from the answer; it is written into an opened block only.
    """
    last = next(reversed([*TAG.finditer(opened)]), None)
    if last is None or opened[last.end() :].strip() or _closing(last[0]) == last[0]:
        return content
    opening, closing = last[0], _closing(last[0])
    if reasoning is not None:
        return f"{reasoning.strip()}\n{closing}\n\n{content}"
    if closing in content:
        return content.lstrip().removeprefix(opening)
    return f"\n{closing}\n\n{content}"


def same_text(text: str, other: str) -> bool:
    """Return True if texts differ in white space and thinking tags only, which templates add."""
    return text.strip() == other.strip() or _without_spaces(text) == _without_spaces(other)


def _closing(opening: str) -> str:
    """Return the closing tag for a thinking tag; a closing tag is returned unchanged."""
    if "_of_" in opening:
        return opening.replace("begin_of", "end_of")
    return opening if opening[1] in "/|" else f"{opening[0]}/{opening[1:]}"


def _without_spaces(text: str) -> str:
    return _SPACE.sub("", TAG.sub("", text))

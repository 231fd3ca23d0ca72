"""Answers in the parts that the API has: reasoning, content, calls of tools."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tailrace.formats.data.message import ToolCall
from tailrace.formats.data.thinking import split_thinking
from tailrace.formats.data.tool_calls import TOOL_MARKERS, parse_tool_calls

_UNFINISHED = re.compile(r"[<◁\[][^<>◁▷\[\]\n]{0,60}\Z")
"""End of a text that may become a tag or a marker."""

_CHANNEL = re.compile(r"\s*(?:analysis|commentary)")
"""Begin of a text whose thinking is recognised only at its end."""

_MARKER = re.compile("|".join(map(re.escape, TOOL_MARKERS)))


@dataclass(frozen=True)
class Parts:
    """Parts of an answer, or their continuation."""

    reasoning: str = ""
    content: str = ""
    calls: list[ToolCall] = field(default_factory=list)


def split_answer(text: str, opening: str, *, has_tools: bool) -> Parts:
    """Return the parts of a whole answer.

    Args:
        text: The generated text.
        opening: Tag with which the prompt began thinking; empty if it did not.
        has_tools: True if the request has tools; only then calls are looked for.
    """
    split = split_thinking(text, opening=opening)
    content = split.answer or ""
    if split.closed is not None:
        content = content.lstrip()
    if not has_tools:
        return Parts(split.reasoning, content)
    parsed = parse_tool_calls(content)
    return Parts(split.reasoning, parsed.content, parsed.calls)


class PartStream:
    """Parts of a growing answer, each passed on as soon as later text cannot change it.

    Thinking that has no opening tag is recognised at its end, when it was passed on as content.
    Calls of tools come at the end, whole.
    """

    def __init__(self, opening: str = "", *, has_tools: bool = False) -> None:
        """Begin; arguments are those of :func:`split_answer`."""
        self._opening = opening
        self._has_tools = has_tools
        self._reasoning = ""
        self._content = ""

    def advance(self, text: str) -> Parts:
        """Return the continuation that the text so far adds."""
        if _CHANNEL.match(text):
            return Parts()
        unfinished = _UNFINISHED.search(text)
        safe = text[: unfinished.start()] if unfinished else text
        split = split_thinking(safe, opening=self._opening)
        content = split.answer or ""
        if split.closed is not None:
            content = content.lstrip()
        if self._has_tools:
            content = _before_calls(content)
        return self._continue(split.reasoning, content)

    def finish(self, text: str) -> Parts:
        """Return the continuation that the whole answer adds, calls of tools included."""
        parts = split_answer(text, self._opening, has_tools=self._has_tools)
        rest = self._continue(parts.reasoning, parts.content)
        return Parts(rest.reasoning, rest.content, parts.calls)

    def _continue(self, reasoning: str, content: str) -> Parts:
        more_reasoning = _continuation(self._reasoning, reasoning)
        more_content = _continuation(self._content, content)
        self._reasoning += more_reasoning
        self._content += more_content
        return Parts(more_reasoning, more_content)


def _before_calls(content: str) -> str:
    """Return the part of a content that no call of a tool can turn into something else."""
    if content.lstrip(" \t\r\n;").startswith("{"):
        return ""
    marker = _MARKER.search(content)
    before = content[: marker.start()] if marker else content
    # White space around calls does not belong to the content.
    return before.rstrip() if before.strip() and not before[:1].isspace() else ""


def _continuation(beginning: str, text: str) -> str:
    return text[len(beginning) :] if text.startswith(beginning) else ""

"""Tool calls in generated text, in the forms that chat templates teach.

Parsing takes linear time and refuses nothing: text of any form has a result, with the reason if a
call in it is malformed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tailrace.formats.data.message import MAX_TOOLS, ToolCall
from tailrace.formats.outside_json import next_json
from tailrace.formats.schema import SpecError, parse

_CLOSINGS = {
    "<tool_call>": "</tool_call>",  # Hermes, Qwen, SmolLM
    "<|tool_call|>": "<|/tool_call|>",  # Phi-4-mini
    "[TOOL_CALLS]": "",  # Mistral
    "<|python_tag|>": "",  # Llama 3
}
"""Closing marker of each opening one; empty for calls that last until the end of the turn."""

_PARTS = ("[CALL_ID]", "[ARGS]")
"""Markers between name and arguments in later forms of Mistral."""

TOOL_MARKERS: tuple[str, ...] = (*_CLOSINGS, *filter(None, _CLOSINGS.values()), *_PARTS)
"""Markers around tool calls. Some tokenizers have them as special tokens, which decoding must not
drop."""

_OPENING = re.compile("|".join(map(re.escape, _CLOSINGS)))
_NAMED = re.compile(
    r"\s*(?P<name>[A-Za-z0-9_.:/-]{1,128})(?:\[CALL_ID\](?P<id>[A-Za-z0-9_-]{1,256}))?"
    r"(?:\[ARGS\])?\s*(?=\{)"
)
"""Name and id of a call in later forms of Mistral: ``[TOOL_CALLS]add[ARGS]{"a": 1}``."""

_GAP = re.compile(r"[\s;]*")
"""Text between calls; Llama 3 separates them with semicolons."""

_BARE_KEYS = {"type", "name", "id", "arguments", "parameters"}
"""Keys of an object that is a call without any marker."""

_MAX_PROBLEM = 500


@dataclass(frozen=True)
class ParsedOutput:
    """A model's output, parsed."""

    content: str
    """Text outside of calls, without white space around it if there are calls."""
    calls: list[ToolCall]
    """Calls in their order."""
    problem: str = ""
    """Reason why the text has a malformed call; empty if it has none."""


class _CallError(ValueError):
    """Malformed call; the message names what is wrong with it."""


def parse_tool_calls(text: str) -> ParsedOutput:
    """Return the tool calls in generated text, and the text outside of them.

    The forms are those of the shipped templates and of their relatives: ``<tool_call>`` around a
    JSON object (Hermes, Qwen, SmolLM), ``<|tool_call|>`` around a list (Phi-4-mini),
    ``[TOOL_CALLS]`` with a list or with names (Mistral), and text that consists of objects with
    ``name`` and ``parameters``, after ``<|python_tag|>`` or not (Llama 3). Split thinking off
    first, because calls in it are not meant: see :mod:`tailrace.formats.data.thinking`.

    The first malformed call ends the search: the text from it on is content.
    """
    bare = _bare_calls(text)
    if bare:
        return ParsedOutput("", bare)
    calls: list[ToolCall] = []
    parts: list[str] = []
    problem, end = "", 0
    while opening := _OPENING.search(text, end):
        parts.append(text[end : opening.start()])
        end = opening.start()
        try:
            block, after = _block(text, opening, MAX_TOOLS - len(calls))
        except _CallError as error:
            problem = f"malformed tool call at character {end}: {_shown(error)}"
            break
        calls += block
        end = after
    content = "".join([*parts, text[end:]])
    return ParsedOutput(content.strip() if calls else content, calls, problem)


def _shown(error: _CallError) -> str:
    """Return the message of bounded length, without halves of surrogate pairs."""
    return str(error)[:_MAX_PROBLEM].encode("utf-8", "backslashreplace").decode()


def _block(text: str, opening: re.Match[str], most: int) -> tuple[list[ToolCall], int]:
    """Return the calls after an opening marker, and the position after the closing one."""
    closing = _CLOSINGS[opening[0]]
    calls, end = _calls(text, opening.end(), most)
    # Without a closing marker, generation stopped at it or ran out of tokens.
    if end < len(text) and not text.startswith(closing, end):
        raise _CallError(f"{text[end : end + 40]!r} where {closing} must be")
    return calls, min(end + len(closing), len(text))


def _calls(text: str, start: int, most: int) -> tuple[list[ToolCall], int]:
    """Return one or more calls at a position, and the position of the text after them."""
    calls: list[ToolCall] = []
    while not calls or text.startswith("{", start):
        named = _NAMED.match(text, start)
        try:
            value, start = next_json(text, named.end() if named else _after_gap(text, start))
        except ValueError as error:
            raise _CallError(str(error)) from error
        if named:
            value = {"name": named["name"], "id": named["id"], "arguments": value}
        entries = value if isinstance(value, list) else [value]
        if not entries:
            raise _CallError("the list of calls is empty")
        if len(calls) + len(entries) > most:
            raise _CallError(f"there are more than {MAX_TOOLS} calls")
        calls += map(_call, entries)
        start = _after_gap(text, start)
    return calls, start


def _after_gap(text: str, start: int) -> int:
    gap = _GAP.match(text, start)
    return gap.end() if gap else start


def _call(value: object) -> ToolCall:
    """Return the call that an object describes; ``parameters`` is another name of ``arguments``.

    Some models write an object within ``function``, as clients of chat APIs see it.
    """
    if not isinstance(value, dict):
        raise _CallError("must be a JSON object with name and arguments")
    function = value.get("function", value)
    if not isinstance(function, dict):
        raise _CallError("function must be a JSON object with name and arguments")
    arguments = function.get("arguments", function.get("parameters", {}))
    call = {"function": {"name": function.get("name"), "arguments": arguments}}
    try:
        return parse(ToolCall, call | {"id": value.get("id") or None})
    except SpecError as error:
        raise _CallError(str(error).replace("function.", "")) from error


def _bare_calls(text: str) -> list[ToolCall]:
    """Return the calls of a text that has nothing else, without markers; empty for other text."""
    start = _after_gap(text, 0)
    if not text.startswith("{", start):
        return []
    calls: list[ToolCall] = []
    try:
        while start < len(text):
            value, end = next_json(text, start)
            if not _is_bare(value) or len(calls) == MAX_TOOLS:
                return []
            calls.append(_call(value))
            start = _after_gap(text, end)
    except ValueError:
        return []
    return calls


def _is_bare(value: object) -> bool:
    """Return True for an object that has the keys of a call, and no others."""
    if not isinstance(value, dict) or not value.keys() <= _BARE_KEYS:
        return False
    return "name" in value and ("arguments" in value or "parameters" in value)

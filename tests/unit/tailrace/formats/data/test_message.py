from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.data.message import (
    MAX_CONTENT,
    MAX_TOOLS,
    Message,
    Role,
    ToolCall,
    ToolFunction,
    conversation_violations,
    tool_violations,
    transcript,
)
from tailrace.formats.schema import SpecError, parse, to_mapping

CALL = {"function": {"name": "add", "arguments": {"x": 2.0}}}


def refused(**message: Any) -> str:
    with pytest.raises(SpecError) as error:
        parse(Message, message)
    return str(error.value)


def test_arguments_keep_their_numbers_and_their_order() -> None:
    arguments = {"b": 2.0, "a": 12345678901234567890, "n": None}
    function = {"name": "add", "arguments": arguments}
    message = parse(Message, {"role": "assistant", "tool_calls": [{"function": function}]})
    written = to_mapping(message)["tool_calls"][0]["function"]["arguments"]
    assert repr(written) == repr(arguments)


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ({}, "role: is required"),
        (
            {"role": "human"},
            "role: must be one of system, developer, user, assistant, tool, not 'human'",
        ),
        ({"role": 3}, "role: must be one of system, developer, user, assistant, tool, not 3"),
        (
            {"role": ["user"]},
            "role: must be one of system, developer, user, assistant, tool, not a list",
        ),
        ({"role": "user"}, "content: is blank: it must have a visible character"),
        ({"role": "assistant"}, "content: is blank: it must have a visible character"),
        (
            {"role": "assistant", "content": "\u200b"},
            "content: is blank: it must have a visible character",
        ),
        ({"role": "user", "content": ["x"]}, "content: must be text, not a list"),
        ({"role": "user", "content": "a\0"}, "content: contains a NUL character"),
        (
            {"role": "user", "content": "\ud800"},
            "content: contains half of a surrogate pair, which UTF-8 cannot hold",
        ),
        (
            {"role": "user", "content": "x" * (MAX_CONTENT + 1)},
            "content: has 1000001 characters, at most 1000000 allowed",
        ),
        (
            {"role": "user", "content": "x", "reasoning_content": "y"},
            "reasoning_content: is for assistant messages only, not for user",
        ),
        (
            {"role": "user", "content": "x", "tool_calls": [CALL]},
            "tool_calls: is for assistant messages only, not for user",
        ),
        (
            {"role": "tool", "content": "x", "weight": 0},
            "weight: is for assistant messages only, not for tool",
        ),
        (
            {"role": "assistant", "content": "x", "tool_call_id": "c"},
            "tool_call_id: is for tool messages only, not for assistant",
        ),
        (
            {"role": "assistant", "content": "x", "weight": 2},
            "weight: must be at most 1, not 2",
        ),
        (
            {"role": "assistant", "content": "x", "weight": True},
            "weight: must be a whole number, not true",
        ),
        (
            {"role": "user", "contents": "x"},
            "contents: is not a known key; did you mean 'content'?",
        ),
        ({"role": "user", "content": "x", "name": ""}, "name: must not be empty"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "a b"}}]},
            "tool_calls[0].function.name: 'a b' does not fit the form [A-Za-z0-9_.:/-]+",
        ),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
            "tool_calls[0].function.arguments: must be a mapping, not '{}'",
        ),
        (
            {"role": "assistant", "tool_calls": [{**CALL, "type": "web"}]},
            "tool_calls[0].type: 'web' is not 'function'",
        ),
        (
            {"role": "assistant", "tool_calls": [CALL] * (MAX_TOOLS + 1)},
            "tool_calls: has 1001 entries, at most 1000 allowed",
        ),
    ],
)
def test_refused(message: dict[str, Any], problem: str) -> None:
    assert refused(**message) == problem


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system"},
        {"role": "tool"},
        {"role": "assistant", "tool_calls": [CALL]},
        {"role": "assistant", "reasoning_content": "hm"},
        {"role": "assistant", "content": "x", "weight": 0},
        {"role": "assistant", "content": "x", "name": None, "tool_calls": None},
    ],
)
def test_accepted(message: dict[str, Any]) -> None:
    assert parse(Message, message).role == message["role"]


FORM = 'must be {"type": "function", "function": {"name": …, "parameters": {…}}}'


@pytest.mark.parametrize(
    ("tools", "problems"),
    [
        ([{"type": "function", "function": {"name": "f"}}], []),
        ([{"function": {"name": "f", "parameters": {}}}], []),
        ([{"name": "f"}], [("tools[0]", FORM)]),
        ([{"type": "web", "function": {"name": "f"}}], [("tools[0]", FORM)]),
        ([{"function": {"name": ""}}], [("tools[0]", FORM)]),
        ([{"function": {"name": 3}}], [("tools[0]", FORM)]),
        ([{"function": {"name": "f", "parameters": "{}"}}], [("tools[0]", FORM)]),
        (
            [{"function": {"name": "f"}}, {"function": {"name": "f"}}],
            [("tools[1].function.name", "'f' occurs twice")],
        ),
    ],
)
def test_tools(tools: list[dict[str, Any]], problems: list[tuple[str, str]]) -> None:
    assert [(v.field, v.description) for v in tool_violations("tools", tools)] == problems


ASK = Message(Role.USER, "q")
ANSWER = Message(Role.ASSISTANT, "a")
CALLS = Message(Role.ASSISTANT, tool_calls=[ToolCall(ToolFunction("f"), "c")])
TEXT_CALL = Message(Role.ASSISTANT, '<tool_call>{"name": "f"}</tool_call>')
EARLY = "must come after the assistant message that calls the tool"


@pytest.mark.parametrize(
    ("messages", "problems"),
    [
        ([ASK, CALLS, Message(Role.TOOL, "r", tool_call_id="c")], []),
        ([ASK, CALLS, Message(Role.TOOL, "r")], []),
        ([ASK, TEXT_CALL, Message(Role.TOOL, "r")], []),
        ([ASK, TEXT_CALL, Message(Role.TOOL, "r", tool_call_id="x")], []),
        ([Message(Role.TOOL, "r"), ASK, ANSWER], [("m[0]", EARLY)]),
        ([ASK, Message(Role.TOOL, "r"), CALLS], [("m[1]", EARLY)]),
        (
            [ASK, CALLS, Message(Role.TOOL, "r", tool_call_id="x")],
            [("m[2].tool_call_id", "'x' is not the id of an earlier call")],
        ),
    ],
)
def test_results_of_tools(messages: list[Message], problems: list[tuple[str, str]]) -> None:
    violations = conversation_violations("m", messages)
    assert [(v.field, v.description) for v in violations] == problems


def test_results_may_belong_to_calls_of_earlier_messages() -> None:
    result = Message(Role.TOOL, "r", tool_call_id="c")
    assert not conversation_violations("m", [result], [ASK, CALLS])


def test_a_transcript_shows_texts_and_calls() -> None:
    text = transcript([ASK, Message(Role.ASSISTANT, "So:", tool_calls=CALLS.tool_calls)])
    assert text == "user: q\nassistant: So: f({})"

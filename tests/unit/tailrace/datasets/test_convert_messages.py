from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.datasets.detect import detect
from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.record import ChatRecord, dump_line
from tailrace.formats.schema import SpecError

ASK = {"role": "user", "content": "q"}
ANSWER = {"role": "assistant", "content": "a"}
CALL = ToolCall(ToolFunction("add", {"x": 1}))


def convert(row: dict[str, Any], **options: Any) -> ChatRecord:
    record = detect([row], **options).convert(row)
    assert isinstance(record, ChatRecord)
    return record


def said(*messages: Any, **columns: Any) -> list[Message]:
    return convert({"messages": [ASK, *messages], **columns}).messages[1:]


def refused(row: dict[str, Any]) -> str:
    with pytest.raises(SpecError) as error:
        detect([row]).convert(row)
    return str(error.value)


@pytest.mark.parametrize(
    ("author", "role"),
    [
        ("human", Role.USER),
        ("user", Role.USER),
        ("gpt", Role.ASSISTANT),
        ("assistant", Role.ASSISTANT),
        ("chatgpt", Role.ASSISTANT),
        ("bing", Role.ASSISTANT),
        ("system", Role.SYSTEM),
        ("tool", Role.TOOL),
        ("observation", Role.TOOL),
        ("Human", Role.USER),
    ],
)
def test_authors_of_sharegpt_have_roles(author: str, role: Role) -> None:
    turns = [
        {"from": "human", "value": "q"},
        {"from": "gpt", "value": "a"},
        {"from": author, "value": "v"},
    ]
    assert convert({"conversations": turns}).messages[2] == Message(role, "v")


def test_text_survives_byte_for_byte() -> None:
    text = " \r\n\u200f\u05e9 👩\u200d👩\u200d👧 e\u0301 é \ufeff\t\u2028x \n"
    row = {"conversations": [{"from": "human", "value": text}, {"from": "gpt", "value": text}]}
    record = convert(row)
    assert [m.content for m in record.messages] == [text, text]
    assert json.loads(dump_line(record))["messages"][1]["content"] == text


def test_parts_of_text_are_joined() -> None:
    parts = [{"type": "text", "text": "a\n"}, {"type": "text", "text": " b", "image_url": None}]
    assert said({"role": "assistant", "content": parts}) == [Message(Role.ASSISTANT, "a\n b")]


@pytest.mark.parametrize("name", ["thinking", "reasoning", "reasoning_content"])
def test_thinking_becomes_reasoning(name: str) -> None:
    (message,) = said({**ANSWER, name: "hm"})
    assert message == Message(Role.ASSISTANT, "a", reasoning_content="hm")


def test_a_part_of_thinking_becomes_reasoning() -> None:
    parts = [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}]
    (message,) = said({"role": "assistant", "content": parts})
    assert message == Message(Role.ASSISTANT, "a", reasoning_content="hm")


@pytest.mark.parametrize(
    "message",
    [
        {"tool_calls": [{"type": "function", "function": {"name": "add", "arguments": {"x": 1}}}]},
        {"tool_calls": [{"function": {"name": "add", "arguments": '{"x": 1}'}}], "content": None},
        {"tool_calls": '[{"name": "add", "arguments": {"x": 1}}]'},
        {"tool_calls": [{"index": 0, "function": {"name": "add", "arguments": '{"x": 1}'}}]},
        {"function_call": {"name": "add", "arguments": '{"x": 1}'}},
    ],
)
def test_calls_of_tools_are_read_in_every_form(message: dict[str, Any]) -> None:
    (result,) = said({"role": "assistant", **message})
    assert result == Message(Role.ASSISTANT, tool_calls=[CALL])


@pytest.mark.parametrize(
    "value",
    [
        '{"name": "add", "arguments": {"x": 1}}',
        '{"name": "add", "arguments": "{\\"x\\": 1}"}',
        '[{"name": "add", "arguments": {"x": 1}}]',
    ],
)
def test_a_function_call_of_sharegpt_is_a_call(value: str) -> None:
    turns = [{"from": "human", "value": "q"}, {"from": "function_call", "value": value}]
    assert convert({"conversations": turns}).messages[1].tool_calls == [CALL]


def test_a_call_without_arguments_has_none() -> None:
    for arguments in ("", None, "{}", {}):
        calls = [{"function": {"name": "now", "arguments": arguments}}]
        (message,) = said({"role": "assistant", "tool_calls": calls})
        assert message.tool_calls == [ToolCall(ToolFunction("now"))]


FUNCTION = {"name": "add", "parameters": {"type": "object", "properties": {"x": {"type": "int"}}}}


@pytest.mark.parametrize(
    "tools",
    [
        [{"type": "function", "function": FUNCTION}],
        [FUNCTION],
        FUNCTION,
        json.dumps([FUNCTION]),
        [{**FUNCTION, "parameters": json.dumps(FUNCTION["parameters"])}],
    ],
)
def test_tools_are_read_in_every_form(tools: Any) -> None:
    record = convert({"messages": [ASK, ANSWER], "tools": tools})
    assert record.tools == [{"type": "function", "function": FUNCTION}]


def test_nulls_of_arrow_are_dropped_from_messages_and_tools() -> None:
    properties = {"x": {"type": "int", "default": None, "enum": [1, None]}, "y": None}
    tool = {"name": "add", "description": None, "parameters": {"properties": properties}}
    call = {"id": None, "function": {"name": "add", "arguments": {"x": None, "y": None, "z": None}}}
    messages = [
        {**ASK, "tool_calls": None, "name": None, "weight": None},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    record = convert({"messages": messages, "tools": [tool], "id": None})
    kept = {"x": {"type": "int", "default": None, "enum": [1, None]}}
    assert record.tools[0]["function"] == {"name": "add", "parameters": {"properties": kept}}
    # A null argument that the tool has is the writer's; the others are those of other tools.
    assert record.messages[1].tool_calls[0].function.arguments == {"x": None}


def test_arguments_of_arrow_have_no_nulls_at_all() -> None:
    call = {"function": {"name": "add", "arguments": {"x": 1, "y": {"z": None, "l": [None]}}}}
    row = {"messages": [ASK, {"role": "assistant", "tool_calls": [call]}]}
    record = convert(row, is_arrow=True)
    assert record.messages[1].tool_calls[0].function.arguments == {"x": 1, "y": {"l": [None]}}


@pytest.mark.parametrize("name", ["weight", "train", "training", "loss"])
def test_messages_may_be_left_out_of_the_loss(name: str) -> None:
    silent = 0 if name == "weight" else False
    learnt, ignored = said({**ANSWER, name: not silent}, {**ANSWER, name: silent})
    assert (learnt.weight, ignored.weight) == (1, 0)


def test_keys_of_user_messages_that_change_nothing_are_dropped() -> None:
    record = convert({"messages": [{**ASK, "train": False}, ANSWER]})
    assert record.messages[0] == Message(Role.USER, "q")


def test_other_keys_of_messages_are_kept_as_metadata() -> None:
    record = convert({"messages": [ASK, {**ANSWER, "model": "m", "annotations": []}]})
    assert record.metadata == {"message_fields": {"messages[1]": {"model": "m"}}}


def test_a_conversation_in_a_table_is_read_from_its_json() -> None:
    row = {"messages": json.dumps([ASK, ANSWER]), "tools": "", "system": "", "id": ""}
    assert convert(row) == ChatRecord([Message(Role.USER, "q"), Message(Role.ASSISTANT, "a")])


def test_a_system_message_in_a_column_comes_first() -> None:
    assert convert({"messages": [ASK, ANSWER], "system": "s"}).messages[0] == Message(
        Role.SYSTEM, "s"
    )
    system = {"role": "system", "content": "s"}
    assert len(convert({"messages": [system, ASK, ANSWER], "system": "s"}).messages) == 3


def part(**part: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [part]}, ANSWER]}


def turn(**turn: Any) -> dict[str, Any]:
    return {"messages": [ASK, {"role": "assistant", **turn}]}


def call(function: Any) -> dict[str, Any]:
    return turn(tool_calls=[{"function": function}])


WHERE = "messages[1].tool_calls[0].function"


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            part(type="image_url", image_url={"url": "x"}),
            "messages[0].content[0]: is an image: only parts of text can be imported",
        ),
        (
            part(type="image"),
            "messages[0].content[0]: is an image: only parts of text can be imported",
        ),
        (
            part(type="input_audio", input_audio={}),
            "messages[0].content[0]: is audio: only parts of text can be imported",
        ),
        (
            part(type="video"),
            "messages[0].content[0]: is a video: only parts of text can be imported",
        ),
        (
            {"messages": [{"role": "tool", "content": "x"}, ASK, ANSWER]},
            "messages[0]: must come after the assistant message that calls the tool",
        ),
        (
            part(type="x"),
            'messages[0].content[0]: must be a part {"type": "text", "text": …}',
        ),
        (
            {**turn(content="a"), "images": ["x.png"]},
            "images: only text can be imported, not images: --map drop=images leaves them out",
        ),
        (
            turn(audio={"id": "x"}),
            "messages[1].audio: has audio: only text can be imported",
        ),
        (
            turn(refusal="No."),
            "messages[1].refusal: is not learnt: move the text to content, or leave it out",
        ),
        (
            {"messages": [{"role": "narrator", "content": "x"}]},
            "messages[0].role: must be one of system, developer, user, assistant, tool, human, "
            "person, gpt, chatgpt, bing, bard, bot, model, function_call, function, "
            "function_response, observation, ipython, not 'narrator'",
        ),
        ({"messages": [{"content": "x"}]}, "messages[0].role: is required"),
        ({"messages": ["x"]}, "messages[0]: must be a message with role and content, not 'x'"),
        ({"messages": 3}, "messages: must be a list of messages, not 3"),
        ({"messages": []}, "messages: must have at least one message"),
        ({"messages": ""}, "messages: must have at least one message"),
        (
            {"messages": "[{'role': 'user'}]"},
            "messages: is text that is not JSON: Expecting property name enclosed in double "
            "quotes (column 3): it is in Python's notation; write it with json.dumps",
        ),
        (
            {"messages": '[{"role": "\ud800"}]'},
            "messages: contains half of a surrogate pair, which UTF-8 cannot hold",
        ),
        (
            call({"name": "add", "arguments": "{x"}),
            f"{WHERE}.arguments: is text that is not JSON: Expecting property name enclosed in "
            "double quotes (column 2)",
        ),
        (
            call({"name": "add", "arguments": "[1]"}),
            f"{WHERE}.arguments: must be a mapping, not a list",
        ),
        (call({"arguments": {}}), f"{WHERE}.name: is required"),
        (call(None), "messages[1].tool_calls[0].function: is required"),
        (
            turn(tool_calls=[{"name": "a"}], function_call={"name": "a"}),
            "messages[1].function_call: is a second place of calls: keep one of them",
        ),
        (turn(tool_calls=3), "messages[1].tool_calls: must be a call or a list of calls, not 3"),
        (
            turn(content="a", thinking="x", reasoning="y"),
            "messages[1].reasoning: differs from the thinking in thinking: keep one of them",
        ),
        (turn(content="a", weight=2), "messages[1].weight: must be at most 1, not 2"),
        (turn(content="a", weight=0.5), "messages[1].weight: must be a whole number, not 0.5"),
        (turn(content="a", train="no"), "messages[1].train: must be true or false, not 'no'"),
        (
            {"messages": [{**ASK, "thinking": "hm"}, ANSWER]},
            "messages[0].thinking: is for assistant messages only, not for user",
        ),
        (
            {"messages": [{**ASK, "weight": 1}, ANSWER]},
            "messages[0].weight: is for assistant messages only, not for user",
        ),
        (turn(content=4), "messages[1].content: must be text, not 4: put it into quotes"),
        (turn(content=""), "messages[1].content: is blank: it must have a visible character"),
        (turn(content="a\0b"), "messages[1].content: contains a NUL character"),
        (
            {"messages": [ASK]},
            "messages: has no assistant message: there is nothing to learn",
        ),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call"}]},
            'conversations[1].value: must be a call {"name": …, "arguments": {…}}',
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "q"},
                    {"from": "function_call", "value": "<think>"},
                ]
            },
            "conversations[1].value: is text that is not JSON: Expecting value (column 1); "
            'conversations[1].value: must be a call {"name": …, "arguments": {…}}',
        ),
        (
            {"system": "s", "conversations": [{"from": "human", "value": "\u200b"}]},
            "conversations[0].value: is blank: it must have a visible character",
        ),
        (
            {"system": 3, "messages": [ASK, ANSWER]},
            "system: must be text, not 3: put it into quotes",
        ),
        (
            {"system": "s", "messages": [{"role": "system", "content": "t"}, ASK, ANSWER]},
            "system: differs from the system message in messages[0]: keep one of them",
        ),
        (
            {"messages": [ASK, ANSWER], "tools": "no"},
            "tools: is text that is not JSON: Expecting value (column 1)",
        ),
        (
            {"messages": [ASK, ANSWER], "tools": 3},
            "tools: must be a list of tools, or its JSON as text, not 3",
        ),
        (
            {"messages": [ASK, ANSWER], "functions": [{"description": "x"}]},
            'functions[0]: must be {"type": "function", "function": {"name": …, "parameters": '
            "{…}}}",
        ),
        (
            {"messages": [ASK, ANSWER], "tools": [FUNCTION, FUNCTION]},
            "tools[1].function.name: 'add' occurs twice",
        ),
    ],
)
def test_refused(row: dict[str, Any], problem: str) -> None:
    assert refused(row) == problem

from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.formats.data.eval_item import dump_item, parse_eval_items
from tailrace.formats.data.jsonl import FormatError


def line(**changes: Any) -> bytes:
    return json.dumps({"id": "a", "prompt": "p", "expected_answer": "x", **changes}).encode()


TOOL = {"type": "function", "function": {"name": "f"}}
CHAT = [{"role": "user", "content": "Hi"}]


def chat(*roles: str) -> bytes:
    messages = [{"role": role, "content": f"from {role}"} for role in roles]
    return json.dumps({"id": "a", "messages": messages}).encode()


def test_minimal_item() -> None:
    (item,) = parse_eval_items([line()])
    assert (item.id, item.tolerance, item.choices) == ("a", None, [])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"unit_required": True}, "unit_required: needs unit"),
        ({"prompt": " "}, "prompt: is blank"),
        ({"expected_answer": "\u2003"}, "expected_answer: is blank"),
        ({"accepted_answers": ["1", " "]}, r"accepted_answers\[1\]: is blank"),
        ({"choices": ["x", "\n"]}, r"choices\[1\]: is blank"),
        ({"choices": ["y", "z"]}, "expected_answer: is not the text of one of choices"),
        ({"tolerance": -1}, "tolerance: must be at least 0"),
        ({"tolerance": "near"}, "tolerance: must be a number"),
        ({"expected_answer": ""}, "expected_answer: must not be empty"),
        ({"marked": False, "markers": ["A:"]}, "marked: must be true for an item with markers"),
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"messages": CHAT}, "messages: needs exactly one of prompt, messages; has both"),
        ({"tools": [{"name": "f"}]}, r"tools\[0\]: must be"),
        (
            {"tools": [TOOL], "expected_tool_calls": [{"function": {"name": "g"}}]},
            r"expected_tool_calls\[0\].function.name: 'g' is not the name of one of tools",
        ),
    ],
)
def test_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        parse_eval_items([line(**changes)])


def test_repeated_id_and_empty_input() -> None:
    with pytest.raises(FormatError, match="line 2: id: 'a' is taken by line 1"):
        parse_eval_items([line(), line()])
    with pytest.raises(FormatError, match="no eval item"):
        parse_eval_items([])


def test_a_conversation_asks_for_the_next_message() -> None:
    (item,) = parse_eval_items([chat("system", "user", "assistant", "user")])
    assert item.question == "from user"
    assert item.shown_prompt.splitlines()[0] == "system: from system"
    assert item.answers == []
    with pytest.raises(FormatError, match="messages: must end before the assistant's message"):
        parse_eval_items([chat("user", "assistant")])


def test_items_survive_writing_with_the_order_of_their_tools() -> None:
    schema = {"type": "object", "properties": {"b": {}, "a": {}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    call = {"function": {"name": "f", "arguments": {"b": 1, "a": "é"}}}
    source = json.loads(chat("user")) | {"tools": [tool], "expected_tool_calls": [call]}
    (item,) = parse_eval_items([json.dumps(source).encode()])
    written = dump_item(item)
    assert parse_eval_items([written.encode()]) == [item]
    assert '"properties":{"b":{},"a":{}}' in written
    assert '"arguments":{"b":1,"a":"é"}' in written

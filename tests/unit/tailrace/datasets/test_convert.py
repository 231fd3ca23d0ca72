from __future__ import annotations

import pytest

from tailrace.datasets.detect import detect
from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.record import ChatRecord, CompletionRecord
from tailrace.formats.schema import SpecError

CHAT = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


def test_canonical_conversations_stay_as_they_are() -> None:
    row = {"messages": CHAT, "id": "a", "metadata": {"level": 1}}
    record = detect([row]).convert(row)
    turns = [Message(Role.USER, "2 + 2?"), Message(Role.ASSISTANT, "4")]
    assert record == ChatRecord(turns, id="a", metadata={"level": 1})


def test_sharegpt_turns_become_messages() -> None:
    row = {
        "system": "Be brief.",
        "conversations": [
            {"from": "human", "value": "Weather?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"in": "Bonn"}}'},
            {"from": "observation", "value": "sun"},
            {"from": "gpt", "value": "Sunny."},
        ],
        "source": "web",
    }
    plan = detect([row])
    assert plan.reason == (
        "messages: a conversation (columns conversations, system); kept as metadata: source"
    )
    record = plan.convert(row)
    assert isinstance(record, ChatRecord)
    assert record.metadata == {"source": "web"}
    assert [m.role.value for m in record.messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    assert record.messages[2].tool_calls == [ToolCall(ToolFunction("weather", {"in": "Bonn"}))]


def test_wrong_rows_are_refused_in_their_own_words() -> None:
    row = {"system": 3, "conversations": [{"from": "human", "value": " "}]}
    with pytest.raises(SpecError) as error:
        detect([row]).convert(row)
    assert str(error.value) == (
        "system: must be text, not 3: put it into quotes; "
        "conversations[0].value: is blank: it must have a visible character"
    )
    row["system"] = "s"
    with pytest.raises(SpecError) as error:
        detect([row]).convert(row)
    assert str(error.value) == "conversations[0].value: is blank: it must have a visible character"


def test_prompts_and_completions() -> None:
    row = {"prompt": "p", "completion": "c"}
    assert detect([row]).convert(row) == CompletionRecord("p", "c")


def test_text_is_a_completion_without_a_prompt() -> None:
    row = {"text": " a\r\n", "lang": "en"}
    record = detect([row]).convert(row)
    assert record == CompletionRecord("", " a\r\n", metadata={"lang": "en"})

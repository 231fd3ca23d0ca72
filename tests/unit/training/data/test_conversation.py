from __future__ import annotations

import pytest

from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.record import (
    ChatRecord,
    CompletionRecord,
    FeedbackRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
)
from tailrace.formats.data.trace import Step, Trace
from training.data.conversation import conversation_of, template_message
from training.errors import DataError

USER, ASSISTANT = Message(Role.USER, "q"), Message(Role.ASSISTANT, "a")
TOOLS = [{"type": "function", "function": {"name": "f"}}]


@pytest.mark.parametrize(
    "record",
    [
        ChatRecord([USER, ASSISTANT], TOOLS),
        CompletionRecord("q", "a", TOOLS),
        CompletionRecord([USER], [ASSISTANT], TOOLS),
        PreferenceRecord("q", "a", "worse", TOOLS),
        PreferenceRecord([USER], [ASSISTANT], [USER, ASSISTANT], TOOLS),
        FeedbackRecord("q", "a", True, TOOLS),
    ],
)
def test_records_of_each_kind_are_a_prompt_with_its_answer(record: Record) -> None:
    conversation = conversation_of(record)
    assert list(conversation.messages) == [USER, ASSISTANT]
    assert (conversation.prompt_length, conversation.tools) == (1, TOOLS)


def test_a_trace_answers_with_its_steps_and_its_marked_answer() -> None:
    conversation = conversation_of(Trace("q", "3", [Step(0, "reasoning", "One.")]))
    assert [message.content for message in conversation.messages] == ["q", "One.\nAnswer: 3"]


def test_a_conversation_has_all_before_its_first_answer_as_prompt() -> None:
    messages = [Message(Role.SYSTEM, "s"), USER, ASSISTANT, USER, ASSISTANT]
    assert conversation_of(ChatRecord(messages)).prompt_length == 2


def test_an_answer_without_a_prompt_is_plain_text() -> None:
    conversation = conversation_of(CompletionRecord("", "text"))
    assert (list(conversation.messages), conversation.text) == ([], "text")


@pytest.mark.parametrize(
    "record", [PromptRecord("q", id="x"), FeedbackRecord("q", "a", False, id="x")]
)
def test_a_record_without_a_good_answer_is_refused(record: Record) -> None:
    with pytest.raises(DataError, match="x has no answer to imitate"):
        conversation_of(record)


def test_templates_get_the_keys_that_are_set() -> None:
    assert template_message(Message(Role.DEVELOPER, "d")) == {"role": "developer", "content": "d"}
    call = ToolCall(ToolFunction("f", {"b": [1], "a": None}), id="1")
    message = Message(
        Role.ASSISTANT, "", reasoning_content="r", name="n", tool_calls=[call], weight=0
    )
    assert template_message(message) == {
        "role": "assistant",
        "content": "",
        "reasoning_content": "r",
        "name": "n",
        "tool_calls": [
            {
                "id": "1",
                "type": "function",
                "function": {"name": "f", "arguments": {"b": [1], "a": None}},
            }
        ],
    }
    result = Message(Role.TOOL, "2", tool_call_id="1")
    assert template_message(result) == {"role": "tool", "content": "2", "tool_call_id": "1"}
    assert "id" not in template_message(calls_without_id())["tool_calls"][0]


def calls_without_id() -> Message:
    return Message(Role.ASSISTANT, tool_calls=[ToolCall(ToolFunction("f"))])

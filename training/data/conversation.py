"""Dataset records as conversations: the messages that chat templates render."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tailrace.formats.data.message import Message, Role, ToolCall
from tailrace.formats.data.record import (
    ChatRecord,
    CompletionRecord,
    FeedbackRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
)
from tailrace.formats.data.trace import Trace
from training.data.rendering import render_response
from training.errors import DataError


@dataclass(frozen=True)
class Conversation:
    """A prompt with the messages that follow it."""

    messages: Sequence[Message]
    """All messages in order; empty for plain text."""
    prompt_length: int
    """Number of leading messages that are the prompt."""
    tools: Sequence[dict[str, Any]] = field(default=())
    """Tools that the assistant may call."""
    text: str = ""
    """Plain text that no chat template renders; empty for messages."""


def conversation_of(record: Record) -> Conversation:
    """Return the conversation that supervised fine-tuning imitates.

    That of a preference ends with the chosen answer.

    Raises:
        DataError: The record has no answer to imitate.
    """
    match record:
        case ChatRecord():
            roles = [message.role for message in record.messages]
            return Conversation(record.messages, roles.index(Role.ASSISTANT), record.tools)
        case Trace():
            return _conversation(record.prompt, render_response(record))
        case CompletionRecord(prompt="", completion=str(text)):
            return Conversation([], 0, text=text)
        case CompletionRecord():
            return _conversation(record.prompt, record.completion, record.tools)
        case PreferenceRecord():
            return _conversation(record.prompt, record.chosen, record.tools)
        case FeedbackRecord(label=True):
            return _conversation(record.prompt, record.completion, record.tools)
        case FeedbackRecord():
            raise DataError(
                f"{record.id} has no answer to imitate: its label is false. Leave such lines out: "
                "supervised fine-tuning learns the completion of every line"
            )
        case PromptRecord():
            raise DataError(
                f"{record.id} has no answer to imitate: supervised fine-tuning takes conversations "
                "(messages), completions, preferences and traces"
            )


def whole_conversation(record: Record) -> Conversation:
    """Return all messages of a record, whether or not its answer is one to imitate.

    That of a preference ends with the chosen answer.
    """
    match record:
        case FeedbackRecord():
            return _conversation(record.prompt, record.completion, record.tools)
        case PromptRecord():
            return _conversation(record.prompt, [], record.tools)
        case _:
            return conversation_of(record)


def _conversation(
    prompt: str | list[Message],
    answer: str | list[Message],
    tools: Sequence[dict[str, Any]] = (),
) -> Conversation:
    before = [Message(Role.USER, prompt)] if isinstance(prompt, str) else prompt
    after = [Message(Role.ASSISTANT, answer)] if isinstance(answer, str) else answer
    return Conversation([*before, *after], len(before), tools)


def template_message(message: Message) -> dict[str, Any]:
    """Return a message as chat templates take it: plain data, with the keys that are set."""
    content: dict[str, Any] = {"role": str(message.role), "content": message.content}
    for name in ("reasoning_content", "name", "tool_call_id"):
        value = getattr(message, name)
        if value is not None:
            content[name] = value
    if message.tool_calls:
        content["tool_calls"] = [_template_call(call) for call in message.tool_calls]
    return content


def _template_call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.function.name, "arguments": call.function.arguments}
    id_ = {} if call.id is None else {"id": call.id}
    return {**id_, "type": call.type, "function": function}

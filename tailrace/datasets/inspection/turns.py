"""Records of any kind as turns: who says which text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass

from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import (
    ChatRecord,
    CompletionRecord,
    FeedbackRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    Text,
)
from tailrace.formats.data.trace import Trace


@dataclass(frozen=True)
class Turn:
    """A message of a record, with the part of the record that it belongs to."""

    part: str
    """Key of the record (``chosen``); empty for messages."""
    message: Message


def turns_of(record: Record) -> list[Turn]:
    """Return the turns of a record in order.

    A text prompt is a turn of the user, a text answer one of the assistant. A preference has the
    turns of both answers.
    """
    match record:
        case ChatRecord():
            return [Turn("", message) for message in record.messages]
        case Trace():
            reasoning = "\n".join([*(step.content for step in record.steps), record.answer])
            return [*_prompt(record.prompt), *_answer("answer", reasoning)]
        case PromptRecord():
            return _prompt(record.prompt)
        case PreferenceRecord():
            answers = {"chosen": record.chosen, "rejected": record.rejected}
        case CompletionRecord() | FeedbackRecord():
            answers = {"completion": record.completion}
    turns = _prompt(record.prompt)
    for part, answer in answers.items():
        turns += _answer(part, answer)
    return turns


def texts_of(message: Message) -> Iterator[str]:
    """Yield the texts of a message: its content, thinking, and tool calls as JSON."""
    if message.content:
        yield message.content
    if message.reasoning_content:
        yield message.reasoning_content
    for call in message.tool_calls:
        arguments = json.dumps(call.function.arguments, ensure_ascii=False)
        yield f"{call.function.name}({arguments})"


def _prompt(prompt: Text) -> list[Turn]:
    if isinstance(prompt, list):
        return [Turn("prompt", message) for message in prompt]
    # Without a prompt a completion is plain text.
    return [Turn("prompt", Message(Role.USER, prompt))] if prompt else []


def _answer(part: str, answer: Text) -> list[Turn]:
    if isinstance(answer, list):
        return [Turn(part, message) for message in answer]
    return [Turn(part, Message(Role.ASSISTANT, answer))]

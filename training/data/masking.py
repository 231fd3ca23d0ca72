"""The tokens that a model learns: places of the assistant's turns in a rendered conversation.

Turns come from the template's ``{% generation %}`` blocks if it has any. Otherwise a turn reaches
from the end of the text that asks for it to the end of the text that ends with it; a turn whose
texts are not beginnings of the whole conversation cannot be learnt.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailrace.formats.data.message import Message, Role
from tailrace.formats.spec.methods import TrainOn
from training.data.chat_template import Beginning, RenderedBeginning, Rendering
from training.data.conversation import Conversation
from training.data.rendered_example import Span
from training.errors import DataError


@dataclass(frozen=True)
class TurnEnd:
    """End of the assistant's turn in a chat template."""

    written: str
    """All text of the template after the answer."""
    taught: str
    """The part that a model is trained to write: up to its first special token, or up to its last
    visible character when there is none."""
    token: int | None
    """Special token that ends the turn; None for a template that writes none."""
    tokens: re.Pattern[str]
    """Texts of the special tokens that end a turn."""

    def find(self, text: str, begin: int, limit: int) -> int | None:
        """Return the end of the first token that ends a turn; None without one."""
        match = self.tokens.search(text, begin, limit)
        return match.end() if match else None

    def is_token(self, text: str) -> bool:
        """Return True for the text of a special token that ends a turn."""
        return self.tokens.fullmatch(text) is not None

    def without_token(self, text: str) -> int:
        """Return the end of a turn at the end of a text that has no token to end it."""
        if self.written and text.endswith(self.written):
            return len(text) - len(self.written) + len(self.taught)
        return len(text.rstrip())


@dataclass
class Turns:
    """Places of assistant messages in a rendered conversation."""

    text: str
    """The text in which the places are."""
    places: dict[int, list[Span]] = field(default_factory=dict)
    """Spans of each message, by its index."""
    untrainable: list[int] = field(default_factory=list)
    """Indices of messages without a place."""


def learnt_messages(conversation: Conversation, train_on: TrainOn) -> list[int]:
    """Return the indices of the messages to learn; those with weight 0 are not."""
    answers = assistant_messages(conversation.messages)
    if train_on is TrainOn.LAST_ASSISTANT:
        answers = answers[-1:]
    elif train_on is TrainOn.COMPLETION:
        answers = [i for i in answers if i >= conversation.prompt_length]
    return [i for i in answers if conversation.messages[i].weight != 0]


def assistant_messages(messages: Sequence[Message]) -> list[int]:
    """Return the indices of the assistant's messages."""
    return [i for i, message in enumerate(messages) if message.role is Role.ASSISTANT]


def untrainable_error(turns: int, examples: int, total: str, train_on: TrainOn) -> DataError:
    """Return the error for turns that cannot be learnt with a model's chat template.

    Args:
        turns: Number of such turns.
        examples: Number of examples that have one.
        total: All examples ("500 examples").
        train_on: Part of an example to learn.
    """
    ways = "override it by a template that marks the assistant's text with {% generation %}"
    if train_on in (TrainOn.ALL_ASSISTANT, TrainOn.COMPLETION):
        ways = f"set train_on: last_assistant, or {ways}"
    return DataError(
        f"{turns} assistant turns in {examples} of {total} cannot be learnt: the model's chat "
        "template renders them in another way inside a conversation than at its end (it leaves "
        f"out earlier thinking, say); {ways}"
    )


def beginnings_of(answers: Sequence[int], count: int) -> list[Beginning]:
    """Return the beginnings to render for the places of some messages: see :func:`turns_between`.

    Each message has two: the text that asks for it, and the text that ends with it.
    """
    return [
        beginning
        for index in answers
        for beginning in (Beginning(index, asks=True), Beginning(index + 1, asks=False))
        if beginning.count < count or beginning.asks
    ]


def turns_between(
    text: str,
    answers: Sequence[int],
    beginnings: Mapping[Beginning, RenderedBeginning | None],
    end: TurnEnd,
    shared: int | None = None,
) -> Turns:
    """Return the places of messages before the last one, between two rendered beginnings each.

    Args:
        text: The text in which the places are.
        answers: Indices of the messages.
        beginnings: The beginnings of :func:`beginnings_of`.
        end: End of the template's turns.
        shared: Number of leading characters of ``text`` that are as the template renders the
            conversation (default: all).
    """
    turns = Turns(text)
    shared = len(text) if shared is None else shared
    for index in answers:
        span = _between(
            text,
            beginnings[Beginning(index, asks=True)],
            beginnings[Beginning(index + 1, asks=False)],
            end,
        )
        if span is None or span[1] > shared:
            turns.untrainable.append(index)
        else:
            turns.places[index] = [span]
    return turns


def _between(
    text: str, prompt: RenderedBeginning | None, answer: RenderedBeginning | None, end: TurnEnd
) -> Span | None:
    if prompt is None or answer is None or not prompt.is_prefix:
        return None
    begin, stop = prompt.length, end.find(text, prompt.length, answer.common)
    if stop is None and answer.is_prefix:
        stop = end.without_token(text[: answer.length])
    return (begin, stop) if stop is not None and stop > begin else None


def labelled_messages(
    messages: Sequence[Mapping[str, Any]], answers: Sequence[int], label: str
) -> list[dict[str, Any]]:
    """Return messages of a template in which the assistant's texts end with their index.

    Args:
        messages: The messages, as plain data.
        answers: Indices of the assistant's messages.
        label: Text before each index, which no message contains.
    """
    labelled = [dict(message) for message in messages]
    for index in answers:
        message, end = labelled[index], f"{label}{index};"
        if "tool_calls" in message:
            message["tool_calls"] = [_labelled_call(call, end) for call in message["tool_calls"]]
        written = [name for name in ("content", "reasoning_content") if message.get(name)]
        if not written and "tool_calls" not in message:
            written = ["content"]
        for name in written:
            message[name] += end
    return labelled


def _labelled_call(call: Mapping[str, Any], end: str) -> dict[str, Any]:
    return {**call, "function": {**call["function"], "name": call["function"]["name"] + end}}


def blocks_by_message(
    rendering: Rendering,
    labelled: Rendering | None,
    answers: Sequence[int],
    label: str,
    end: TurnEnd,
) -> dict[int, list[Span]]:
    """Return the ``{% generation %}`` blocks of each assistant message.

    A block without text of a message belongs to the next message that has some, or to the one
    before if it ends a turn.

    Args:
        rendering: The rendered conversation.
        labelled: The same with the messages of :func:`labelled_messages`; None for a conversation
            with one answer.
        answers: Indices of the assistant's messages.
        label: As in :func:`labelled_messages`.
        end: End of the template's turns.
    """
    if labelled is None:
        return {index: list(rendering.blocks) for index in answers}
    blocks: dict[int, list[Span]] = {index: [] for index in answers}
    if labelled.text is None or len(labelled.blocks) != len(rendering.blocks):
        return blocks
    pattern = re.compile(rf"{re.escape(label)}(\d+);")
    owner: int | None = None
    waiting: list[Span] = []
    for block, labelled_block in zip(rendering.blocks, labelled.blocks, strict=True):
        match = pattern.search(labelled.text, *labelled_block)
        waiting.append(block)
        if match:
            owner = int(match[1])
        elif owner is None or end.find(labelled.text, *labelled_block) is None:
            continue
        blocks[owner] += waiting
        waiting = []
    if owner is not None:
        blocks[owner] += waiting
    return blocks


def marked_turns(
    text: str, answers: Sequence[int], blocks: Mapping[int, Sequence[Span]], end: TurnEnd
) -> Turns:
    """Return the places of messages in blocks that the template marks.

    A place ends with the first token that ends a turn, which may follow the block.
    """
    turns = Turns(text)
    for index in answers:
        spans = [span for span in _until_end(text, blocks[index], end) if span[0] < span[1]]
        if spans:
            turns.places[index] = spans
        else:
            turns.untrainable.append(index)
    return turns


def _until_end(text: str, blocks: Sequence[Span], end: TurnEnd) -> list[Span]:
    spans: list[Span] = []
    for block in blocks:
        stop = end.find(text, *block)
        if stop is not None:
            return [*spans, (block[0], stop)]
        spans.append(block)
    match = spans and end.tokens.search(text, spans[-1][1])
    if match and not text[spans[-1][1] : match.start()].strip():
        spans[-1] = (spans[-1][0], match.end())
    return spans

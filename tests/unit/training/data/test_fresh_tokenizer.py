from __future__ import annotations

import pytest

from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.record import (
    ChatRecord,
    CompletionRecord,
    FeedbackRecord,
    PromptRecord,
    Record,
)
from training.data.fresh_tokenizer import fresh_tokenizer

CALL = ToolCall(ToolFunction("calculator", {"left": 1}))
RECORDS: list[Record] = [
    ChatRecord([Message(Role.USER, "zebra?"), Message(Role.ASSISTANT, "quagga")], id="a"),
    CompletionRecord("wombat?", "koala", id="b"),
    CompletionRecord("", "platypus", id="c"),
    ChatRecord(
        [
            Message(Role.USER, "1 + 1"),
            Message(Role.ASSISTANT, "", tool_calls=[CALL]),
            Message(Role.TOOL, "result"),
            Message(Role.ASSISTANT, "two"),
        ],
        tools=[{"type": "function", "function": {"name": "calculator"}}],
        id="d",
    ),
]


def test_it_is_trained_from_the_texts_of_every_kind() -> None:
    tokenizer = fresh_tokenizer(RECORDS * 3, 512, 64)
    vocabulary = tokenizer.get_vocab()
    for word in ("quagga", "koala", "platypus"):
        assert any(token.endswith(word) for token in vocabulary), word
    assert len(vocabulary) <= 512


def test_a_chat_template_replaces_the_default_one() -> None:
    tokenizer = fresh_tokenizer(RECORDS, 300, 64, "{{ messages }}")
    assert tokenizer.chat_template == "{{ messages }}"
    assert tokenizer.get_vocab() == fresh_tokenizer(RECORDS, 300, 64).get_vocab()


@pytest.mark.parametrize(
    "record", [PromptRecord("okapi", id="x"), FeedbackRecord("q", "okapi", label=False, id="x")]
)
def test_texts_that_nothing_imitates_count_too(record: Record) -> None:
    assert any(t.endswith("okapi") for t in fresh_tokenizer([record] * 9, 512, 64).get_vocab())

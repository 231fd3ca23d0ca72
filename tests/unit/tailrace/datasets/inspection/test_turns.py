from __future__ import annotations

from typing import Any

import pytest

from tailrace.datasets.inspection.turns import texts_of, turns_of
from tailrace.formats.data.record import SCHEMAS, DatasetKind
from tailrace.formats.schema import parse

USER, ASSISTANT = {"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}


@pytest.mark.parametrize(
    ("kind", "line", "expected"),
    [
        ("messages", {"messages": [USER, ASSISTANT]}, [("", "user"), ("", "assistant")]),
        (
            "completion",
            {"prompt": "q", "completion": "a"},
            [("prompt", "user"), ("completion", "assistant")],
        ),
        ("completion", {"prompt": "", "completion": "a"}, [("completion", "assistant")]),
        (
            "preference",
            {"prompt": [USER], "chosen": [ASSISTANT], "rejected": [ASSISTANT, USER]},
            [
                ("prompt", "user"),
                ("chosen", "assistant"),
                ("rejected", "assistant"),
                ("rejected", "user"),
            ],
        ),
        (
            "feedback",
            {"prompt": "q", "completion": "a", "label": False},
            [("prompt", "user"), ("completion", "assistant")],
        ),
        ("prompts", {"prompt": "q"}, [("prompt", "user")]),
        ("trace", {"prompt": "q", "answer": "a"}, [("prompt", "user"), ("answer", "assistant")]),
    ],
)
def test_every_kind_has_its_turns(kind: str, line: Any, expected: list[tuple[str, str]]) -> None:
    record = parse(SCHEMAS[DatasetKind(kind)], line)
    assert [(turn.part, turn.message.role) for turn in turns_of(record)] == expected


def test_the_texts_of_a_message_are_content_thinking_and_calls() -> None:
    call = {"function": {"name": "add", "arguments": {"a": 1}}}
    message = {**ASSISTANT, "reasoning_content": "hm", "tool_calls": [call]}
    record = parse(SCHEMAS[DatasetKind.MESSAGES], {"messages": [USER, message]})
    assert list(texts_of(turns_of(record)[1].message)) == ["a", "hm", 'add({"a": 1})']

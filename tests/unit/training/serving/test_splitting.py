from __future__ import annotations

from typing import Any

import pytest

from training.serving.splitting import Parts, PartStream, split_answer

CALL = '<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call>'
ANSWERS = [
    ("plain text", "", False),
    ("<think>\nwhy\n</think>\n\nbecause", "", False),
    ("so\n</think>\n\nthus < 3", "<think>", False),
    ("[THINK]hm[/THINK]yes [1] and <b>", "", False),
    ("◁think▷hm◁/think▷yes", "", False),
    (f"<think>hm</think>I add. {CALL}", "", True),
    (f"{CALL}\n{CALL}", "", True),
    ('{"name": "add", "parameters": {"a": 1}}', "", True),
    ('[TOOL_CALLS][{"name": "add", "arguments": {}}]', "", True),
    ("text with [brackets] and {braces}", "", True),
    ("<think>never ends", "", False),
]


def streamed(text: str, opening: str, has_tools: bool, step: int) -> list[Parts]:
    stream = PartStream(opening, has_tools=has_tools)
    parts = [stream.advance(text[:end]) for end in range(0, len(text), step)]
    return [*parts, stream.finish(text)]


def joined(parts: list[Parts]) -> tuple[str, str, list[Any]]:
    reasoning = "".join(part.reasoning for part in parts)
    content = "".join(part.content for part in parts)
    return reasoning, content, [call.function for part in parts for call in part.calls]


@pytest.mark.parametrize("step", [1, 3, 1000])
@pytest.mark.parametrize(("text", "opening", "has_tools"), ANSWERS)
def test_streamed_parts_are_those_of_the_whole(
    text: str, opening: str, has_tools: bool, step: int
) -> None:
    answer = split_answer(text, opening, has_tools=has_tools)
    expected = answer.reasoning, answer.content, [call.function for call in answer.calls]
    assert joined(streamed(text, opening, has_tools, step)) == expected


def test_the_parts_of_an_answer() -> None:
    assert split_answer(ANSWERS[1][0], "", has_tools=False) == Parts("why", "because")
    parts = split_answer(ANSWERS[5][0], "", has_tools=True)
    assert (parts.reasoning, parts.content) == ("hm", "I add.")
    assert [call.function.name for call in parts.calls] == ["add"]


def test_calls_are_looked_for_with_tools_only() -> None:
    assert split_answer(CALL, "", has_tools=False) == Parts("", CALL)


def test_text_comes_before_the_answer_ends() -> None:
    parts = streamed("<think>one two three</think>four five", "", False, 1)
    first = next(i for i, part in enumerate(parts) if part.reasoning)
    assert first < len("<think>one") + 2
    assert sum(bool(part.content) for part in parts) > 5


def test_a_malformed_call_is_content() -> None:
    text = 'so <tool_call>{"name": 3}</tool_call>'
    assert joined(streamed(text, "", True, 1)) == ("", text, [])

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.data.golden import golden_v2
from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.record import (
    ChatRecord,
    CompletionRecord,
    FeedbackRecord,
    PreferenceRecord,
    PromptRecord,
)
from tailrace.formats.data.split import EmptySplitError, Split, eval_items, split_records
from tailrace.formats.data.trace import Step, Trace


def trace(prompt: str, answer: str = "a", id: str = "t") -> Trace:
    return Trace(id=id, prompt=prompt, answer=answer, steps=[Step(0, "reasoning", "c")])


@given(
    st.lists(st.text(max_size=4), min_size=10, max_size=60),
    st.floats(0.0, 0.9),
    st.integers(0, 1000),
)
def test_divides_by_prompt(prompts: list[str], fraction: float, seed: int) -> None:
    traces = [trace(prompt) for prompt in prompts]
    distinct = len(set(prompts))
    count = round(fraction * distinct)
    if (fraction > 0 and count == 0) or count >= distinct:
        with pytest.raises(EmptySplitError):
            split_records(traces, fraction, seed)
        return
    split = split_records(traces, fraction, seed)
    held = {t.prompt for t in split.held_out}
    assert len(held) == count
    assert not held & {t.prompt for t in split.train}
    assert len(split.train) + len(split.held_out) == len(traces)
    ranks = sorted(hashlib.sha256(f"{seed}{p}".encode()).digest() for p in set(prompts))
    assert {hashlib.sha256(f"{seed}{p}".encode()).digest() for p in held} == set(ranks[:count])


def test_golden_holds_out_13_of_67() -> None:
    split = split_records(golden_v2(), 0.2, 42)
    assert len(eval_items(split.held_out)) == 13
    assert len(eval_items(split.train)) == 54
    other = split_records(golden_v2(), 0.2, 43)
    assert {t.prompt for t in other.held_out} != {t.prompt for t in split.held_out}


def test_file_round_trip() -> None:
    split = split_records(golden_v2(), 0.2, 42)
    loaded = Split.load(golden_v2(), split.dump())
    assert (list(loaded.train), list(loaded.held_out)) == (list(split.train), list(split.held_out))
    assert loaded.dump() == split.dump()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "Expecting"),
        ("[]", "lacks"),
        ('{"held_out": []}', "lacks"),
        ('{"held_out": ["x"], "eval_fraction": 0.2, "split_seed": 1}', "another dataset"),
    ],
)
def test_refused_files(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Split.load(golden_v2(), text)


def test_one_item_per_prompt_with_all_answers() -> None:
    traces = [
        trace("p", "1", "a"),
        trace("q", "2", "b"),
        trace("p", "3", "c"),
        trace("p", "1", "d"),
    ]
    first, second = eval_items(traces)
    assert (first.id, first.expected_answer, first.accepted_answers) == ("a", "1", ["3"])
    assert (second.id, second.accepted_answers) == ("b", [])


def say(role: str, content: str = "", **further: Any) -> Message:
    return Message(Role(role), content, **further)


def test_a_conversation_asks_for_its_last_assistant_message_with_all_before_it() -> None:
    call = ToolCall(ToolFunction("add", {"a": 1, "b": 2}))
    tools = [{"type": "function", "function": {"name": "add"}}]
    before = [
        say("user", "Add 1 and 2."),
        say("assistant", reasoning_content="A tool adds.", tool_calls=[call]),
        say("tool", "3"),
    ]
    record = ChatRecord([*before, say("assistant", "3", reasoning_content="Done.")], tools, "c")
    (item,) = eval_items([record])
    assert (item.messages, item.tools) == (before, tools)
    assert (item.expected_answer, item.expected_tool_calls) == ("3", [])
    (asked,) = eval_items([ChatRecord(before, tools, "c")])
    assert (asked.messages, asked.expected_answer) == (before[:1], "")
    assert asked.expected_tool_calls == [call]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (CompletionRecord("p", "yes", id="a"), "yes"),
        (PreferenceRecord("p", "yes", "no", id="a"), "yes"),
        (FeedbackRecord("p", "yes", True, id="a"), "yes"),
        (PromptRecord("p", "yes", id="a"), "yes"),
        (PromptRecord("p", id="a"), ""),
        (trace("p", "yes"), "yes"),
    ],
)
def test_the_expected_answer_of_each_kind(record: Any, expected: str) -> None:
    (item,) = eval_items([record])
    assert (item.prompt, item.expected_answer) == ("p", expected)
    assert item.marked is isinstance(record, Trace)


def test_tools_go_with_a_prompt_of_text() -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    (item,) = eval_items([PromptRecord("p", tools=tools, id="a")])
    assert (item.prompt, item.tools) == ("p", tools)


def test_the_chosen_messages_of_a_preference_are_expected() -> None:
    record = PreferenceRecord(
        [say("user", "p")], [say("assistant", "yes")], [say("assistant", "no")], id="a"
    )
    (item,) = eval_items([record])
    assert (item.messages, item.expected_answer) == ([say("user", "p")], "yes")


@pytest.mark.parametrize(
    "record",
    [
        CompletionRecord("", "plain text", id="a"),
        ChatRecord([say("assistant", "Hello!")], id="a"),
        FeedbackRecord("p", "wrong", False, id="a"),
    ],
)
def test_records_without_a_question_or_an_answer_give_no_item(record: Any) -> None:
    assert eval_items([record]) == []


def test_items_of_prompts_have_the_judges_fields_of_their_metadata() -> None:
    fields = {"choices": ["3", "4"], "accepted_answers": ["four"], "category": "sums"}
    odd = {"difficulty": 3, "source": "web", "id": "other"}
    record = PromptRecord("2 + 2?", expected_answer="4", id="a", metadata={**fields, **odd})
    (item,) = eval_items([record])
    assert (item.id, item.choices, item.accepted_answers) == ("a", ["3", "4"], ["four"])
    assert (item.category, item.difficulty) == ("sums", None)


def test_fields_of_metadata_that_belong_together_are_read_together() -> None:
    record = PromptRecord("How far?", id="a", metadata={"unit": "km", "unit_required": True})
    (item,) = eval_items([record])
    assert (item.unit, item.unit_required) == ("km", True)

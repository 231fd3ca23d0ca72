"""The shipped chat templates against transformers, and against goldens that were checked by eye."""

from __future__ import annotations

import functools
import json
import re
from datetime import date, datetime
from typing import Any

import pytest

from tailrace.formats.catalog import CHAT_TEMPLATES
from tailrace.formats.data.message import ToolCall, ToolFunction
from tailrace.formats.data.tool_calls import ParsedOutput, parse_tool_calls
from tailrace.formats.spec.methods import TrainOn
from tests.parity.templates.cases import (
    BEGIN_AND_END,
    CASES,
    GOLDENS,
    MARKED,
    TOOLS,
    Case,
    cases_of,
    marked_text,
    small_tokenizer,
    without_marks,
)
from training.chat_templates import shipped_template
from training.data.chat_format import ChatFormat
from training.data.literal_text import ConversationError
from training.data.rendered_example import RenderedExample

TODAY = datetime.now().date()
"""The day that transformers writes."""

DAY = date(2026, 1, 2)
RENDERED = [(name, case) for name in CHAT_TEMPLATES for case in cases_of(name)]
MARKED_RENDERED = [(name, case) for name, case in RENDERED if name in MARKED]


@functools.cache
def chat_format(
    name: str, kwargs: str = "{}", day: date = TODAY, template: str | None = None
) -> ChatFormat:
    return ChatFormat(small_tokenizer(name, template), day, json.loads(kwargs))


def format_of(name: str, case: Case, day: date = TODAY, template: str | None = None) -> ChatFormat:
    return chat_format(name, json.dumps(case.kwargs), day, template)


def encode(
    name: str, case: Case, day: date = TODAY, template: str | None = None
) -> RenderedExample:
    return format_of(name, case, day, template).encode(case.conversation, TrainOn.ALL_ASSISTANT)


def transformers_says(name: str, case: Case, template: str | None = None, **options: Any) -> Any:
    return small_tokenizer(name, template).apply_chat_template(
        case.plain,
        tools=case.tools or None,
        tokenize=True,
        return_dict=True,
        **options,
        **case.kwargs,
    )


@pytest.mark.parametrize(("name", "case"), RENDERED)
def test_tokens_equal_those_of_transformers(name: str, case: str) -> None:
    expected = transformers_says(name, CASES[case])["input_ids"]
    assert encode(name, CASES[case]).tokens.tolist() == expected


@pytest.mark.parametrize(
    ("name", "case"), [(name, case) for name, case in MARKED_RENDERED if case != "weight"]
)
def test_masks_equal_those_of_transformers(name: str, case: str) -> None:
    expected = transformers_says(name, CASES[case], return_assistant_tokens_mask=True)
    assert sum(expected["assistant_masks"]) > 1
    assert encode(name, CASES[case]).mask.tolist() == [m == 1 for m in expected["assistant_masks"]]


@pytest.mark.parametrize("name", CHAT_TEMPLATES)
def test_text_and_mask_equal_the_goldens(name: str) -> None:
    goldens = json.loads((GOLDENS / f"{name}.json").read_text(encoding="utf-8"))
    texts = {case: marked_text(encode(name, CASES[case], DAY)) for case in cases_of(name)}
    assert texts == goldens


@pytest.mark.parametrize(("name", "case"), MARKED_RENDERED)
def test_without_its_marks_a_template_gives_the_same(name: str, case: str) -> None:
    marked = encode(name, CASES[case])
    unmarked = encode(name, CASES[case], template=without_marks(name))
    assert marked_text(unmarked) == marked_text(marked)
    assert unmarked.tokens.tolist() == marked.tokens.tolist()
    assert list(unmarked.untrainable) == list(marked.untrainable)


END = re.compile(
    r"( +\{\{- '<\|\w+\|>' \}\}\n)( +\{%- endgeneration %\}\n)((?: +\{\{- '\\n' \}\}\n)?)"
)
"""The end of a block, with what stands around it: end token, tag, and white space."""


# Not a turn that ends with an emoji, of which the mask of transformers has the first byte alone.
@pytest.mark.parametrize("case", ["single", "tools"])
@pytest.mark.parametrize("name", ["llama3", "smollm2-tools", "smollm3"])
def test_a_turn_ends_with_its_end_token_wherever_its_block_ends(name: str, case: str) -> None:
    inside = encode(name, CASES[case]).mask
    text = shipped_template(name)
    turns = 2 if case == "tools" else 1
    for order, surplus in ((r"\2\1\3", -turns), (r"\1\3\2", 0 if name == "llama3" else turns)):
        template, count = END.subn(order, text)
        assert count == 1
        moved = encode(name, CASES[case], template=template)
        assert moved.mask.tolist() == inside.tolist()
        expected = transformers_says(name, CASES[case], template, return_assistant_tokens_mask=True)
        assert moved.tokens.tolist() == expected["input_ids"]
        assert sum(expected["assistant_masks"]) - sum(inside) == surplus


def test_some_templates_have_marks_and_some_have_none() -> None:
    assert set(MARKED) == {"llama3", "qwen3", "smollm2-tools", "smollm3"}


def test_turns_that_cannot_be_learnt_are_known() -> None:
    reported = {
        (name, case): list(example.untrainable)
        for name, case in RENDERED
        if (example := encode(name, CASES[case])).untrainable
    }
    assert reported == {
        ("mistral", "system"): [2],
        ("qwen3", "multi"): [1],
        ("qwen3", "system"): [2],
        ("qwen3", "reasoning"): [1],
        ("qwen3", "tools"): [1],
    }


@pytest.mark.parametrize(("name", "case"), RENDERED)
def test_generation_goes_on_from_the_tokens_of_training(name: str, case: str) -> None:
    chat = format_of(name, CASES[case])
    conversation = CASES[case].conversation
    example = chat.encode(conversation, TrainOn.LAST_ASSISTANT)
    prompt = chat.prompt_tokens(conversation.messages[:-1], conversation.tools)
    assert example.tokens[: len(prompt)].tolist() == prompt
    assert int(example.mask.argmax()) == len(prompt)


@pytest.mark.parametrize("name", ["gemma3", "llama3", "mistral", "olmo2"])
def test_the_token_that_begins_a_text_occurs_once(name: str) -> None:
    begin, end = BEGIN_AND_END[name]
    text = encode(name, CASES["multi"]).text
    assert text.startswith(str(begin))
    # OLMo 2 ends both turns with the same token.
    assert text.count(str(begin)) == (3 if begin == end else 1)


@pytest.mark.parametrize("name", TOOLS)
def test_tool_calls_are_read_from_the_turns_that_were_learnt(name: str) -> None:
    messages, tools = CASES["tools"].messages[:2], CASES["tools"].tools
    chat = chat_format(name)
    example = chat.encode(Case(messages, tools).conversation, TrainOn.ALL_ASSISTANT)
    text = chat.text([int(token) for token in example.tokens[example.mask]])
    parsed = parse_tool_calls(text.removeprefix("<think>\n\n</think>\n\n"))
    id_ = "call00001" if name == "mistral" else None
    function = ToolFunction("add", {"a": 2, "b": 3})
    assert parsed == ParsedOutput("", [ToolCall(function, id_)])


@pytest.mark.parametrize("name", [name for name in CHAT_TEMPLATES if name not in TOOLS])
def test_templates_without_a_form_for_tools_refuse_them(name: str) -> None:
    with pytest.raises(ConversationError, match="has no form for tools: use"):
        encode(name, Case(CASES["single"].messages, CASES["tools"].tools))
    refusal = "form for tool calls" if name != "gemma3" else "without tool calls"
    with pytest.raises(ConversationError, match=refusal):
        encode(name, Case(CASES["tools"].messages))


def test_several_tool_calls_in_a_message() -> None:
    first, answer = CASES["tools"].messages[:2]
    twice = Case([first, {**answer, "tool_calls": answer["tool_calls"] * 2}], CASES["tools"].tools)
    for name in TOOLS:
        if name == "llama3":
            with pytest.raises(ConversationError, match="one tool call in a message: split it"):
                encode(name, twice)
            continue
        text = encode(name, twice).text
        turn = text[text.rindex("2 + 3?") :].partition(
            "<tool_call>" if name != "mistral" else "[/INST]"
        )
        end = str(small_tokenizer(name).eos_token)
        calls = parse_tool_calls("".join(turn[1:]).removeprefix("[/INST]").partition(end)[0]).calls
        assert [call.function.arguments for call in calls] == [{"a": 2, "b": 3}] * 2

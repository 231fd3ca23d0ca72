from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.tool_calls import parse_tool_calls
from tailrace.formats.data.trace import Step, Trace
from tailrace.formats.spec.methods import TrainOn
from training.data.chat_format import ChatFormat
from training.data.conversation import Conversation
from training.data.rendering import parse_response, render_prompt, render_response

TRACE = Trace(
    prompt="What is 1 + 2?",
    answer="3",
    steps=[Step(0, "reasoning", "One and two."), Step(1, "calculation", "1 + 2 = 3")],
)


def test_prompt_and_response(tokenizer: Any) -> None:
    assert render_prompt(tokenizer, TRACE.prompt) == "User: What is 1 + 2?\nAssistant:\n"
    assert render_response(TRACE) == "One and two.\n1 + 2 = 3\nAnswer: 3"


def test_the_template_renders_whole_conversations_as_training_does(tokenizer: Any) -> None:
    messages = [
        {"role": "user", "content": TRACE.prompt},
        {"role": "assistant", "content": render_response(TRACE)},
    ]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    trained = render_prompt(tokenizer, TRACE.prompt) + render_response(TRACE)
    assert whole == trained + tokenizer.eos_token + "\n"


def test_the_default_template_leaves_nothing_of_a_conversation_out(tokenizer: Any) -> None:
    call = ToolCall(ToolFunction("add", {"b": "é", "a": 1}))
    messages = [
        Message(Role.SYSTEM, "Be kind."),
        Message(Role.USER, "1 + 2?"),
        Message(Role.ASSISTANT, "Wait.", reasoning_content="A sum.", tool_calls=[call]),
        Message(Role.TOOL, "3"),
        Message(Role.ASSISTANT, "It is 3."),
    ]
    tools = [{"type": "function", "function": {"name": "add"}}]
    conversation = Conversation(messages, 2, tools)
    example = ChatFormat(tokenizer).encode(conversation, TrainOn.ALL_ASSISTANT)
    eos = tokenizer.eos_token
    learnt = (
        "<think>\nA sum.\n</think>\n\nWait."
        f'<tool_call>{{"name": "add", "arguments": {{"b": "é", "a": 1}}}}</tool_call>{eos}'
    )
    assert example.text == (
        'Tools: [{"type": "function", "function": {"name": "add"}}]\nSystem: Be kind.\n'
        f"User: 1 + 2?\nAssistant:\n{learnt}\nTool: 3\nAssistant:\nIt is 3.{eos}\n"
    )
    text = tokenizer.decode(example.tokens[example.mask].tolist())
    assert text == f"{learnt}It is 3.{eos}"
    assert (example.untrainable, example.lost_reasoning) == ([], [])
    assert parse_tool_calls(learnt).calls == [call]


def test_parsing_is_the_inverse() -> None:
    parsed = parse_response(render_response(TRACE))
    assert [step.content for step in parsed.steps] == [step.content for step in TRACE.steps]
    assert parsed.answer == TRACE.answer


@pytest.mark.parametrize(
    ("text", "steps", "answer"),
    [
        ("", [], ""),
        ("just words", ["just words"], ""),
        ("Answer: 5", [], "5"),
        ("a\n\n  b \nAnswer: 1\nAnswer: two\nlines", ["a", "b", "Answer: 1"], "two\nlines"),
        ("Answer:", [], ""),
        ("My Answer: 5", ["My Answer: 5"], ""),
    ],
)
def test_nothing_is_invented(text: str, steps: list[str], answer: str) -> None:
    parsed = parse_response(text)
    assert [step.content for step in parsed.steps] == steps
    assert [step.i for step in parsed.steps] == list(range(len(steps)))
    assert parsed.answer == answer

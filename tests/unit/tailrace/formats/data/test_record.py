from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.data.message import Message, Role, ToolCall, ToolFunction
from tailrace.formats.data.record import (
    SCHEMAS,
    ChatRecord,
    CompletionRecord,
    DatasetKind,
    FeedbackRecord,
    PreferenceRecord,
    PromptRecord,
    Record,
    dump_line,
    kind_of,
)
from tailrace.formats.data.trace import Trace
from tailrace.formats.schema import SpecError, parse
from tailrace.formats.wording import is_blank

ASK = {"role": "user", "content": "q"}
GOOD = {"role": "assistant", "content": "a"}
BAD = {"role": "assistant", "content": "b"}
SYSTEM = {"role": "system", "content": "s"}
RESULT = {"role": "tool", "content": "r", "tool_call_id": "c"}

LINES: dict[DatasetKind, dict[str, Any]] = {
    DatasetKind.MESSAGES: {"messages": [ASK, GOOD]},
    DatasetKind.COMPLETION: {"prompt": "p", "completion": "c"},
    DatasetKind.PREFERENCE: {"prompt": "p", "chosen": "a", "rejected": "b"},
    DatasetKind.FEEDBACK: {"prompt": "p", "completion": "c", "label": False},
    DatasetKind.PROMPTS: {"prompt": "p"},
    DatasetKind.TRACE: {"prompt": "p", "answer": "a"},
}


def record(kind: DatasetKind, **changes: Any) -> Record:
    return parse(SCHEMAS[kind], {**LINES[kind], **changes})


def refused(kind: DatasetKind, **changes: Any) -> str:
    with pytest.raises(SpecError) as error:
        record(kind, **changes)
    return str(error.value)


@pytest.mark.parametrize("kind", DatasetKind)
def test_a_line_tells_its_kind(kind: DatasetKind) -> None:
    assert kind_of(LINES[kind]) is kind
    assert kind_of(json.loads(dump_line(record(kind)))) is kind


@pytest.mark.parametrize("line", [None, 3, [], {}, {"text": "t"}, {"conversations": []}])
def test_other_lines_are_of_no_kind(line: object) -> None:
    assert kind_of(line) is None


BLANK = "is blank: it must have a visible character"
BEGINNING = "must begin with an assistant message: what precedes it is the prompt"


@pytest.mark.parametrize(
    ("kind", "changes", "problem"),
    [
        ("messages", {"messages": []}, "messages: must have at least one message"),
        ("messages", {"messages": None}, "messages: is required"),
        (
            "messages",
            {"messages": [ASK]},
            "messages: has no assistant message: there is nothing to learn",
        ),
        (
            "messages",
            {"messages": [RESULT, ASK, GOOD]},
            "messages[0]: must come after the assistant message that calls the tool",
        ),
        (
            "messages",
            {"messages": [ASK] * 10_001},
            "messages: has 10001 entries, at most 10000 allowed",
        ),
        (
            "messages",
            {"tools": [{}]},
            'tools[0]: must be {"type": "function", "function": {"name": …, "parameters": {…}}}',
        ),
        ("messages", {"tools": ["f"]}, "tools[0]: must be a mapping, not 'f'"),
        ("messages", {"metadata": [1]}, "metadata: must be a mapping, not a list"),
        ("messages", {"metadata": {"x": float("inf")}}, "metadata.x: must be a finite number"),
        (
            "messages",
            {"metadata": {"x": "y" * 1_000_001}},
            "metadata.x: has 1000001 characters, at most 1000000 allowed",
        ),
        (
            "messages",
            {"metadata": {str(number): 0 for number in range(1001)}},
            "metadata: has 1001 entries, at most 1000 allowed",
        ),
        ("messages", {"id": ""}, "id: must not be empty"),
        ("messages", {"id": "x" * 129}, "id: has 129 characters, at most 128 allowed"),
        ("messages", {"id": 3}, "id: must be text, not 3: put it into quotes"),
        (
            "messages",
            {"conversations": []},
            "conversations: is not a known key; known keys: messages, tools, id, metadata",
        ),
        ("completion", {"prompt": " "}, f"prompt: {BLANK}"),
        ("completion", {"completion": ""}, f"completion: {BLANK}"),
        ("completion", {"completion": None}, "completion: is required"),
        ("completion", {"prompt": 3}, "prompt: must be text or a list, not 3"),
        (
            "completion",
            {"prompt": "x" * 1_000_001},
            "prompt: has 1000001 characters, at most 1000000 allowed",
        ),
        (
            "completion",
            {"prompt": [ASK] * 10_001, "completion": [GOOD]},
            "prompt: has 10001 entries, at most 10000 allowed",
        ),
        (
            "completion",
            {"prompt": [], "completion": [GOOD]},
            "prompt: must have at least one message",
        ),
        (
            "completion",
            {"prompt": [ASK]},
            "completion: must be a list of messages, as the prompt is",
        ),
        ("completion", {"completion": [GOOD]}, "completion: must be text, as the prompt is"),
        ("completion", {"prompt": [ASK], "completion": []}, f"completion: {BEGINNING}"),
        ("completion", {"prompt": [ASK], "completion": [ASK, GOOD]}, f"completion: {BEGINNING}"),
        (
            "completion",
            {"prompt": [ASK], "completion": [{**GOOD, "tool_calls": [3]}]},
            "completion[0].tool_calls[0]: must be a mapping with keys such as function, id, type, "
            "not 3",
        ),
        (
            "completion",
            {
                "prompt": [ASK],
                "completion": [
                    {"role": "assistant", "tool_calls": [{"function": {"name": "f"}, "id": "d"}]},
                    RESULT,
                ],
            },
            "completion[1].tool_call_id: 'c' is not the id of an earlier call",
        ),
        ("preference", {"rejected": "a"}, "rejected: is the same as chosen"),
        ("preference", {"prompt": ""}, f"prompt: {BLANK}"),
        (
            "preference",
            {"prompt": [ASK], "chosen": [ASK, GOOD], "rejected": [BAD]},
            f"chosen: {BEGINNING}",
        ),
        ("preference", {"chosen": [GOOD]}, "chosen: must be text, as the prompt is"),
        ("feedback", {"label": None}, "label: is required"),
        ("feedback", {"label": 1}, "label: must be true or false, not 1"),
        ("feedback", {"prompt": ""}, f"prompt: {BLANK}"),
        ("prompts", {"prompt": ""}, f"prompt: {BLANK}"),
        ("prompts", {"expected_answer": ""}, "expected_answer: must not be empty"),
        (
            "prompts",
            {"expected_answer": 4},
            "expected_answer: must be text, not 4: put it into quotes",
        ),
        (
            "prompts",
            {"choices": []},
            "choices: is not a known key; known keys: prompt, expected_answer, tools, id, metadata",
        ),
    ],
)
def test_refused(kind: DatasetKind, changes: dict[str, Any], problem: str) -> None:
    assert refused(DatasetKind(kind), **changes) == problem


def test_plain_text_has_an_empty_prompt() -> None:
    assert record(DatasetKind.COMPLETION, prompt="") == CompletionRecord("", "c")


def test_a_completion_may_answer_a_call_of_the_prompt() -> None:
    call = {"role": "assistant", "tool_calls": [{"function": {"name": "f"}, "id": "c"}]}
    found = record(DatasetKind.COMPLETION, prompt=[ASK, call, RESULT], completion=[GOOD])
    assert isinstance(found, CompletionRecord)
    assert len(found.prompt) == 3


def turns(*texts: str) -> list[Message]:
    return [Message(Role(name), "x") for name in texts]


KEY = '[{"content":"x","role":"user"}]'


@pytest.mark.parametrize(
    ("record", "key"),
    [
        (ChatRecord(turns("user", "assistant", "user", "assistant")), KEY),
        (ChatRecord(turns("user", "assistant")), KEY),
        (CompletionRecord("p", "c"), '"p"'),
        (CompletionRecord("", "text"), '"text"'),
        (CompletionRecord(turns("user"), turns("assistant")), KEY),
        (PreferenceRecord("p", "a", "b"), '"p"'),
        (FeedbackRecord("p", "c", True), '"p"'),
        (PromptRecord(turns("user")), KEY),
        (Trace("p", "a"), "p"),
    ],
)
def test_the_split_key_is_the_prompt(record: Record, key: str) -> None:
    assert record.split_key == key


@pytest.mark.parametrize(
    ("names", "count"),
    [
        (("assistant", "user", "assistant"), 2),
        (("system", "assistant", "user", "assistant"), 3),
        (("assistant", "user"), 2),
        (("system", "assistant"), 1),
        (("assistant",), 1),
    ],
)
def test_a_greeting_of_the_assistant_belongs_to_the_split_key(
    names: tuple[str, ...], count: int
) -> None:
    assert len(json.loads(ChatRecord(turns(*names)).split_key)) == count


TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=20
).filter(lambda text: not is_blank(text))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**40), 10**40) | st.floats(-1e30, 1e30) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
CALLS = st.builds(
    ToolCall,
    st.builds(ToolFunction, st.just("f"), st.dictionaries(TEXT, JSON, max_size=3)),
    st.none() | TEXT,
)
ANSWERS = st.builds(
    Message,
    st.just(Role.ASSISTANT),
    TEXT,
    st.none() | TEXT,
    tool_calls=st.lists(CALLS, max_size=2),
    weight=st.sampled_from([None, 0, 1]),
)
METADATA = st.dictionaries(TEXT, JSON, max_size=3)
USERS = st.builds(Message, st.just(Role.USER), TEXT)
RECORDS = st.one_of(
    st.builds(
        ChatRecord,
        st.tuples(USERS, ANSWERS).map(list),
        id=st.none() | TEXT,
        metadata=METADATA,
    ),
    st.builds(CompletionRecord, st.just("") | TEXT, TEXT, metadata=METADATA),
    st.builds(FeedbackRecord, TEXT, TEXT, st.booleans()),
    st.builds(PromptRecord, st.lists(USERS, min_size=1, max_size=2), st.none() | TEXT),
)


@given(RECORDS)
def test_lines_are_read_as_they_were_written(record: Record) -> None:
    line = dump_line(record)
    assert line.endswith("\n")
    read = parse(type(record), json.loads(line))
    assert read == record
    assert dump_line(read) == line


def test_lines_keep_the_order_of_keys_in_tools() -> None:
    parameters = {"type": "object", "properties": {"b": {"minimum": 0.0}, "a": {}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": parameters}}
    line = dump_line(record(DatasetKind.MESSAGES, tools=[tool]))
    assert json.dumps(tool, separators=(",", ":")) in line

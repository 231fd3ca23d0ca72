from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tailrace.formats.canonical import canonical_json
from tailrace.formats.data.message import MAX_TOOLS, ToolCall, ToolFunction
from tailrace.formats.data.tool_calls import TOOL_MARKERS, ParsedOutput, parse_tool_calls
from tailrace.formats.schema import to_mapping

ADD = ToolCall(ToolFunction("add", {"a": 1, "b": [2.5, "x"]}))
ADD_JSON = '{"name": "add", "arguments": {"a": 1, "b": [2.5, "x"]}}'
ADD_PARAMETERS = ADD_JSON.replace("arguments", "parameters")
HERMES = f"<tool_call>\n{ADD_JSON}\n</tool_call>"


@pytest.mark.parametrize(
    "text",
    [
        HERMES,
        f"<tool_call>{ADD_JSON}</tool_call>",
        f"<tool_call>{ADD_PARAMETERS}</tool_call>",
        f"<tool_call>[{ADD_JSON}]</tool_call>",
        f'<tool_call>{{"type": "function", "function": {ADD_JSON}}}</tool_call>',
        ADD_PARAMETERS,
        f"\n{ADD_PARAMETERS}\n",
        f"<|python_tag|>{ADD_PARAMETERS}",
        f"[TOOL_CALLS] [{ADD_JSON}]",
        f"[TOOL_CALLS][{ADD_JSON}]",
        '[TOOL_CALLS]add[ARGS]{"a": 1, "b": [2.5, "x"]}',
        '[TOOL_CALLS]add{"a": 1, "b": [2.5, "x"]}',
        f"<|tool_call|>[{ADD_JSON}]<|/tool_call|>",
    ],
)
def test_a_call_in_each_form(text: str) -> None:
    assert parse_tool_calls(text) == ParsedOutput("", [ADD])


@pytest.mark.parametrize(
    "text",
    [
        f"{HERMES}\n{HERMES}",
        f"{ADD_PARAMETERS}; {ADD_PARAMETERS}",
        f"<|python_tag|>{ADD_PARAMETERS}; {ADD_PARAMETERS}",
        f"[TOOL_CALLS][{ADD_JSON}, {ADD_JSON}]",
        '[TOOL_CALLS]add[ARGS]{"a": 1, "b": [2.5, "x"]}' * 2,
        f"<|tool_call|>[{ADD_JSON}, {ADD_JSON}]<|/tool_call|>",
    ],
)
def test_several_calls(text: str) -> None:
    assert parse_tool_calls(text) == ParsedOutput("", [ADD, ADD])


def test_the_text_around_calls_is_content() -> None:
    parsed = parse_tool_calls(f"Let me add.\n{HERMES}\nDone.\n")
    assert parsed == ParsedOutput("Let me add.\n\nDone.", [ADD])


@pytest.mark.parametrize(
    "text",
    ["", " 12 \n", '{"name": "Bob", "id": "x"}', f"{ADD_PARAMETERS} is JSON", "{", "</tool_call>"],
)
def test_text_without_a_call_is_unchanged(text: str) -> None:
    assert parse_tool_calls(text) == ParsedOutput(text, [])


def test_a_call_at_the_end_of_the_text_needs_no_closing_marker() -> None:
    assert parse_tool_calls(HERMES.removesuffix("</tool_call>")).calls == [ADD]


def test_an_id_is_read() -> None:
    for text in (
        '[TOOL_CALLS][{"name": "now", "arguments": {}, "id": "Ab1"}]',
        "[TOOL_CALLS]now[CALL_ID]Ab1[ARGS]{}",
    ):
        assert parse_tool_calls(text).calls == [ToolCall(ToolFunction("now"), id="Ab1")]


def test_markers_in_an_argument_are_text() -> None:
    text = (
        '<tool_call>{"name": "say", "arguments": {"text": "</tool_call><tool_call>"}}</tool_call>'
    )
    (call,) = parse_tool_calls(text).calls
    assert call.function.arguments == {"text": "</tool_call><tool_call>"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<tool_call>add(1, 2)</tool_call>", "is not JSON: Expecting value"),
        ('<tool_call>{"name": "add", "arg', "is not JSON: Unterminated string"),
        ('<tool_call>"add"</tool_call>', "must be a JSON object with name and arguments"),
        ("<tool_call>{}</tool_call>", "name: is required"),
        ('<tool_call>{"name": "a b"}</tool_call>', "name: 'a b' does not fit"),
        (
            '<tool_call>{"name": "add", "arguments": "{}"}</tool_call>',
            "arguments: must be a mapping, not '{}'",
        ),
        ('<tool_call>{"name": "f", "arguments": {"x": 1e999}}', "x: must be a finite number"),
        ('<tool_call>{"name": "f", "arguments": {"x": NaN}}', "NaN is not a JSON number"),
        ('<tool_call>{"name": "f", "function": 1}', "function must be a JSON object"),
        ("<tool_call>" + "[" * 100_000, "nested too deeply"),
        ("[TOOL_CALLS] []", "the list of calls is empty"),
        (f"<tool_call>{ADD_JSON} and", "'and' where </tool_call> must be"),
        ('<|python_tag|>search.call(query="x")', "is not JSON"),
    ],
)
def test_a_malformed_call_has_a_problem_and_is_content(text: str, problem: str) -> None:
    parsed = parse_tool_calls(f"{HERMES} so {text}")
    begin = len(f"{HERMES} so ")
    assert parsed.problem.startswith(f"malformed tool call at character {begin}: ")
    assert problem in parsed.problem
    assert parsed.calls == [ADD]
    assert parsed.content == f"so {text}".strip()


def test_too_many_calls_are_a_problem() -> None:
    parsed = parse_tool_calls(HERMES * (MAX_TOOLS + 1))
    assert len(parsed.calls) == MAX_TOOLS
    assert f"more than {MAX_TOOLS} calls" in parsed.problem
    assert parse_tool_calls(f"[TOOL_CALLS][{', '.join([ADD_JSON] * (MAX_TOOLS + 1))}]").problem


PIECES = st.sampled_from(
    [*TOOL_MARKERS, *'{}[]",:;\\', "name", "add", '"arguments"', "1", "1e999", '"\\ud800"',
     '{"name": "f", "arguments": {', ADD_JSON, ADD_PARAMETERS, "\n", "null", "é\u0301", "🙂"]
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(st.lists(PIECES | st.text(max_size=5), max_size=30).map("".join))
@example('<tool_call>{"name": "f", "arguments": {"\\ud800": {"a": "\\ud800"}}}')
def test_any_text_has_a_result_that_can_be_stored(text: str) -> None:
    parsed = parse_tool_calls(text)
    content: Any = [to_mapping(call) for call in parsed.calls]
    canonical_json(content).encode()
    parsed.problem.encode()
    if not parsed.calls:
        assert parsed.content == text


NAMES = st.text("abcXYZ019_.:/-", min_size=1, max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text('ab"\\é🙂<>\n', max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('ab"é🙂', max_size=3), inner)
    ),
    max_leaves=8,
)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(NAMES, st.dictionaries(NAMES, VALUES, max_size=3)), min_size=1, max_size=3)
)
def test_calls_that_a_template_writes_are_read_again(
    calls: list[tuple[str, dict[str, Any]]],
) -> None:
    written = [canonical_json({"name": name, "arguments": args}) for name, args in calls]
    expected = [ToolCall(ToolFunction(name, args)) for name, args in calls]
    hermes = "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in written)
    assert parse_tool_calls(hermes) == ParsedOutput("", expected)
    assert parse_tool_calls(f"[TOOL_CALLS][{', '.join(written)}]") == ParsedOutput("", expected)


@pytest.mark.parametrize(
    "unit",
    ["<tool_call>", '<tool_call>{"a":"', "{", "[TOOL_CALLS]a", "[TOOL_CALLS]a{", '{"name":"',
     "<tool_call>{}</tool_call>", "[TOOL_CALLS] ;", " ;", f"<tool_call>{ADD_JSON}"],
)  # fmt: skip
def test_hostile_text_takes_no_time(unit: str) -> None:
    text = unit * (1_000_000 // len(unit))
    start = time.perf_counter()
    parse_tool_calls(text)
    parse_tool_calls(f"<tool_call>{text}")
    assert time.perf_counter() - start < 1

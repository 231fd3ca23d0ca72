from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.data.message import ToolCall, ToolFunction
from tests.unit.training.judges.candidates import judge_of, judge_one
from training.judges import TextVerdict

JUDGE = judge_of({"name": "tool_call"})


def tool(name: str, properties: dict[str, Any], *required: str, **further: Any) -> dict[str, Any]:
    parameters = {"type": "object", "properties": properties, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters | further}}


TOOLS = [
    tool(
        "add",
        {
            "a": {"type": "integer"},
            "b": {"type": "number"},
            "unit": {"type": ["string", "null"], "default": None},
            "round": {"$ref": "#/$defs/Round"},
        },
        "a",
        "b",
        **{
            "$defs": {
                "Round": {
                    "type": "object",
                    "default": {"places": 2},
                    "properties": {"places": {"type": "integer", "default": 2}},
                }
            }
        },
    ),
    tool("look_up", {"city": {"type": "string", "default": "Paris"}}, "city"),
]


def call(name: str = "add", **arguments: Any) -> ToolCall:
    return ToolCall(ToolFunction(name, arguments))


def written(*calls: ToolCall) -> str:
    forms = (
        json.dumps({"name": c.function.name, "arguments": c.function.arguments}) for c in calls
    )
    return "".join(f"<tool_call>\n{form}\n</tool_call>\n" for form in forms)


def judged(text: str, *expected: ToolCall, tools: list[Any] = TOOLS) -> TextVerdict:
    return judge_one(
        JUDGE, text, expected_answer="", expected_tool_calls=list(expected), tools=tools
    )


@pytest.mark.parametrize(
    ("arguments", "passed"),
    [
        ({"a": 5, "b": 2}, True),
        ({"b": 2.0, "a": 5.0}, True),
        ({"a": "5", "b": 2}, False),
        ({"a": True, "b": 2}, False),
        ({"a": 5, "b": 2.5}, False),
        ({"a": 5, "b": 2, "unit": None}, True),
        ({"a": 5, "b": 2, "unit": ""}, False),
        ({"a": 5, "b": 2, "round": {"places": 2}}, True),
        ({"a": 5, "b": 2, "round": {}}, True),
        ({"a": 5, "b": 2, "round": {"places": 3}}, False),
        ({"a": 5}, False),
        ({"a": 5, "b": 2, "c": 1}, False),
        ({}, False),
    ],
)
def test_arguments_compare_as_the_schema_describes_them(
    arguments: dict[str, Any], passed: bool
) -> None:
    verdict = judged(written(call(**arguments)), call(a=5, b=2))
    assert (verdict.passed, verdict.score) == (passed, float(passed)), verdict.reason


@pytest.mark.parametrize("city", ["paris", " Paris", "Paris.", None])
def test_text_compares_word_for_word(city: object) -> None:
    expected = call("look_up", city="Paris")
    assert judged(written(expected), expected).passed
    assert not judged(written(call("look_up", city=city)), expected).passed


def test_a_required_argument_has_no_default() -> None:
    assert not judged(written(call("look_up")), call("look_up", city="Paris")).passed


def test_calls_are_right_in_any_order_and_as_often_as_expected() -> None:
    one, two = call(a=1, b=1), call(a=2, b=2)
    assert judged(written(two, one), one, two).passed
    assert judged(written(one, one), one, one).passed
    assert not judged(written(one), one, one).passed
    twice = judged(written(one, one), one)
    assert (twice.passed, twice.score) == (False, 0.5)
    assert twice.reason == 'makes add({"a": 1, "b": 1})'
    half = judged(written(one, call(a=3, b=3)), one, two)
    assert half.score == 0.5
    assert half.reason == 'lacks add({"a": 2, "b": 2}); makes add({"a": 3, "b": 3})'
    assert half.extracted == 'add({"a": 1, "b": 1}) | add({"a": 3, "b": 3})'


@pytest.mark.parametrize(
    "text",
    [
        'I add.<tool_call>{"name": "add", "arguments": {"a": 5, "b": 2}}</tool_call>',
        '<think>7?</think>\n[TOOL_CALLS][{"name": "add", "arguments": {"a": 5, "b": 2}}]',
        '{"name": "add", "parameters": {"a": 5, "b": 2}}',
        '<|tool_call|>[{"name": "add", "arguments": {"a": 5, "b": 2}}]<|/tool_call|>',
    ],
)
def test_the_forms_of_the_shipped_templates_are_read(text: str) -> None:
    assert judged(text, call(a=5, b=2)).passed


def test_calls_within_thinking_are_not_made() -> None:
    text = f"<think>{written(call(a=5, b=2))}</think>7"
    verdict = judged(text, call(a=5, b=2))
    assert not verdict.passed
    assert verdict.reason == 'lacks add({"a": 5, "b": 2}); makes no call'
    assert not judged(f"<think>{written(call(a=5, b=2))}", call(a=5, b=2)).passed


def test_where_no_call_is_expected_none_may_be_made() -> None:
    verdict = judged("It is 7.")
    assert (verdict.passed, verdict.score, verdict.reason) == (
        True,
        1.0,
        "makes no call, as expected",
    )
    assert not judged(written(call(a=5, b=2))).passed
    malformed = judged('<tool_call>{"name": "add", ')
    assert (malformed.passed, malformed.score) == (False, 0.0)
    assert malformed.reason.startswith("malformed tool call at character 0")


def test_a_malformed_call_after_the_right_one_fails() -> None:
    verdict = judged(written(call(a=5, b=2)) + "<tool_call>{", call(a=5, b=2))
    assert (verdict.passed, verdict.score) == (False, 0.5)


def test_other_samples_with_the_same_calls_have_the_same_vote() -> None:
    one, two = call(a=1, b=1), call(a=2.0, b=2)
    votes = {judged(text).vote for text in (written(one, two), written(call(a=2, b=2), one))}
    assert len(votes) == 1
    assert judged(written(one)).vote not in votes


ENDLESS = {
    "type": "object",
    "properties": {"a": {"$ref": "#"}, "b": {"$ref": "#/properties/b"}, "c": {"$ref": 1}},
    "default": {},
}


def function(parameters: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "add", "parameters": parameters}}


@pytest.mark.parametrize(
    "parameters",
    [None, [], "x", ENDLESS, {"properties": []}, {"properties": {"a": 1}, "required": 5}],
)
def test_unusable_schemas_describe_nothing(parameters: Any) -> None:
    expected = call(a={"a": {}}, b=[{"b": 1}])
    verdict = judged(written(expected), expected, tools=[function(parameters)])
    assert verdict.passed


FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)
SCHEMA = st.sampled_from([None, ENDLESS, TOOLS[0]["function"]["parameters"]]) | JSON


@given(st.dictionaries(st.sampled_from("abc"), JSON, max_size=3), SCHEMA)
def test_every_call_equals_itself(arguments: dict[str, Any], parameters: Any) -> None:
    expected = ToolCall(ToolFunction("add", arguments))
    verdict = judged(written(expected), expected, tools=[function(parameters)])
    assert verdict.passed or "malformed" in verdict.reason, verdict.reason


PIECES = ["<tool_call>", "</tool_call>", "[TOOL_CALLS]", "{", "}", "[", '"name"', ":", '"add"', ","]


@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=2), max_size=12).map("".join) | st.text()
)
def test_any_text_is_judged(text: str) -> None:
    verdict = judged(text, call(a=5, b=2))
    assert not verdict.passed
    assert 0 <= verdict.score < 1


@pytest.mark.parametrize(
    "text", ["<tool_call>" + "[" * 100_000, "<tool_call>{" * 20_000, '{"name":' * 20_000]
)
def test_hostile_text_fails_at_once(text: str) -> None:
    assert not judged(text, call(a=5, b=2)).passed

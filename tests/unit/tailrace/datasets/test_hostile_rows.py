from __future__ import annotations

import contextlib
import datetime
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from tailrace.datasets.detect import DetectionError, detect
from tailrace.datasets.forms import FORMS, Form
from tailrace.formats.data.record import SCHEMAS, DatasetKind, Record, dump_line, kind_of
from tailrace.formats.schema import SpecError, parse
from tests.growth import LINEAR, growth

CHAT = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
CALL = {"id": "c", "function": {"name": "f", "arguments": {"x": None, "y": 1.5}}}
SOUND = st.sampled_from(
    ["q", "a\r\n", CHAT, [CHAT[1]], [CHAT[0], {"role": "assistant", "tool_calls": [CALL]}], True]
)
WORDS = st.sampled_from(["user", "assistant", "gpt", "tool", "text", "a", "", "{", '{"name": "f"}'])
SCALARS = (
    st.none()
    | st.booleans()
    | WORDS
    | st.text(max_size=5)
    | st.integers()
    | st.floats()
    | st.sampled_from([10**4000, "\ud800", "a\0", b"x", datetime.date(2026, 1, 1), object()])
)
NAMES = "role content from value tool_calls function_call function name arguments type text x"
KEYS = st.sampled_from([*NAMES.split(), "thinking", "weight", "messages", "tools", "\ud800"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(KEYS | st.integers(), inner, max_size=4)
        | st.fixed_dictionaries({"role": WORDS, "content": inner})
    ),
    max_leaves=12,
)
COLUMNS = sorted({name for form in FORMS for names in form.fields.values() for name in names})


def is_sound(record: Record, kind: DatasetKind) -> bool:
    """Return True if a record is written as a canonical line of its kind, and read the same."""
    line = json.loads(dump_line(record).encode())
    return kind_of(line) is kind and parse(SCHEMAS[kind], line) == record


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), st.sampled_from(FORMS))
def test_any_values_give_a_record_or_reasons(data: st.DataObject, form: Form) -> None:
    columns = [names[0] for names in form.required.values()]
    row = {name: data.draw(SOUND | VALUES) for name in columns}
    row |= data.draw(st.dictionaries(st.sampled_from(COLUMNS) | KEYS, VALUES, max_size=3))
    with contextlib.suppress(DetectionError):
        plan = detect([row], form.kind, is_arrow=data.draw(st.booleans()))
        record = None
        with contextlib.suppress(SpecError):
            record = plan.convert(row)
        event("refused" if record is None else "converted")
        assert record is None or is_sound(record, plan.kind)


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize("is_arrow", [False, True])
@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"messages": CHAT, "x": nested(2000)}, "is nested more than 32 levels deep"),
        ({"messages": nested(2000)}, "messages.role: is required"),
        ({"messages": [*CHAT, nested(2000)]}, "messages[2].role: is required"),
        (
            {"messages": CHAT, "tools": [{"name": "f", "parameters": nested(2000)}]},
            "is nested more than 32 levels deep",
        ),
        (
            {
                "messages": [
                    CHAT[0],
                    {"role": "assistant", "tool_calls": [{"name": "f", "arguments": nested(2000)}]},
                ]
            },
            "is nested more than 32 levels deep",
        ),
        ({"messages": "[" * 100_000}, "messages: is text that is nested too deeply"),
        ({"messages": "[" + "1" * 5000 + "]"}, "a whole number with thousands of digits"),
        (
            {"messages": CHAT, "x": [0] * 100_001},
            "metadata: has more than 100,000 values; --map drop",
        ),
        ({"messages": CHAT * 5001}, "messages: has 10002 entries, at most 10000 allowed"),
        (
            {"messages": [*CHAT, {"role": "assistant", "content": "x" * 1_000_001}]},
            "messages[2].content: has 1000001 characters, at most 1000000 allowed",
        ),
        ({"messages": [*CHAT, {"role": "assistant", "content": "\ud800"}]}, "half of a surrogate"),
        ({"messages": CHAT, "x": 10**5000}, "x: is a number too large to be exact"),
        ({"messages": 10**5000}, "messages: must be a list of messages, not a number above 10^30"),
        ({"messages": CHAT, "\ud800": 1}, "contains a character that cannot be stored"),
    ],
)
def test_huge_and_deep_values_are_refused(
    row: dict[str, Any], problem: str, is_arrow: bool
) -> None:
    with pytest.raises(SpecError) as error:
        detect([row], is_arrow=is_arrow).convert(row)
    assert problem in str(error.value)


def test_conversion_is_linear() -> None:
    def convert(row: dict[str, Any]) -> None:
        detect([row]).convert(row)

    assert growth(convert, {"messages": CHAT * 200}, {"messages": CHAT * 800}) < LINEAR


def test_many_unknown_keys_of_messages_are_counted_not_listed() -> None:
    messages = [{**turn, **{f"k{i}": i for i in range(30_000)}} for turn in CHAT * 2]
    with pytest.raises(SpecError, match="metadata: has more than 100,000 values"):
        detect([{"messages": messages}]).convert({"messages": messages})


def test_an_unreadable_message_in_every_place_is_reported_briefly() -> None:
    row = {"messages": [3] * 10_000}
    with pytest.raises(SpecError, match="and 9900 more") as error:
        detect([row]).convert(row)
    assert len(str(error.value)) < 10_000

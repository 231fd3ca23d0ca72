from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.data.dataset_file import parse_dataset
from tailrace.formats.data.jsonl import FormatError, dump_record
from tailrace.formats.data.trace import MAX_STEPS, MAX_TEXT, Step, Trace
from tailrace.formats.wording import is_blank

TEXT = st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=30
).filter(lambda text: not is_blank(text))
TRACES = st.builds(
    lambda prompt, answer, contents, metadata: Trace(
        id="t",
        prompt=prompt,
        answer=answer,
        steps=[Step(i, "reasoning", content) for i, content in enumerate(contents)],
        metadata=metadata,
    ),
    TEXT,
    TEXT,
    st.lists(TEXT, min_size=1, max_size=4),
    st.dictionaries(TEXT, TEXT | st.integers(-(2**53), 2**53) | st.booleans(), max_size=4),
)


def line(**changes: Any) -> bytes:
    step = {"i": 0, "type": "reasoning", "content": "c"}
    return json.dumps({"prompt": "p", "answer": "a", "steps": [step], **changes}).encode()


@given(TRACES)
def test_round_trip(trace: Trace) -> None:
    assert parse_dataset([dump_record(trace).encode()]) == [trace]


def test_missing_ids_come_from_the_line_number() -> None:
    traces = parse_dataset([line(), b"", line(id="own")])
    assert [trace.id for trace in traces] == ["trace-000001", "own"]


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"prompt": ""}, "prompt: must not be empty"),
        ({"prompt": " \n"}, "prompt: is blank: it must have a visible character"),
        ({"answer": "\u200b\ufeff\u00a0"}, "answer: is blank"),
        ({"answer": "\u3164\u2800\ufe0f\u034f"}, "answer: is blank"),
        ({"steps": [{"i": 0, "type": "t", "content": "\t"}]}, r"steps\[0\].content: is blank"),
        ({"prompt": "x" * (MAX_TEXT + 1)}, "prompt: has 50001 characters, at most 50000"),
        ({"answer": None}, "answer: is required"),
        ({"answer": "a\0b"}, "answer: contains a NUL"),
        ({"prompt": "\ud800"}, "half of a surrogate pair"),
        ({"steps": [{"i": 1, "type": "t", "content": "c"}]}, r"steps\[0\].i: must be 0, not 1"),
        ({"steps": [{"i": 0, "type": "", "content": "c"}]}, r"steps\[0\].type: must not be empty"),
        (
            {"steps": [{"i": 0, "type": "t", "content": "c" * 20_001}]},
            r"steps\[0\].content: has 20001 characters",
        ),
        ({"final_answer": "x"}, "final_answer: is an old name: use answer"),
        (
            {"metadata": {"deep": {"er": 1}}},
            "metadata.deep: must be text, a number, true or false, not a mapping",
        ),
        ({"metadata": {"n": None}}, "metadata.n: must be text"),
        ({"prmpt": "x"}, "prmpt: is not a known key; did you mean 'prompt'"),
    ],
)
def test_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=f"line 1: .*{complaint}"):
        parse_dataset([line(**changes)])


def test_the_limits_themselves_are_allowed() -> None:
    steps = [{"i": i, "type": "t" * 64, "content": "c"} for i in range(MAX_STEPS)]
    steps[0]["content"] = "c" * 20_000
    (trace,) = parse_dataset([line(prompt="x" * MAX_TEXT, answer="y" * MAX_TEXT, steps=steps)])
    assert len(trace.steps) == MAX_STEPS


def test_too_many_steps() -> None:
    steps = [{"i": i, "type": "t", "content": "c"} for i in range(MAX_STEPS + 1)]
    with pytest.raises(FormatError, match="has 1001 entries, at most 1000"):
        parse_dataset([line(steps=steps)])


def test_repeated_ids_name_the_first_line() -> None:
    with pytest.raises(FormatError, match="line 3: id: is that of line 1"):
        parse_dataset([line(id="a"), line(id="b"), line(id="a")])


def test_empty_input() -> None:
    with pytest.raises(FormatError, match="no trace"):
        parse_dataset([b"", b"  \n"])


@given(st.binary(max_size=200))
def test_any_bytes_give_traces_or_a_format_error(content: bytes) -> None:
    with pytest.raises(FormatError):
        parse_dataset(content.splitlines())

from __future__ import annotations

import json
from typing import Any

import pytest

from tailrace.formats.data.eval_item import parse_eval_items
from tailrace.formats.data.jsonl import FormatError


def line(**changes: Any) -> bytes:
    return json.dumps({"id": "a", "prompt": "p", "expected_answer": "x", **changes}).encode()


def test_minimal_item() -> None:
    (item,) = parse_eval_items([line()])
    assert (item.id, item.tolerance, item.choices) == ("a", None, [])


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"unit_required": True}, "unit_required: needs unit"),
        ({"prompt": " "}, "prompt: is blank"),
        ({"expected_answer": "\u2003"}, "expected_answer: is blank"),
        ({"accepted_answers": ["1", " "]}, r"accepted_answers\[1\]: is blank"),
        ({"choices": ["x", "\n"]}, r"choices\[1\]: is blank"),
        ({"choices": ["y", "z"]}, "expected_answer: is not the text of one of choices"),
        ({"tolerance": -1}, "tolerance: must be at least 0"),
        ({"tolerance": "near"}, "tolerance: must be a number"),
    ],
)
def test_refused(changes: dict[str, Any], complaint: str) -> None:
    with pytest.raises(FormatError, match=complaint):
        parse_eval_items([line(**changes)])


def test_repeated_id_and_empty_input() -> None:
    with pytest.raises(FormatError, match="line 2: id: 'a' is taken by line 1"):
        parse_eval_items([line(), line()])
    with pytest.raises(FormatError, match="no eval item"):
        parse_eval_items([])

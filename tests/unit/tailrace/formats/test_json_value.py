from __future__ import annotations

import tracemalloc
from typing import Any

import pytest

from tailrace.formats.json_value import (
    MAX_DEPTH,
    MAX_NUMBER,
    MAX_VALUES,
    json_problems,
    json_value,
)


def problems(document: Any) -> dict[str, str]:
    return dict(json_problems(document, "x"))


def test_any_json_fits() -> None:
    document = {"type": "object", "a": [1, 2.5, None, True, {"b": "ü"}], "": {}}
    assert problems(document) == {}


@pytest.mark.parametrize(
    ("document", "path", "text"),
    [
        ({"a": {"b": float("nan")}}, "x.a.b", "finite"),
        ({"a": [0, float("inf")]}, "x.a[1]", "finite"),
        ({"a": MAX_NUMBER + 2}, "x.a", "too large to be exact"),
        ({"a": 10**400}, "x.a", "too large"),
        ({"a": "x\0"}, "x.a", "cannot be stored"),
        ({"a": "x" * 20_001}, "x.a", "at most 20000"),
        ({"a": b"bytes"}, "x.a", "must be JSON"),
        ({1: "a"}, "x.1", "a key must be text"),
        ({"a": list(range(MAX_VALUES))}, "x", "more than 10,000 values"),
    ],
)
def test_what_does_not_fit_is_named(document: Any, path: str, text: str) -> None:
    descriptions = problems(document)
    assert text in descriptions[path]


def test_depth_is_bounded_without_recursion() -> None:
    document: Any = {}
    for _ in range(MAX_DEPTH * 100):
        document = {"a": document}
    assert all("nested more than" in text for text in problems(document).values())
    assert len(problems(document)) == 1


def test_whole_numbers_are_integers() -> None:
    assert json_value({"a": [1.0, 1.5, (True,)]}) == {"a": [1, 1.5, [True]]}
    assert isinstance(json_value(1.0), int)


def test_long_names_above_many_values_stay_cheap() -> None:
    inner: object = ["\0"] * 5000
    for _ in range(20):
        inner = {"n" * 10_000: inner}
    tracemalloc.start()
    problems = list(json_problems({"x": inner}, "p"))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(problems) == 5000
    assert used < 50 * 1024 * 1024

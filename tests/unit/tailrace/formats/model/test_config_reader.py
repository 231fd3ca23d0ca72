from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config_reader import ConfigReader


def test_values_and_defaults_null_counting_as_absent() -> None:
    reader = ConfigReader({"a": 3, "b": None, "c": 0.5, "d": True, "e": "relu", "f": [7, 8]})
    assert (reader.size("a"), reader.size("b", 2), reader.size("x", 5)) == (3, 2, 5)
    assert (reader.number("a", None), reader.number("b", 1e-6), reader.number("c", 0)) == (
        3.0,
        1e-6,
        0.5,
    )
    assert (reader.flag("d", False), reader.flag("b", True)) == (True, True)
    assert (reader.choice("e", "silu", ["relu", "silu"]), reader.choice("b", "x", "x")) == (
        "relu",
        "x",
    )
    assert (reader.token("a"), reader.token("b"), reader.token("f")) == (3, None, 7)
    assert reader.problems == []


def test_every_problem_is_reported_at_once() -> None:
    reader = ConfigReader({"a": 0, "b": "x", "c": 2, "d": 1, "e": "magic", "f": "id", "g": 3})
    reader.size("a")
    reader.size("missing")
    reader.number("b", 1.0)
    reader.number("c", 1.0, maximum=1.0)
    reader.flag("d", False)
    reader.choice("e", "silu", ["silu", "relu"])
    reader.token("f")
    reader.fixed({"g": 2, "absent": 9})
    assert reader.problems == (
        [
            "a must be a whole number of at least 1, not 0",
            "missing is missing",
            "b must be a number from 0 to 3.40282e+38, not 'x'",
            "c must be a number from 0 to 1, not 2",
            "d must be true or false, not 1",
            "e must be one of silu, relu, not 'magic'",
            "f must be a token id, not 'id'",
            "g must be 2, not 3",
        ]
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3.5e38, True, [1.0]])
def test_no_numbers(value: Any) -> None:
    reader = ConfigReader({"a": value})
    reader.number("a", 1.0)
    (problem,) = reader.problems
    assert problem.startswith("a must be a number")


@pytest.mark.parametrize("value", [2.0, True, "2"])
def test_no_sizes(value: Any) -> None:
    reader = ConfigReader({"a": value})
    reader.size("a")
    (problem,) = reader.problems
    assert problem.startswith("a must be a whole number")


@pytest.mark.parametrize("value", [["silu"], {"silu": 1}, 3, True])
def test_no_choices(value: Any) -> None:
    reader = ConfigReader({"a": value})
    reader.choice("a", "silu", {"silu": None})
    (problem,) = reader.problems
    assert problem.startswith("a must be one of silu")

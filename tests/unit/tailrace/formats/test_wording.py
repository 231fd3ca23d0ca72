from __future__ import annotations

import datetime

import pytest

from tailrace.formats.wording import describe, digits, pluralize, quote_hint, unknown_name


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "nothing"),
        (True, "true"),
        (3, "3"),
        ("x", "'x'"),
        ("y" * 200, "'" + "y" * 99 + "…'"),
        ([1], "a list"),
        ({}, "a mapping"),
        (datetime.date(2026, 1, 2), "the date 2026-01-02"),
        ({1}, "a value of another kind"),
    ],
)
def test_values(value: object, text: str) -> None:
    assert describe(value) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (1e23, "100000000000000000000000"),
        (2**31 - 1, "2147483647"),
        (65536.0, "65536"),
        (0.5, "0.5"),
        (0.0, "0"),
        (-1.25, "-1.25"),
        (2e-5, "2e-05"),
        (1e300, "1e+300"),
        (float("inf"), "inf"),
        (10**40, "a number above 10^30"),
        (-(10**40), "a number below -10^30"),
    ],
)
def test_numbers(number: float, text: str) -> None:
    assert digits(number) == text


def test_what_yaml_reads_otherwise_is_to_be_quoted() -> None:
    assert quote_hint(1) == quote_hint(False) == ": put it into quotes"
    assert quote_hint([]) == quote_hint(None) == ""


def test_counted() -> None:
    assert [pluralize(n, "step") for n in (0, 1, 2)] == ["0 steps", "1 step", "2 steps"]


def test_a_long_name_is_shortened_and_compared_with_none() -> None:
    problem = unknown_name("x" * 1_000_000, ("xx", "yy"))
    assert len(problem) < 300
    assert "did you mean" not in problem
    assert "'answer_correctness'?" in unknown_name("AnswerCorectness", ("answer_correctness",))

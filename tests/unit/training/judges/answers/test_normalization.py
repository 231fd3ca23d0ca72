from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.judges.answers.normalization import bare, normalize
from training.judges.answers.numbers import last_number, number


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Mercury", " mercury. "),
        ("carbon  dioxide", "Carbon\ndioxide"),
        ("**42**", "42"),
        ("`42`!", '"42"'),
        ("4²", "4^2"),
        ("1½", r"1\frac{1}{2}"),
        ("٤٢", "42"),
        (r"$\text{Paris}$", "paris"),
        (r"5\%", "5%"),
        ("```\n42\n```", "42"),
        ("ﬁne", "fine"),
        ("Straße", "STRASSE"),
        (r"\(x\)", "x"),
        ("−5", "-5"),
    ],
)
def test_the_same(first: str, second: str) -> None:
    assert normalize(first) == normalize(second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("-5", "5"),
        ("?", "!"),
        ("a b", "ab"),
        ("50%", "50"),
        ("", "."),
        ("4²", "42"),
        ("1½", "11/2"),
        ("$5", "5"),
    ],
)
def test_not_the_same(first: str, second: str) -> None:
    assert normalize(first) != normalize(second)


@given(st.text(max_size=40))
def test_normalizing_twice_changes_nothing(text: str) -> None:
    once = normalize(text)
    assert normalize(once) == once


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", Fraction(42)),
        ("+5", Fraction(5)),
        ("-0.50", Fraction(-1, 2)),
        (".5", Fraction(1, 2)),
        ("1,234,567.5", Fraction(2469135, 2)),
        ("1e3", Fraction(1000)),
        ("3/4", Fraction(3, 4)),
        ("6 / 8", Fraction(3, 4)),
        ("1 1/2", Fraction(3, 2)),
        ("1.2 × 10^3", Fraction(1200)),
        ("12,34", None),
        ("1/0", None),
        ("five", None),
        ("5 cm", None),
        ("1.2.3", None),
        ("", None),
        ("1e999999999", None),
        ("9" * 100_000, None),
        ("٤٢", None),
    ],
)
def test_numbers(text: str, value: Fraction | None) -> None:
    assert number(text) == value


@given(st.integers(-(10**12), 10**12))
def test_separators_do_not_matter(value: int) -> None:
    assert number(f"{value:,}") == number(str(value)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3 apples and 4 pears.", Fraction(4)),
        ("it is 1,250.", Fraction(1250)),
        ("about 3/8 of it", Fraction(3, 8)),
        ("no number", None),
        ("-5", Fraction(-5)),
        ("x2 stays a name", None),
    ],
)
def test_last_number(text: str, value: Fraction | None) -> None:
    assert last_number(text) == value


def test_brackets_around_everything_go() -> None:
    assert bare("((b))") == "b"
    assert bare("(a) and (b)") == "(a) and (b)"
    assert bare("()") == "()"

"""Answers that are the same, and answers that only look the same."""

from __future__ import annotations

import time
from typing import Any

import pytest

from tests.unit.training.judges.candidates import judge_of, judge_one
from training.judges.answers.dates import Day, read_day
from training.judges.answers.readings import read_list

JUDGE = judge_of({"name": "answer_correctness"})

SAME: list[tuple[str, str, dict[str, Any]]] = [
    ("5", "five", {}),
    ("42", "forty-two", {}),
    ("1000000", "1 million", {}),
    ("-5", "minus 5", {}),
    ("1234", "1'234", {}),
    ("0.5", r"\frac12", {}),
    ("12", "$12", {"prompt": "What do three tickets cost?"}),
    ("$12", "1200 cents", {}),
    ("Nile", "the Nile", {}),
    ("yes", "Yes, it is.", {}),
    ("no", "No, it is not.", {}),
    ("carbon dioxide", "carbon-dioxide", {}),
    ("H2O", "H₂O", {}),
    ("2x+1", "2x + 1", {}),
    ("x = 5", "5", {}),
    ("1, 2", "x = 1, y = 2", {}),
    ("red, white", "white & red", {}),
    ("July 4", "the 4th of July", {}),
    ("2024-03-05", "Tuesday, 5.3.2024", {}),
    ("25 °C", "77 °F", {}),
    ("5", "5 apples", {"prompt": "How many apples are there?"}),
    ("50%", "50", {"prompt": "How many percent are there?"}),
]
OTHER: list[tuple[str, str, dict[str, Any]]] = [
    ("5", "5?", {}),
    ("5", "~5", {}),
    ("5", "~~4~~ 5", {}),
    ("5", "5+", {}),
    ("5", "5_2", {}),
    ("5", "6 = 5", {}),
    ("5", "10 - 5", {}),
    ("5", "x >= 5", {}),
    ("5", "5 thousand", {}),
    ("5", "5 because it is not 5", {}),
    ("5", "5; no, 6", {}),
    ("5", "€5", {}),
    ("12", "€12", {"prompt": "What do three tickets at $4 cost?"}),
    ("50%", "50", {}),
    ("yes", "Yes, but not always", {}),
    ("no", "yes, no", {}),
    ("Paris", "Paris, Texas", {}),
    ("2, 3", "2 or 3", {}),
    ("2, 3", "3, 3", {}),
    ("2, 2", "2", {}),
    ("[1, 2]", "(1, 2)", {}),
    ("1, 2, 3", "3, 2, 1", {"prompt": "Sort them."}),
    ("1, 2, 3", "3, 2, 1", {"ordered": True}),
    ("March 5", "March 5, 2024", {}),
    ("2024-03-05", "Monday, March 5, 2024", {}),
    ("007", "7", {}),
    ("10 m", "10 min", {}),
    ("£5", "5 lb", {}),
    ("5 MW", "5 mW", {}),
    ("16", "144 / 9", {"prompt": "What is 144 / 9?"}),
    ("3/4", "0.75", {"prompt": "Write 0.75 as a fraction."}),
    ("1.2 km", "1200 m", {"prompt": "Convert 1200 m to km."}),
]


@pytest.mark.parametrize(("expected", "answer", "item"), SAME)
def test_the_same(expected: str, answer: str, item: dict[str, Any]) -> None:
    assert judge_one(JUDGE, f"Answer: {answer}", expected_answer=expected, **item).passed


@pytest.mark.parametrize(("expected", "answer", "item"), OTHER)
def test_another(expected: str, answer: str, item: dict[str, Any]) -> None:
    assert not judge_one(JUDGE, f"Answer: {answer}", expected_answer=expected, **item).passed


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-03-05", Day(3, 5, 2024)),
        ("march 5th, 2024", Day(3, 5, 2024)),
        ("5 mar 2024", Day(3, 5, 2024)),
        ("3/15/2024", Day(3, 15, 2024)),
        ("4/4/2024", Day(4, 4, 2024)),
        ("3/5/2024", None),
        ("february 30, 2024", None),
        ("may 2024", None),
        ("12", None),
    ],
)
def test_days(text: str, day: Day | None) -> None:
    assert read_day(text) == day


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a, b and c", ["a", "b", "c"]),
        ("{1,234}", ["1", "234"]),
        ("1,234", ["1,234"]),
        ("a,", ["a,"]),
        ("one", ["one"]),
    ],
)
def test_lists(text: str, parts: list[str]) -> None:
    assert read_list(text) == parts


PIECES = "( 9 1, \\frac{1 \\boxed{ $ a, 1_and_ x_=_ 1+ ½ yes,_ _ \\_ _because ** {,} 1-"


@pytest.mark.parametrize("piece", PIECES.split())
def test_hostile_answers_are_read_in_time_and_fail(piece: str) -> None:
    start = time.monotonic()
    for length in (290, 4900, 100_000):
        text = "Answer: x" + piece.replace("_", " ") * (length // len(piece))
        for expected in ("5 cm", "2, 3", "Paris", "2024-03-05"):
            assert not judge_one(JUDGE, text, expected_answer=expected).passed
            assert not judge_one(JUDGE, text[9:], expected_answer=expected).passed
    # A second at most; a pathological pattern would take minutes.
    assert time.monotonic() - start < 60

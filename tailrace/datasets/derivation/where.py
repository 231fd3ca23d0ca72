"""Conditions on verdicts, which select predictions: ``outcome = pass AND score >= 0.8``."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from tailrace.formats.comparisons import OPERATORS, Comparison, FilterError, comparisons
from tailrace.formats.data.verdict import Outcome
from tailrace.formats.wording import describe

MAX_COMPARISONS = 32
"""Maximum number of comparisons in a condition."""

PASSES = "outcome = pass"
"""The default condition."""


@dataclass(frozen=True)
class Rating:
    """Outcome and score of a prediction."""

    outcome: Outcome
    score: float | None
    """Score, 0-1; None for an error."""


Condition = Callable[[Rating], bool]


def parse_where(text: str) -> Condition:
    """Return the condition that ``text`` describes.

    Raises:
        FilterError: The text is malformed or empty; the message has the place and the valid forms.
    """
    parts = [_condition(part) for part in comparisons(text, PASSES, MAX_COMPARISONS)]
    if not parts:
        raise FilterError(0, f"is empty: give a condition such as {PASSES}")
    return lambda rating: all(part(rating) for part in parts)


def _condition(comparison: Comparison) -> Condition:
    sign, value, at = comparison.sign, comparison.value, comparison.at
    if comparison.field == "outcome":
        if sign != "=":
            raise FilterError(at, f"outcome takes = only, not {sign}")
        if value not in list(Outcome):
            raise FilterError(
                at, f"outcome must be one of {', '.join(Outcome)}, not {describe(value)}"
            )
        return lambda rating: rating.outcome == value
    if comparison.field != "score":
        raise FilterError(
            at, f"unknown field {describe(comparison.field)}; there is outcome and score"
        )
    if sign not in OPERATORS:
        raise FilterError(at, f"score takes {' '.join(OPERATORS)}, not {sign}")
    compare, bound = OPERATORS[sign], _number(value, at)
    return lambda rating: rating.score is not None and compare(rating.score, bound)


def _number(text: str, at: int) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise FilterError(
            at, f"score must be compared with a number from 0 to 1, not {describe(text)}"
        )
    return number

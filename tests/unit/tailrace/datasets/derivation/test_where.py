from __future__ import annotations

import pytest

from tailrace.datasets.derivation.where import Rating, parse_where
from tailrace.formats.comparisons import FilterError
from tailrace.formats.data.verdict import Outcome

GOOD, FAIR = Rating(Outcome.PASS, 1.0), Rating(Outcome.PASS, 0.8)
BAD, BROKEN = Rating(Outcome.FAIL, 0.0), Rating(Outcome.ERROR, None)
RATINGS = [GOOD, FAIR, BAD, BROKEN]


@pytest.mark.parametrize(
    ("where", "selected"),
    [
        ("outcome = pass", [GOOD, FAIR]),
        ("outcome=fail", [BAD]),
        ('outcome = "error"', [BROKEN]),
        ("score >= 0.8", [GOOD, FAIR]),
        ("score > 0.8", [GOOD]),
        ("score < 0.8", [BAD]),
        ("score = 0.8", [FAIR]),
        ("outcome = pass AND score <= 0.9", [FAIR]),
    ],
)
def test_a_condition_selects_ratings(where: str, selected: list[Rating]) -> None:
    condition = parse_where(where)
    assert [rating for rating in RATINGS if condition(rating)] == selected


@pytest.mark.parametrize(
    ("where", "complaint"),
    [
        (" ", "is empty: give a condition such as outcome = pass"),
        ("outcome = good", "outcome must be one of pass, fail, error, not 'good'"),
        ("outcome != pass", "outcome takes = only, not !="),
        ("judge = x", "unknown field 'judge'; there is outcome and score"),
        ("score : 1", "score takes = >= <= > <, not :"),
        ("score >= 80", "score must be compared with a number from 0 to 1, not '80'"),
        ("score >= nan", "score must be compared with a number from 0 to 1, not 'nan'"),
    ],
)
def test_a_wrong_condition_is_refused(where: str, complaint: str) -> None:
    with pytest.raises(FilterError) as refused:
        parse_where(where)
    assert complaint in str(refused.value)

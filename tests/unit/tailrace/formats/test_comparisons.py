from __future__ import annotations

import pytest

from tailrace.formats.comparisons import Comparison, FilterError, comparisons

EXAMPLE = "a = 1"


def test_comparisons_are_joined_by_and() -> None:
    assert list(comparisons("a = x AND b>='y z'", EXAMPLE, 2)) == [
        Comparison("a", "=", "x", 0),
        Comparison("b", ">=", "y z", 10),
    ]
    assert list(comparisons("  ", EXAMPLE, 2)) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a = x OR b = y", "at character 7: expected AND, not 'OR'; OR, NOT and () are not supp"),
        ("a = x AND", "at character 10: ends in the middle of a comparison such as a = 1"),
        ("a = 1 AND b = 2 AND c = 3", "at character 17: has more than 2 comparisons"),
        ('a = "x', "at character 4: cannot be read from"),
        ("a = \0", "contains a NUL character"),
    ],
)
def test_a_malformed_filter_is_refused_with_its_place(text: str, complaint: str) -> None:
    with pytest.raises(FilterError) as refused:
        list(comparisons(text, EXAMPLE, 2))
    assert complaint in str(refused.value)

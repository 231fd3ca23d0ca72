from __future__ import annotations

from services.metrics import largest


def test_few_projects_have_labels_and_the_others_are_one_sum() -> None:
    amounts = {"a": 1, "b": 5, "c": 3, "d": 2}
    assert largest(amounts, 2) == {"b": 5, "c": 3, "": 3}
    assert largest(amounts, 4) == amounts
    assert largest({}, 2) == {}

from __future__ import annotations

import pytest

from tailrace.formats.statistics import agreement, cohen_kappa


def test_the_textbook_example() -> None:
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert agreement(first, second) == pytest.approx(0.7)
    assert cohen_kappa(first, second) == pytest.approx(0.4)


def test_ends_of_the_scale() -> None:
    assert cohen_kappa(["a", "b"], ["a", "b"]) == 1
    assert cohen_kappa(["a", "b"], ["b", "a"]) == -1
    assert cohen_kappa(["a", "a"], ["a", "a"]) == 1
    assert cohen_kappa(["a", "a"], ["b", "b"]) == 0


@pytest.mark.parametrize(("first", "second"), [([], []), (["a"], [])])
def test_no_pairs(first: list[str], second: list[str]) -> None:
    with pytest.raises(ValueError, match="no pairs"):
        agreement(first, second)

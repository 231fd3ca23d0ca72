from __future__ import annotations

import itertools

import pytest

from tailrace.formats.statistics import agreement, cohen_kappa, majority, pass_at_k


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
    with pytest.raises(ValueError, match="do not form pairs"):
        agreement(first, second)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (6, 6, 2), (5, 3, 4)])
def test_pass_at_k_counts_subsets(n: int, c: int, k: int) -> None:
    samples = [True] * c + [False] * (n - c)
    subsets = list(itertools.combinations(samples, k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_pass_at_k_of_impossible_counts(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)


def test_the_first_of_the_most_frequent_wins() -> None:
    assert majority(["1", "2", "2"]) == "2"
    assert majority(["3", "1", "1", "3"]) == "3"
    with pytest.raises(ValueError, match="no answer"):
        majority([])

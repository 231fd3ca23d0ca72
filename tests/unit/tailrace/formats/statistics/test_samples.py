from __future__ import annotations

import itertools

import pytest

from tailrace.formats.statistics import majority, pass_at_k


@pytest.mark.parametrize(("n", "c", "k"), [(5, 2, 1), (5, 2, 3), (6, 0, 2), (6, 6, 2), (5, 3, 4)])
def test_pass_at_k_counts_subsets(n: int, c: int, k: int) -> None:
    samples = [True] * c + [False] * (n - c)
    subsets = list(itertools.combinations(samples, k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(("n", "c", "k"), [(3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at_k(n, c, k)


def test_the_first_of_the_most_frequent_wins() -> None:
    assert majority(["1", "2", "2"]) == "2"
    assert majority(["3", "1", "1", "3"]) == "3"
    with pytest.raises(ValueError, match="nobody"):
        majority([])

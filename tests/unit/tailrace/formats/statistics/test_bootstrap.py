from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.statistics import bootstrap_interval


def test_it_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = random.Random(1)
    covered = 0
    for trial in range(100):
        values = [generator.random() for _ in range(30)]
        low, high = bootstrap_interval(values, trial)
        covered += low <= 0.5 <= high
    assert 88 <= covered <= 100


@pytest.mark.parametrize("n", [299, 300])
def test_resampling_and_the_normal_interval_agree_where_they_meet(n: int) -> None:
    generator = random.Random(2)
    values = [generator.random() for _ in range(n)]
    # The standard error of a uniform mean: sqrt(1/12/n).
    half = 1.96 * (1 / 12 / n) ** 0.5
    low, high = bootstrap_interval(values)
    assert high - low == pytest.approx(2 * half, rel=0.1)


def test_a_seed_repeats_and_matters() -> None:
    values = [0.1, 0.4, 0.9, 0.3]
    assert bootstrap_interval(values, 1) == bootstrap_interval(values, 1)
    assert bootstrap_interval(list(range(50)), 1) != bootstrap_interval(list(range(50)), 2)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_the_mean_is_inside_and_the_interval_within_the_values(values: list[float]) -> None:
    low, high = bootstrap_interval(values)
    mean = sum(values) / len(values)
    assert low - 1e-12 <= mean <= high + 1e-12
    assert min(values) - 1e-12 <= low
    assert high <= max(values) + 1e-12


def test_nothing_to_resample() -> None:
    with pytest.raises(ValueError, match="no value"):
        bootstrap_interval([])

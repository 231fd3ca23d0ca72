from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.statistics import bootstrap_interval, wilson_interval, wilson_with_errors


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Published in Newcombe 1998 (doi:10.1002/(SICI)1097-0258(19980430)17:8<857), table I.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_published_values(successes: int, trials: int, low: float, high: float) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_nothing_tried() -> None:
    assert wilson_interval(0, 0) == (0.0, 1.0)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_bounds_and_symmetry(case: tuple[int, int]) -> None:
    k, n = case
    low, high = wilson_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    mirrored = wilson_interval(n - k, n)
    assert (1 - high, 1 - low) == pytest.approx(mirrored)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 3), (4, 3)])
def test_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError):
        wilson_interval(successes, trials)


def test_errors_widen_the_interval_to_both_sides() -> None:
    low, high = wilson_with_errors(8, 2, 5)
    assert low == wilson_interval(8, 15)[0]
    assert high == wilson_interval(13, 15)[1]
    assert wilson_with_errors(8, 2, 0) == wilson_interval(8, 10)
    assert wilson_with_errors(0, 0, 0) == (0.0, 1.0)


def test_the_bootstrap_covers_the_true_mean_about_as_often_as_it_says() -> None:
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

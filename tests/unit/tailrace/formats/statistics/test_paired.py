from __future__ import annotations

import random

import pytest

from tailrace.formats.statistics import (
    compare_paired,
    minimum_detectable_difference,
    paired_bootstrap,
    paired_mcnemar,
)


@pytest.mark.parametrize(
    ("wins", "losses", "p_value"),
    [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (5, 5, 1.0),
        (6, 0, 0.03125),
        (0, 6, 0.03125),
        (8, 2, 0.109375),
    ],
)
def test_mcnemar_is_the_binomial_test(wins: int, losses: int, p_value: float) -> None:
    assert paired_mcnemar(wins, losses) == pytest.approx(p_value)


def test_mcnemar_takes_large_sets() -> None:
    # By the normal distribution with continuity: z = (300 - 1) / sqrt(10000) = 2.99.
    assert paired_mcnemar(5150, 4850) == pytest.approx(0.0028, rel=0.03)


def test_pass_and_fail_are_compared_by_mcnemar() -> None:
    pairs = [(0.0, 1.0)] * 8 + [(1.0, 0.0)] * 2 + [(1.0, 1.0)] * 30
    comparison = compare_paired(pairs)
    assert (comparison.wins, comparison.losses, comparison.ties) == (8, 2, 30)
    assert comparison.difference == pytest.approx(0.15)
    assert comparison.p_value == pytest.approx(0.109375)
    assert comparison.test == "mcnemar"
    # Agresti and Min: (6 / 42) ± 1.96 sqrt((11 / 42 - (6 / 42)^2) / 42).
    assert (comparison.low, comparison.high) == pytest.approx((-0.005763, 0.291478), abs=1e-6)


def test_a_tie_everywhere_is_not_certain() -> None:
    comparison = compare_paired([(1.0, 1.0)] * 10)
    assert (comparison.difference, comparison.p_value) == (0, 1)
    assert comparison.low < 0 < comparison.high


def test_graded_scores_are_compared_by_bootstrap() -> None:
    generator = random.Random(3)
    pairs = [(generator.random() / 2, 0.5 + generator.random() / 2) for _ in range(40)]
    comparison = compare_paired(pairs)
    assert comparison.test == "paired_bootstrap"
    assert comparison.wins == 40
    assert 0 < comparison.low < comparison.difference < comparison.high < 1
    assert comparison.p_value < 0.001


def test_two_items_never_prove_anything() -> None:
    assert paired_bootstrap([0.5, 0.7]) == pytest.approx(0.5)
    assert paired_bootstrap([0.0, 0.0]) == 1


@pytest.mark.parametrize("n", [11, 12, 299, 300])
def test_equal_models_are_seldom_called_different(n: int) -> None:
    generator = random.Random(n)
    comparison = sum(
        paired_bootstrap([generator.uniform(-1, 1) for _ in range(n)], trial) < 0.05
        for trial in range(20)
    )
    assert comparison <= 4


def test_sign_draws_and_enumeration_agree_where_they_meet() -> None:
    differences = [0.3, -0.1, 0.2, 0.4, -0.2, 0.1, 0.3, 0.2, -0.1, 0.25, 0.15]
    assert paired_bootstrap(differences) == pytest.approx(
        paired_bootstrap([*differences, 1e-9]), abs=0.02
    )


def test_nothing_shared() -> None:
    with pytest.raises(ValueError, match="no shared item"):
        compare_paired([])


def test_the_usual_rule_of_power() -> None:
    # 16 p (1 - p) / d^2 items per group, Lehr's rule, for a large set.
    assert minimum_detectable_difference(1600, 0.5) == pytest.approx(0.05, rel=0.02)


def test_more_items_show_less_and_a_perfect_score_shows_something() -> None:
    assert minimum_detectable_difference(100, 0.8) < minimum_detectable_difference(25, 0.8)
    assert 0 < minimum_detectable_difference(25, 1.0) < 1
    assert minimum_detectable_difference(1, 0.5) == 1


@pytest.mark.parametrize(("n", "p"), [(0, 0.5), (5, 1.5)])
def test_no_power_without_items(n: int, p: float) -> None:
    with pytest.raises(ValueError, match="says nothing"):
        minimum_detectable_difference(n, p)

"""Comparison of two models on the same items: paired tests and their power."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from tailrace.formats.statistics.intervals import (
    LARGE,
    RESAMPLES,
    Z_95,
    bootstrap_interval,
    standard_error,
)

MCNEMAR = "mcnemar"
"""Name of the test for pass and fail."""

PAIRED_BOOTSTRAP = "paired_bootstrap"
"""Name of the test for graded scores."""

_ENUMERATED = 11
_Z_POWER = NormalDist().inv_cdf(0.8)


@dataclass(frozen=True)
class PairedComparison:
    """Result of comparing a candidate with a baseline, item by item."""

    wins: int
    """Items on which the candidate scores higher."""
    losses: int
    """Items on which the baseline scores higher."""
    ties: int
    """Items with equal scores."""
    difference: float
    """Mean of candidate - baseline."""
    low: float
    """Lower end of the difference's 95% interval."""
    high: float
    """Upper end of the difference's 95% interval."""
    p_value: float
    """Two-sided probability of a difference this large if neither model is better."""
    test: str
    """``mcnemar`` or ``paired_bootstrap``."""


def compare_paired(pairs: Iterable[tuple[float, float]], seed: int = 0) -> PairedComparison:
    """Compare (baseline, candidate) scores of shared items.

    McNemar's test is used if every item is won, lost or tied by a whole point, as with passes and
    fails; the paired bootstrap for graded scores and means of several samples.

    Raises:
        ValueError: There is no pair.
    """
    scores = list(pairs)
    if not scores:
        raise ValueError("there is no shared item to compare")
    n = len(scores)
    differences = [candidate - baseline for baseline, candidate in scores]
    wins = sum(difference > 0 for difference in differences)
    losses = sum(difference < 0 for difference in differences)
    if all(difference in (-1, 0, 1) for difference in differences):
        test, p_value = MCNEMAR, paired_mcnemar(wins, losses)
        low, high = _proportions_interval(wins, losses, n)
    else:
        test, p_value = PAIRED_BOOTSTRAP, paired_bootstrap(differences, seed)
        low, high = bootstrap_interval(differences, seed)
    mean = math.fsum(differences) / n
    return PairedComparison(wins, losses, n - wins - losses, mean, low, high, p_value, test)


def paired_mcnemar(wins: int, losses: int) -> float:
    """Return the two-sided p-value of the exact test (McNemar 1947, doi:10.1007/BF02295996).

    Ties say nothing about a difference; every other item is a fair coin under the null hypothesis.
    """
    n = wins + losses
    ways = tail = 1
    for k in range(min(wins, losses)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << n))


def paired_bootstrap(differences: Sequence[float], seed: int = 0) -> float:
    """Return the two-sided p-value of a mean difference of 0, by a bootstrap with random signs.

    This is the wild bootstrap of Liu 1988 (doi:10.1214/aos/1176351062): under the null hypothesis
    each difference could equally have the other sign. It is exact even for the smallest sets, for
    which resampling items would claim too much. Up to 11 differences all signs are tried, below
    300 there are 2,000 seeded draws, and from 300 on the mean is taken as normal.
    """
    moved = [difference for difference in differences if difference]
    if not moved:
        return 1.0
    observed = abs(math.fsum(moved))
    if len(moved) >= LARGE:
        mean = math.fsum(differences) / len(differences)
        error = standard_error(differences, mean)
        return 2 * NormalDist().cdf(-abs(mean) / error) if error else 0.0
    if len(moved) <= _ENUMERATED:
        sums = [_signed(moved, signs) for signs in itertools.product((-1, 1), repeat=len(moved))]
        return sum(_reaches(total, observed) for total in sums) / len(sums)
    draw = random.Random(seed).choices  # noqa: S311 - a seeded resample, not a secret
    drawn = (_signed(moved, draw((-1, 1), k=len(moved))) for _ in range(RESAMPLES))
    return (1 + sum(_reaches(total, observed) for total in drawn)) / (1 + RESAMPLES)


def minimum_detectable_difference(n: int, p: float) -> float:
    """Return the smallest difference of two scores on ``n`` items that 4 of 5 comparisons detect.

    That is at 5% two-sided significance, 80% power and a score near ``p``, with independent errors:
    (z + z') · sqrt(2 p (1 - p) / n). Models that agree on most items show smaller differences.
    Two items of each kind pull ``p`` towards the middle (Agresti and Coull 1998,
    doi:10.2307/2685469), since a perfect score on few items need not be 1.

    Raises:
        ValueError: ``n`` is not positive, or not 0 <= ``p`` <= 1.
    """
    if n < 1 or not 0 <= p <= 1:
        raise ValueError(f"a score {p} on {n} items says nothing")
    near = (n * p + 2) / (n + 4)
    return min(1.0, (Z_95 + _Z_POWER) * math.sqrt(2 * near * (1 - near) / n))


def _signed(differences: Sequence[float], signs: Sequence[int]) -> float:
    return math.fsum(s * d for s, d in zip(signs, differences, strict=True))


def _reaches(total: float, observed: float) -> bool:
    return abs(total) >= observed * (1 - 1e-12)


def _proportions_interval(wins: int, losses: int, n: int) -> tuple[float, float]:
    """Return the interval of a difference of paired proportions.

    Agresti and Min 2005 (doi:10.1002/sim.1781): Wald's interval with half an item added to each of
    the four cells; otherwise ties on all items would look like certainty.
    """
    size = n + 2
    difference = (wins - losses) / size
    variance = ((wins + losses + 1) / size - difference**2) / size
    half = Z_95 * math.sqrt(variance)
    observed = (wins - losses) / n
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    return min(low, observed), max(high, observed)

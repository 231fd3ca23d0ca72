"""Is one model better than another on the same items?"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

from tailrace.formats.statistics.bootstrap import (
    LARGE,
    RESAMPLES,
    bootstrap_interval,
    standard_error,
)
from tailrace.formats.statistics.wilson import Z_95

MCNEMAR = "mcnemar"
"""Name of the test of pass and fail."""
PAIRED_BOOTSTRAP = "paired_bootstrap"
"""Name of the test of graded scores."""

_ENUMERATED = 11


@dataclass(frozen=True)
class PairedComparison:
    """A candidate against a baseline, item by item."""

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
    """Two-sided: how likely a difference as large is if neither is better."""
    test: str
    """``mcnemar`` or ``paired_bootstrap``."""


def compare_paired(pairs: Iterable[tuple[float, float]], seed: int = 0) -> PairedComparison:
    """Compare (baseline, candidate) scores of shared items.

    Where each item is won, lost or tied by a whole point, as with passes and fails, McNemar's test
    is taken; for others (graded scores, means of several samples) the paired bootstrap. Raises
    :class:`ValueError` without any pair.
    """
    scores = list(pairs)
    if not scores:
        raise ValueError("there is no shared item to compare")
    n = len(scores)
    differences = [candidate - baseline for baseline, candidate in scores]
    wins = sum(each > 0 for each in differences)
    losses = sum(each < 0 for each in differences)
    if all(each in (-1, 0, 1) for each in differences):
        test, p_value = MCNEMAR, paired_mcnemar(wins, losses)
        low, high = _proportions_interval(wins, losses, n)
    else:
        test, p_value = PAIRED_BOOTSTRAP, paired_bootstrap(differences, seed)
        low, high = bootstrap_interval(differences, seed)
    mean = math.fsum(differences) / n
    return PairedComparison(wins, losses, n - wins - losses, mean, low, high, p_value, test)


def paired_mcnemar(wins: int, losses: int) -> float:
    """Two-sided p-value of the exact test (McNemar 1947, doi:10.1007/BF02295996).

    Ties say nothing about a difference; of the other items each is a fair coin under the null.
    """
    n = wins + losses
    ways = tail = 1
    for k in range(min(wins, losses)):
        ways = ways * (n - k) // (k + 1)
        tail += ways
    return min(1.0, 2 * tail / (1 << n))


def paired_bootstrap(differences: Sequence[float], seed: int = 0) -> float:
    """Two-sided p-value of a mean difference of 0, by the bootstrap with random signs.

    That is the wild bootstrap of Liu 1988 (doi:10.1214/aos/1176351062): under the null each
    difference could as well have the other sign, which is exact for the smallest sets too, where
    resampled items would claim too much. All signs are tried up to 11 differences, 2,000 seeded
    draws up to 300, from there on the mean is normal.
    """
    moved = [each for each in differences if each]
    if not moved:
        return 1.0
    observed = abs(math.fsum(moved))
    if len(moved) >= LARGE:
        mean = math.fsum(differences) / len(differences)
        error = standard_error(differences, mean)
        return 2 * NormalDist().cdf(-abs(mean) / error) if error else 0.0
    if len(moved) <= _ENUMERATED:
        signs = itertools.product((-1, 1), repeat=len(moved))
        sums = [_signed(moved, each) for each in signs]
        return sum(_reaches(each, observed) for each in sums) / len(sums)
    draw = random.Random(seed).choices  # noqa: S311 - a seeded resample, not a secret
    drawn = (_signed(moved, draw((-1, 1), k=len(moved))) for _ in range(RESAMPLES))
    return (1 + sum(_reaches(each, observed) for each in drawn)) / (1 + RESAMPLES)


def _signed(differences: Sequence[float], signs: Sequence[int]) -> float:
    return math.fsum(s * d for s, d in zip(signs, differences, strict=True))


def _reaches(total: float, observed: float) -> bool:
    return abs(total) >= observed * (1 - 1e-12)


def _proportions_interval(wins: int, losses: int, n: int) -> tuple[float, float]:
    """Of a difference of paired proportions (Agresti and Min 2005, doi:10.1002/sim.1781).

    Wald's interval after half an item is added to each of the four cells; without it a tie on
    every item would be certain.
    """
    size = n + 2
    difference = (wins - losses) / size
    variance = ((wins + losses + 1) / size - difference**2) / size
    half = Z_95 * math.sqrt(variance)
    observed = (wins - losses) / n
    low, high = max(-1.0, difference - half), min(1.0, difference + half)
    return min(low, observed), max(high, observed)

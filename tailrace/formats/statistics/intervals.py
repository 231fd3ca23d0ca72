"""Confidence intervals of proportions and means."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

Z_95 = 1.959963984540054
"""The 0.975 quantile of the standard normal distribution."""

RESAMPLES = 2000
"""Resampled means behind a bootstrap interval."""

LARGE = 300
"""Number of values from which the mean is taken as normal: resampling would agree, slowly."""


def wilson_interval(successes: float, trials: float, z: float = Z_95) -> tuple[float, float]:
    """Return the score interval of a proportion (Wilson 1927, doi:10.2307/2276774).

    Both ends are in 0-1; without trials the interval is (0, 1). Fractions of a success are allowed:
    samples of one item are not independent trials, so their mean counts as one.

    Raises:
        ValueError: Not 0 <= ``successes`` <= ``trials``.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must be between 0 and {trials}, not {successes}")
    if trials == 0:
        return 0.0, 1.0
    p = successes / trials
    z2 = z * z
    centre = (p + z2 / (2 * trials)) / (1 + z2 / trials)
    half = z / (1 + z2 / trials) * math.sqrt(p * (1 - p) / trials + z2 / (4 * trials * trials))
    # At the extremes the closed form is exactly 0 or 1; rounding must not say otherwise.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def wilson_with_errors(passed: float, failed: float, errors: float) -> tuple[float, float]:
    """Return the interval from the low end if all errors failed to the high end if all passed."""
    trials = passed + failed + errors
    return wilson_interval(passed, trials)[0], wilson_interval(passed + errors, trials)[1]


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the 95% percentile interval of the mean of ``values``, from 2,000 seeded resamples.

    Efron 1979 (doi:10.1214/aos/1176344552). For 300 or more values it is the mean ± 1.96 standard
    errors. The interval stays within the values' range; equal values give one of width zero, so
    use Wilson's for proportions.

    Raises:
        ValueError: There is no value.
    """
    n = len(values)
    if not n:
        raise ValueError("there is no value to resample")
    mean = math.fsum(values) / n
    if n >= LARGE:
        half = Z_95 * standard_error(values, mean)
        return max(min(values), mean - half), min(max(values), mean + half)
    draw = random.Random(seed).choices  # noqa: S311 - a seeded resample, not a secret
    means = sorted(math.fsum(draw(values, k=n)) / n for _ in range(RESAMPLES))
    cut = round(0.025 * RESAMPLES)
    # Resampled means of equal values differ from the mean by rounding.
    return min(mean, means[cut]), max(mean, means[-1 - cut])


def standard_error(values: Sequence[float], mean: float) -> float:
    """Return the standard error of the mean; 0 for a single value."""
    n = len(values)
    if n < 2:
        return 0.0
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)

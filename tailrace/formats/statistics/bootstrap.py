"""Confidence intervals of means, by resampling."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from tailrace.formats.statistics.wilson import Z_95

RESAMPLES = 2000
"""Resampled means behind an interval."""

LARGE = 300
"""From so many values on the mean is taken as normal: resampling would say the same, slowly."""


def bootstrap_interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """The 95% percentile interval of the mean of ``values``, from 2,000 seeded resamples.

    Efron 1979 (doi:10.1214/aos/1176344552). Of 300 and more values it is the mean ± 1.96 standard
    errors. It is within the values' range; values that are all equal have an interval of no
    width, so proportions want Wilson's. Raises :class:`ValueError` without values.
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
    # Values that are all equal give the same mean each time, but for rounding.
    return min(mean, means[cut]), max(mean, means[-1 - cut])


def standard_error(values: Sequence[float], mean: float) -> float:
    """Of the mean of two and more values; 0 for one."""
    n = len(values)
    if n < 2:
        return 0.0
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (n - 1) / n)

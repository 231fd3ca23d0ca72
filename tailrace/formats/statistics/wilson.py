"""Confidence intervals of proportions."""

from __future__ import annotations

import math

Z_95 = 1.959963984540054
"""The 0.975 quantile of the standard normal distribution."""


def wilson_interval(successes: float, trials: float, z: float = Z_95) -> tuple[float, float]:
    """The score interval of a proportion, both ends in 0-1 (Wilson 1927, doi:10.2307/2276774).

    Parts of a success may be given: of several samples of an item, which are no independent
    trials, the mean counts as one. Without trials nothing is known and the interval is (0, 1).
    Raises :class:`ValueError` unless 0 <= ``successes`` <= ``trials``.
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
    """From the low end if every error were a fail, to the high end if every error were a pass."""
    trials = passed + failed + errors
    return wilson_interval(passed, trials)[0], wilson_interval(passed + errors, trials)[1]

"""What a set of this size can show at all."""

from __future__ import annotations

import math
from statistics import NormalDist

from tailrace.formats.statistics.wilson import Z_95

_Z_POWER = NormalDist().inv_cdf(0.8)


def minimum_detectable_difference(n: int, p: float) -> float:
    """The smallest difference of two scores on ``n`` items that is found 4 times out of 5.

    At 5% two-sided significance, 80% power and a score near ``p``, with independent errors:
    (z + z') · sqrt(2 p (1 - p) / n). Models that mostly agree on an item show smaller ones. ``p``
    is drawn to the middle by two items of each kind (Agresti and Coull 1998,
    doi:10.2307/2685469), since a perfect score on few items is not known to be 1. Raises
    :class:`ValueError` unless ``n`` is positive and 0 <= ``p`` <= 1.
    """
    if n < 1 or not 0 <= p <= 1:
        raise ValueError(f"a score {p} on {n} items says nothing")
    near = (n * p + 2) / (n + 4)
    return min(1.0, (Z_95 + _Z_POWER) * math.sqrt(2 * near * (1 - near) / n))

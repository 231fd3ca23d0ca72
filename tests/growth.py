"""Growth of work with the size of what it is done on, in processor time."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TURNS = 5

LINEAR = 8.0
"""Upper bound on the growth of linear work whose input is four times as long; quadratic work
grows 16-fold, so that neither caches nor other programs make one look like the other."""


def growth(work: Callable[[T], object], small: T, large: T) -> float:
    """Return how many times as much processor time ``large`` takes; the best of a few turns each,
    since other programs only ever add to it."""
    gc.collect()
    times: dict[int, list[float]] = {0: [], 1: []}
    for _ in range(TURNS):
        for which, data in enumerate((small, large)):
            started = time.thread_time()
            work(data)
            times[which].append(time.thread_time() - started)
    return min(times[1]) / min(times[0])

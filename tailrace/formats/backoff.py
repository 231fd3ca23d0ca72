"""Exponential back-off, as stages, the relay, workers and the embedded stack use it."""

from __future__ import annotations


def backoff(failures: int, initial: float, maximum: float) -> float:
    """Return the seconds to wait after a number of failures: ``initial``, doubling, capped."""
    return min(maximum, initial * 2.0 ** min(failures - 1, 60))

"""Token buckets: rates of calls by owner, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from services.domain.quota import Quota

BURST_SECONDS = 2.0
"""Seconds' worth of calls that may come at once after a pause."""

MAX_BUCKETS = 10_000
"""Maximum number of owners; beyond it, the bucket unused for longest is forgotten."""


@dataclass(frozen=True)
class Rate:
    """Rate that a call counts against."""

    quota: Quota
    """Quota that sets the rate."""
    owner: Hashable
    """Project or caller whose calls are counted."""
    per_second: int
    """Highest rate."""


class Rates:
    """Calls of each owner in the last seconds."""

    def __init__(self) -> None:
        # Tokens at a time. An owner that is missing has a full bucket.
        self._buckets: OrderedDict[tuple[Quota, Hashable], tuple[float, float]] = OrderedDict()

    def take(self, rates: Sequence[Rate], now: float | None = None) -> tuple[Rate, float] | None:
        """Count a call against all rates, or none: return one that is used up, and the wait.

        The wait, in seconds, is infinite for a rate of 0.
        """
        now = time.monotonic() if now is None else now
        levels = [(rate, self._level(rate, now)) for rate in rates]
        for rate, level in levels:
            if level < 1.0:
                wait = (1.0 - level) / rate.per_second if rate.per_second else float("inf")
                return rate, wait
        for rate, level in levels:
            key = (rate.quota, rate.owner)
            self._buckets[key] = (level - 1.0, now)
            self._buckets.move_to_end(key)
        while len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return None

    def _level(self, rate: Rate, now: float) -> float:
        full = max(1.0, rate.per_second * BURST_SECONDS) if rate.per_second else 0.0
        bucket = self._buckets.get((rate.quota, rate.owner))
        if bucket is None:
            return full
        level, filled = bucket
        return min(full, level + (now - filled) * rate.per_second)

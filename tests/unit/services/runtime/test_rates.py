from __future__ import annotations

import math

from services.domain.quota import Quota
from services.runtime import rates
from services.runtime.rates import BURST_SECONDS, Rate, Rates

QUOTA = Quota.REQUESTS_PER_SECOND


def test_a_burst_passes_and_then_the_rate() -> None:
    counted, rate = Rates(), Rate(QUOTA, "p", 10)
    burst = int(10 * BURST_SECONDS)
    assert [counted.take([rate], now=0.0) for _ in range(burst)] == [None] * burst
    refusal = counted.take([rate], now=0.0)
    assert refusal is not None
    assert refusal[0] is rate
    assert math.isclose(refusal[1], 0.1)
    assert counted.take([rate], now=0.1 + 1e-9) is None
    assert counted.take([rate], now=0.1 + 1e-9) is not None


def test_a_refused_call_counts_against_no_rate() -> None:
    counted = Rates()
    narrow, wide = Rate(QUOTA, "a", 1), Rate(QUOTA, "b", 5)
    for _ in range(int(BURST_SECONDS)):
        assert counted.take([narrow, wide], now=0.0) is None
    assert counted.take([wide, narrow], now=0.0) is not None
    left = int(5 * BURST_SECONDS) - int(BURST_SECONDS)
    assert [counted.take([wide], now=0.0) for _ in range(left)] == [None] * left


def test_a_rate_of_zero_lets_nothing_pass() -> None:
    refusal = Rates().take([Rate(QUOTA, "p", 0)])
    assert refusal is not None
    assert math.isinf(refusal[1])


def test_owners_beyond_the_limit_are_forgotten() -> None:
    counted = Rates()
    for owner in range(rates.MAX_BUCKETS + 5):
        counted.take([Rate(QUOTA, owner, 1)], now=0.0)
    assert len(counted._buckets) == rates.MAX_BUCKETS

"""Waits between the attempts of a connection."""

from __future__ import annotations

import threading
import time

from workers.backoff import POLICY, Backoff


def test_waits_double_up_to_a_maximum_and_are_spread() -> None:
    waits = [[POLICY.wait_seconds(failures) for _ in range(50)] for failures in (1, 2, 20)]
    for least, sample in zip((0.1, 0.2, 5.0), waits, strict=True):
        assert all(least <= wait <= least + POLICY.jitter_seconds for wait in sample)
        assert max(sample) - min(sample) > 0.1


def test_a_reset_begins_with_short_waits_and_a_stop_ends_them() -> None:
    stop = threading.Event()
    backoff = Backoff(stop)
    backoff._failures = 20
    backoff.reset()
    began = time.monotonic()
    assert not backoff.wait()
    assert time.monotonic() - began < 1.0
    stop.set()
    assert backoff.wait()

from __future__ import annotations

from tailrace.formats.backoff import backoff


def test_backoff_doubles_up_to_its_cap() -> None:
    assert [backoff(n, 1.0, 60.0) for n in (1, 2, 3, 7, 10_000)] == [1.0, 2.0, 4.0, 60.0, 60.0]
    assert backoff(5, 0.0, 60.0) == 0.0

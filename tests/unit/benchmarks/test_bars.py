from __future__ import annotations

from benchmarks.bars import Bar, exit_status

FAST = Bar("speed", 1.3, 1.25, "130 tokens/s, peer 100")
SLOW = Bar("speed", 1.2, 1.25, "120 tokens/s, peer 100")
SMALL = Bar("memory", 1.0, 1.15, "10 MB, computed 10 MB", at_most=True)
LARGE = Bar("memory", 1.2, 1.15, "12 MB, computed 10 MB", at_most=True)


def test_a_limit_is_a_least_or_a_most() -> None:
    assert [bar.holds for bar in (FAST, SLOW, SMALL, LARGE)] == [True, False, True, False]
    assert " ".join(str(SLOW).split()) == "SHORT speed 1.200 ≥ 1.25 120 tokens/s, peer 100"
    assert str(SMALL).startswith("holds")


def test_one_bar_that_is_short_fails_the_table() -> None:
    assert exit_status([FAST, SMALL]) == 0
    assert exit_status([FAST, LARGE]) == 1

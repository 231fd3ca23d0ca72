from __future__ import annotations

import pytest

from tailrace.formats.statistics import minimum_detectable_difference


def test_the_usual_rule() -> None:
    # 16 p (1 - p) / d^2 items per group, Lehr's rule, for a large set.
    assert minimum_detectable_difference(1600, 0.5) == pytest.approx(0.05, rel=0.02)


def test_more_items_show_less_and_a_perfect_score_shows_something() -> None:
    assert minimum_detectable_difference(100, 0.8) < minimum_detectable_difference(25, 0.8)
    assert 0 < minimum_detectable_difference(25, 1.0) < 1
    assert minimum_detectable_difference(1, 0.5) == 1


@pytest.mark.parametrize(("n", "p"), [(0, 0.5), (5, 1.5)])
def test_refused(n: int, p: float) -> None:
    with pytest.raises(ValueError, match="says nothing"):
        minimum_detectable_difference(n, p)

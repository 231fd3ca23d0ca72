from __future__ import annotations

import pytest

from tailrace.cli.run_report.curve import Chart, chart


def _drawn(drawn: Chart, line: int = 0) -> list[tuple[float, float]]:
    pairs = (point.split(",") for point in drawn.lines[line].path.split())
    return [(float(x), float(y)) for x, y in pairs]


def test_points_lie_between_the_ticks_that_they_lie_between() -> None:
    drawn = chart({"loss": [(100, 4.0), (200, 1.0)], "eval_loss": [(200, 2.0)]})
    assert drawn is not None
    x = {tick.label: tick.at for tick in drawn.x_ticks}
    y = {tick.label: tick.at for tick in drawn.y_ticks}
    assert (list(x), list(y)) == (["0", "50", "100", "150", "200"], ["0", "1", "2", "3", "4"])
    assert _drawn(drawn) == [(x["100"], y["4"]), (x["200"], y["1"])]
    assert _drawn(drawn, 1) == [(x["200"], y["2"])]
    assert drawn.lines[1].dots[0].label == "eval_loss at step 200: 2"


def test_nothing_to_draw() -> None:
    assert chart({}) is None
    assert chart({"loss": []}) is None


@pytest.mark.parametrize("value", [0.0, 1e-9, -3.0, 1e12])
def test_a_single_point_is_in_the_box(value: float) -> None:
    drawn = chart({"loss": [(1, value)]})
    assert drawn is not None
    ((x, y),) = _drawn(drawn)
    assert drawn.left <= x <= drawn.right
    assert drawn.top <= y <= drawn.bottom
    assert [tick.label for tick in drawn.x_ticks] == ["0", "1"]


def test_many_points_become_few_and_keep_their_peaks() -> None:
    curve = [(step, 9.0 if step == 54_321 else 1.0 + step % 2) for step in range(1, 100_001)]
    drawn = chart({"loss": curve})
    assert drawn is not None
    points = _drawn(drawn)
    assert len(points) <= 600
    assert points == sorted(points, key=lambda point: point[0])
    top = next(tick.at for tick in drawn.y_ticks if tick.label == "8")
    assert [y for _, y in points if y < top] == [min(y for _, y in points)]

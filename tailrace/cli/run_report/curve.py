"""Coordinates of a line chart, which the page draws as SVG."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Points: TypeAlias = Sequence[tuple[int, float]]
"""Pairs (step, value), steps ascending."""

WIDTH, HEIGHT = 760, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 12, 40

_MOST_POINTS = 600
"""Maximum number of points in a line: more than the pixels of its width would show."""

_LARGEST = 1e300
"""Largest value drawn in its place: ten times as much must still be finite."""

_FEW_POINTS = 40
"""Maximum number of points with dots, which show their value to the pointer."""


@dataclass(frozen=True)
class Tick:
    """Labelled mark on an axis."""

    at: float
    """Pixels from the left or the top."""
    label: str


@dataclass(frozen=True)
class Dot:
    """Marked point with a label."""

    x: float
    y: float
    label: str


@dataclass(frozen=True)
class Line:
    """Line of one metric."""

    name: str
    path: str
    """Points of an SVG polyline: ``x,y x,y``."""
    dots: list[Dot]
    last: float


@dataclass(frozen=True)
class Chart:
    """Lines over steps in a box of WIDTH x HEIGHT pixels."""

    lines: list[Line]
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def chart(curves: Mapping[str, Points]) -> Chart | None:
    """Return the chart of curves by name, or None without points."""
    curves = {name: _drawable(curve) for name, curve in curves.items()}
    points = [point for curve in curves.values() for point in curve]
    if not points:
        return None
    steps = _ticks(0.0, float(max(step for step, _ in points)))
    # Steps are whole numbers.
    steps = [tick for tick in steps if tick == round(tick)]
    values = _ticks(min(0.0, *(value for _, value in points)), max(value for _, value in points))
    x = _Scale(steps[0], max(steps[-1], 1.0), _LEFT, WIDTH - _RIGHT)
    y = _Scale(values[0], values[-1], HEIGHT - _BOTTOM, _TOP)
    return Chart(
        lines=[_line(name, curve, x, y) for name, curve in curves.items() if curve],
        x_ticks=[Tick(x.at(tick), f"{tick:,.0f}") for tick in steps],
        y_ticks=[Tick(y.at(tick), f"{tick:.6g}") for tick in values],
    )


def _drawable(curve: Points) -> Points:
    """Return the finite points; values too large to calculate with are drawn at the edge."""
    return [
        (step, min(max(value, -_LARGEST), _LARGEST))
        for step, value in curve
        if math.isfinite(value)
    ]


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    start: float
    """Pixels at ``low``."""
    end: float
    """Pixels at ``high``."""

    def at(self, value: float) -> float:
        """Return the pixels at ``value``, to a tenth."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 1)


def _line(name: str, curve: Points, x: _Scale, y: _Scale) -> Line:
    points = thinned(curve, _MOST_POINTS)
    dots = curve if len(curve) <= _FEW_POINTS else []
    return Line(
        name=name,
        path=" ".join(f"{x.at(step)},{y.at(value)}" for step, value in points),
        dots=[Dot(x.at(s), y.at(v), f"{name} at step {s:,}: {v:.4g}") for s, v in dots],
        last=curve[-1][1],
    )


def thinned(curve: Points, most: int) -> Points:
    """Return at most ``most`` points: the lowest and highest of neighbours, to keep peaks."""
    if len(curve) <= most:
        return curve
    size = math.ceil(len(curve) / (most // 2))
    points: list[tuple[int, float]] = []
    for start in range(0, len(curve), size):
        part = curve[start : start + size]
        ends = {min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])}
        points += sorted(ends)
    return points


def _ticks(low: float, high: float) -> list[float]:
    """Return about five round numbers that span ``low`` to ``high``."""
    span = high - low or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span / 5))
    step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor * 5 >= span)
    first, last = math.floor(low / step), math.ceil(high / step)
    last = max(last, first + 1)
    return [n * step for n in range(first, last + 1)]

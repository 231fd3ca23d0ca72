"""Metric curves of several runs as one table of a few steps."""

from __future__ import annotations

from collections.abc import Sequence

from tailrace.cli.show import output
from tailrace.v1 import run_pb2

STEPS = 8
"""Maximum number of steps in a table."""

Row = tuple[str, ...]


def shared_names(curves: Sequence[run_pb2.MetricCurve]) -> list[str]:
    """Return the metrics of more than one run, in order of appearance."""
    names = [curve.name for curve in curves]
    return [name for name in dict.fromkeys(names) if names.count(name) > 1]


def curve_rows(curves: Sequence[run_pb2.MetricCurve], name: str, runs: Sequence[str]) -> list[Row]:
    """Return a metric of each run (``runs/{run}``) at a few common steps, then its lowest value.

    The steps are spread evenly over those of all runs, including the first and the last; ``-``
    marks a run without a value at a step.
    """
    values = {
        curve.run: {point.step: point.value for point in curve.points}
        for curve in curves
        if curve.name == name and curve.points
    }
    columns = [values.get(run, {}) for run in runs]
    steps = sorted({step for column in columns for step in column})
    rows = [(f"{step:,}", *(_value(column, step) for column in columns)) for step in _few(steps)]
    return [*rows, ("lowest", *map(_lowest, columns))]


def _few(steps: list[int]) -> list[int]:
    if len(steps) <= STEPS:
        return steps
    last = len(steps) - 1
    return [steps[round(i * last / (STEPS - 1))] for i in range(STEPS)]


def _value(column: dict[int, float], step: int) -> str:
    return output.loss(column[step]) if step in column else "-"


def _lowest(column: dict[int, float]) -> str:
    if not column:
        return "-"
    step = min(column, key=lambda step: (column[step], step))
    return f"{output.loss(column[step])} at {step:,}"

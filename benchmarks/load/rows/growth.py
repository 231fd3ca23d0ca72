"""How costs grow with stored runs and with workers: the points of the plot."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load.machine import BACKENDS, Machine
from benchmarks.load.rows.heartbeats import fleet_cost
from benchmarks.load.rows.lists import latencies
from benchmarks.load.scale import Scale

RUNS = (1_000, 10_000, 100_000, 1_000_000)
WORKERS = (10, 100, 500, 2_000)
WATCH_SECONDS = 20.0


@dataclass(frozen=True)
class Curve:
    """One line of the plot."""

    name: str
    unit: str
    points: list[tuple[int, float]]


def measure(machine: Machine, scale: Scale) -> tuple[list[Curve], list[Curve]]:
    """Curves over stored runs, and over workers."""
    counts = [count for count in RUNS if count <= scale.stored_runs]
    fleets = [count for count in WORKERS if count <= scale.workers]
    by_runs, by_workers = [], []
    for backend in BACKENDS:
        measured = [(count, latencies(machine, backend, count, scale.rounds)) for count in counts]
        gets = [(count, found.get) for count, found in measured]
        pages = [(count, found.page) for count, found in measured]
        by_runs += [
            Curve(f"GetRun, {backend}", "p99, ms", gets),
            Curve(f"first ListRuns page, {backend}", "p99, ms", pages),
        ]
        costs = [
            (count, fleet_cost(machine, backend, count, 0, WATCH_SECONDS).share * 100)
            for count in fleets
        ]
        by_workers.append(Curve(backend, "% of a core", costs))
    return by_runs, by_workers


def plot(curves: tuple[list[Curve], list[Curve]], path: Path) -> None:
    """Draw the curves beside each other, both axes logarithmic."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    for axis, part, label in zip(axes, curves, ("runs stored", "workers"), strict=True):
        for curve in part:
            axis.plot(*zip(*curve.points, strict=True), marker="o", label=curve.name)
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel=part[0].unit)
        axis.grid(alpha=0.3)
        axis.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Without a date and with fixed ids the same figures make the same file.
    mpl.rcParams["svg.hashsalt"] = "tailrace"
    figure.savefig(path, metadata={"Date": None})


def table(curves: list[Curve]) -> str:
    """The curves as a Markdown table."""
    counts = [count for count, _ in curves[0].points]
    head = "| | " + " | ".join(f"{count:,}" for count in counts) + " |\n"
    head += "|---|" + "---|" * len(counts) + "\n"
    rows = [dataclasses.astuple(curve) for curve in curves]
    return head + "".join(
        f"| {name} ({unit}) | " + " | ".join(f"{value:.1f}" for _, value in points) + " |\n"
        for name, unit, points in rows
    )

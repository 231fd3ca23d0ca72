"""How much is measured: all of it, or what fits into two minutes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """Sizes and durations; the bars' ratios are multiplied by ``slack``."""

    rounds: int
    """Alternations of figure and yardstick."""
    seconds: float
    """Length of one measurement."""
    samples: int
    """Single operations whose quantiles count."""
    stored_runs: int
    """Runs of the large database."""
    workers: int
    """Simulated workers."""
    queued_runs: int
    watch_seconds: float
    """How long CPU and memory are watched."""
    slack: float
    """1 for the bars as they are; more makes a guard that a busy machine does not trip, and that
    notices when something gets several times worse."""


FULL = Scale(
    rounds=3,
    seconds=6.0,
    samples=40,
    stored_runs=1_000_000,
    workers=2000,
    queued_runs=10_000,
    watch_seconds=600.0,
    slack=1.0,
)

SHORT = Scale(
    rounds=1,
    seconds=2.0,
    samples=10,
    stored_runs=10_000,
    workers=500,
    queued_runs=2000,
    watch_seconds=20.0,
    slack=4.0,
)

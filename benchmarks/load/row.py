"""A row of the table: a figure, its yardstick, and whether it holds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Check:
    """One condition of a bar."""

    text: str
    """Such as ``≥ 0.5×: 0.84``."""
    holds: bool


@dataclass(frozen=True)
class Row:
    """What was measured of one thing on one backend."""

    what: str
    backend: str
    figure: str
    """With its unit."""
    yardstick: str
    """The same from the yardstick; empty if the bar is absolute."""
    checks: list[Check] = field(default_factory=list)
    """All of them must hold; a row without one is for information."""

    @property
    def holds(self) -> bool:
        """Whether the row meets its bar."""
        return all(check.holds for check in self.checks)

    @property
    def verdict(self) -> str:
        """``holds``, ``SHORT``, or nothing for a row without a bar."""
        return ("holds" if self.holds else "SHORT") if self.checks else ""


def at_least(value: float, bar: float, unit: str = "×") -> Check:
    """Holds when ``value`` reaches ``bar``."""
    return Check(f"{_short(value)}{unit} (≥ {_short(bar)}{unit})", value >= bar)


def at_most(value: float, bar: float, unit: str) -> Check:
    """Holds when ``value`` stays within ``bar``."""
    return Check(f"{_short(value)}{unit} (≤ {_short(bar)}{unit})", value <= bar)


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ratio_of_medians(figures: Sequence[float], yardsticks: Sequence[float]) -> float:
    """How the median figure stands to the median yardstick of the same rounds."""
    return statistics.median(figures) / statistics.median(yardsticks)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"

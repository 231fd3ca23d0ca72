"""Bars: what a measurement is held against, and how a table of them is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Bar:
    """One line of the table."""

    what: str
    measured: float
    """A ratio without unit."""
    limit: float
    detail: str
    """The two numbers that the ratio is of, with their units."""
    at_most: bool = False
    """Whether the limit is the largest ratio that holds, not the smallest."""

    @property
    def holds(self) -> bool:
        """Whether the limit is kept."""
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def __str__(self) -> str:
        verdict = "holds" if self.holds else "SHORT"
        limit = f"{'≤' if self.at_most else '≥'} {self.limit:<4g}"
        return f"{verdict}  {self.what:<48} {self.measured:6.3f}  {limit}  {self.detail}"


def exit_status(bars: Sequence[Bar]) -> int:
    """0 when every bar holds, else 1."""
    return 0 if all(bar.holds for bar in bars) else 1

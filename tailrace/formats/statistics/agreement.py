"""How well two raters agree, such as a judge and a human."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence


def agreement(first: Sequence[str], second: Sequence[str]) -> float:
    """Share of items that both rate alike.

    Raises :class:`ValueError` for no items, or unequally many.
    """
    if not first or len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} ratings are no pairs")
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Agreement beyond chance: 1 is perfect, 0 what chance gives (doi:10.1177/001316446002000104).

    When both give one and the same rating to everything, chance agrees as well and kappa is
    undefined; it is 1 then, since they never differ. Errors as :func:`agreement`.
    """
    observed = agreement(first, second)
    n = len(first)
    theirs = Counter(second)
    chance = sum(count * theirs[rating] for rating, count in Counter(first).items()) / (n * n)
    return 1.0 if chance == 1 else (observed - chance) / (1 - chance)

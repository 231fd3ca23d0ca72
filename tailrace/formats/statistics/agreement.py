"""Agreement of two raters, and of several samples of one prompt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def agreement(first: Sequence[str], second: Sequence[str]) -> float:
    """Return the share of items that both raters, such as a judge and a person, rate alike.

    Raises:
        ValueError: There are no ratings, or their numbers differ.
    """
    if not first or len(first) != len(second):
        raise ValueError(f"{len(first)} and {len(second)} ratings do not form pairs")
    return sum(a == b for a, b in zip(first, second, strict=True)) / len(first)


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float:
    """Return agreement beyond chance: 1 is perfect, 0 chance (doi:10.1177/001316446002000104).

    If both raters give every item the same single rating, kappa is undefined; it is 1 here, since
    they never differ.

    Raises:
        ValueError: As :func:`agreement`.
    """
    observed = agreement(first, second)
    n = len(first)
    second_counts = Counter(second)
    products = (count * second_counts[rating] for rating, count in Counter(first).items())
    chance = sum(products) / (n * n)
    return 1.0 if chance == 1 else (observed - chance) / (1 - chance)


def pass_at_k(n: int, c: int, k: int) -> float:
    """Return the chance that one of ``k`` samples passes, given that ``c`` of ``n`` did.

    The unbiased estimator 1 - C(n - c, k) / C(n, k) of Chen et al. 2021 (arXiv:2107.03374).

    Raises:
        ValueError: Not 0 <= ``c`` <= ``n``, or not 1 <= ``k`` <= ``n``.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be estimated from {c} passes of {n} samples")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def majority(answers: Sequence[T]) -> T:
    """Return the most frequent answer; the first of several (Wang et al. 2022, arXiv:2203.11171).

    Raises:
        ValueError: There is no answer.
    """
    if not answers:
        raise ValueError("there is no answer to count")
    return Counter(answers).most_common(1)[0][0]

"""Several samples of one prompt."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that one of ``k`` samples passes, when ``c`` of ``n`` samples did.

    The unbiased estimator 1 - C(n - c, k) / C(n, k) of Chen et al. 2021 (arXiv:2107.03374). Raises
    :class:`ValueError` unless 0 <= ``c`` <= ``n`` and 1 <= ``k`` <= ``n``.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} cannot be told from {c} passes of {n} samples")
    return 1.0 - math.comb(n - c, k) / math.comb(n, k)


def majority(answers: Sequence[T]) -> T:
    """The answer given most often; of equally frequent ones the first given.

    Wang et al. 2022 (arXiv:2203.11171). Raises :class:`ValueError` without any answer.
    """
    if not answers:
        raise ValueError("nobody voted")
    return Counter(answers).most_common(1)[0][0]

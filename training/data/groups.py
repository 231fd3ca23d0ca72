"""Answers that have their first tokens in common, most often those of their prompt.

Shapes: K steps, G groups, S answers of a group, T tokens of an answer with its prompt, U distinct
tokens of a group.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WORTHWHILE = 0.75
"""Largest share of a group's tokens, with padding, whose distinct ones are computed alone."""


class Groups(NamedTuple):
    """Distinct tokens of the answers of each group."""

    distinct: NDArray[np.int32]
    """Place of each distinct token, s · T + t, or S · T for padding, [K, G, U]; common tokens have
    their place in the first answer."""
    shared: NDArray[np.int32]
    """Number of common tokens, [K, G]."""

    @classmethod
    def of(cls, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> Groups | None:
        """Return the distinct tokens, or None if computing them alone would not pay.

        An answer without tokens has those of any other in common.

        Args:
            tokens: Tokens padded on the right, [K, G, S, T].
            lengths: Numbers of tokens, [K, G, S].
        """
        answers, length = tokens.shape[-2:]
        columns = np.arange(length)
        real = columns < lengths[..., None]
        same = real & real[..., :1, :] & (tokens == tokens[..., :1, :])
        common = (same | ~real.any(-1, keepdims=True)).all(-2)
        shared = np.logical_and.accumulate(common, axis=-1).sum(-1, dtype=np.int32)
        repeated = (columns < shared[..., None, None]) & (np.arange(answers) > 0)[:, None]
        distinct = (real & ~repeated).reshape(*tokens.shape[:2], -1)
        counts = distinct.sum(-1, keepdims=True)
        width = _width(int(counts.max(initial=1)))
        if width > _WORTHWHILE * answers * length:
            return None
        places = np.argsort(~distinct, axis=-1, kind="stable")[..., :width]
        padding = np.arange(width) >= counts
        return cls(np.where(padding, answers * length, places).astype(np.int32), shared)


def _width(count: int) -> int:
    """Return the padded number of tokens: 16, 32, 48, 64, 80, 96, 112, 128, 160, 192 and so on.

    There are four sizes up to each power of two: a step in a new size is compiled again, and every
    step computes its padding.
    """
    unit = max(16, (1 << (count - 1).bit_length()) >> 3)
    return -(-count // unit) * unit

"""Rows with little padding: padded sizes, examples packed in rows, and prompts that answers share.

Shapes: K steps, G groups, S answers of a group, T tokens of an answer with its prompt, U distinct
tokens of a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

_WORTHWHILE = 0.75
"""Largest share of a group's tokens, with padding, whose distinct ones are computed alone."""


def bucket(size: int, smallest: int = 16) -> int:
    """Return the padded size: 16, 32, 48, 64, 96, 128, 192, 256, 384 and so on for ``smallest`` 16.

    Few sizes mean few compiled programs; less than half of a row is padding. ``smallest`` must be
    a power of two.
    """
    grown = smallest
    while grown < size:
        # Powers of two, and the midpoints between them.
        middle = grown & (grown - 1) == 0 and grown > smallest
        grown = grown * 3 // 2 if middle else 1 << grown.bit_length()
    return grown


def pack(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Return the indices of ``sizes`` in bins of at most ``capacity``, by first-fit decreasing.

    At most 11/9 of the smallest number of bins, plus one (Johnson 1973, "Near-optimal bin packing
    algorithms"). The same sizes give the same bins.

    Raises:
        ValueError: A size is above ``capacity``.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i], i)):
        size = sizes[index]
        if size > capacity:
            raise ValueError(f"{size} does not fit into {capacity}")
        place = next((b for b, free in enumerate(room) if free >= size), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(capacity)
        bins[place].append(index)
        room[place] -= size
    return bins


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

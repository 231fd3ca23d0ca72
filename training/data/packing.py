"""Rows of few lengths for sequences of any length: padding and packing."""

from __future__ import annotations

from collections.abc import Sequence


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

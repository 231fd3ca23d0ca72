from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.packing import bucket, pack


@given(st.integers(1, 5000))
def test_buckets(length: int) -> None:
    size = bucket(length)
    assert size >= length
    assert length <= 16 or size < 2 * length
    assert bucket(size) == size


def test_buckets_are_few() -> None:
    assert sorted({bucket(n) for n in range(1, 513)}) == [
        *(16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    ]
    assert sorted({bucket(n, smallest=1) for n in range(1, 13)}) == [1, 2, 3, 4, 6, 8, 12]


@given(st.lists(st.integers(1, 100), max_size=60))
def test_everything_is_packed_once_into_bins_that_hold_it(sizes: list[int]) -> None:
    bins = pack(sizes, 100)
    assert sorted(index for content in bins for index in content) == list(range(len(sizes)))
    assert all(sum(sizes[i] for i in content) <= 100 for content in bins)
    # First fit opens a bin only for what fits into none: no two are both at most half full.
    assert sum(2 * sum(sizes[i] for i in content) <= 100 for content in bins) <= 1


def test_the_largest_come_first() -> None:
    assert pack([2, 9, 5, 3, 1], 10) == [[1, 4], [2, 3, 0]]


def test_what_fits_nowhere_is_refused() -> None:
    with pytest.raises(ValueError, match="11 does not fit into 10"):
        pack([11], 10)

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.data.packing import Groups, bucket, pack


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


def grouped(prompts: list[int], answers: list[list[int]], length: int) -> tuple[Any, Any]:
    """Return tokens [1, G, S, T] of answers with these lengths after prompts, and all lengths."""
    generator = np.random.default_rng(0)
    shape = (1, len(prompts), len(answers[0]), length)
    tokens, lengths = np.zeros(shape, np.int32), np.zeros(shape[:3], np.int32)
    for group, (prompt, sizes) in enumerate(zip(prompts, answers, strict=True)):
        start = generator.integers(1, 1000, prompt)
        for answer, size in enumerate(sizes):
            if size:
                row = [*start, 1000 + answer, *generator.integers(1, 1000, size - 1)]
                tokens[0, group, answer, : len(row)] = row
                lengths[0, group, answer] = len(row)
    return tokens, lengths


def test_distinct_tokens_are_every_tokens_of_the_answers_once() -> None:
    tokens, lengths = grouped([9, 20, 3], [[4, 2, 1], [1, 5, 0], [0, 0, 0]], 48)
    groups = Groups.of(tokens, lengths)
    assert groups is not None
    assert groups.shared[0, :2].tolist() == [9, 20]
    counts = (groups.distinct[0] < 3 * 48).sum(-1)
    assert counts.tolist() == [9 + 7, 20 + 6, 0]
    for group, places in enumerate(groups.distinct[0]):
        real = places[places < 3 * 48]
        answers, columns = real // 48, real % 48
        assert (columns < lengths[0, group, answers]).all()
        assert ((answers == 0) | (columns >= groups.shared[0, group])).all()
        assert len(set(real)) == len(real)


def test_answers_with_little_in_common_stay_apart() -> None:
    assert Groups.of(*grouped([2], [[28, 28]], 32)) is None
    assert Groups.of(*grouped([20], [[10, 10]], 32)) is not None


@given(st.integers(1, 4000))
def test_sizes_of_groups_are_few_and_close(count: int) -> None:
    tokens = np.zeros((1, 1, 4, 4096), np.int32)
    groups = Groups.of(tokens, np.asarray([[[count, 0, 0, 0]]], np.int32))
    assert groups is not None
    size = groups.distinct.shape[-1]
    assert 0 <= size - count < max(16, count / 4 + 1)

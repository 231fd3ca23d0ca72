from __future__ import annotations

import gc
import hashlib
from pathlib import Path

import numpy as np
import pytest

from training.data.batches import BatchStream, Collator
from training.data.example_store import Example, ExampleStore, ExampleWriter, token_counts

LENGTHS = (1, 31, 32, 33, 7, 64, 100)


def random_examples() -> list[Example]:
    random = np.random.default_rng(5)
    return [
        Example(random.integers(0, 2**31, n).astype(np.int32), random.random(n) < 0.5)
        for n in LENGTHS
    ]


def store_of(examples: list[Example], folder: Path | None = None) -> ExampleStore:
    writer = ExampleWriter(folder)
    for example in examples:
        writer.add(example)
    return writer.finish()


def test_examples_come_back_as_they_were_written() -> None:
    examples = random_examples()
    store = store_of(examples)
    assert len(store) == len(examples)
    assert token_counts(store).tolist() == token_counts(examples).tolist() == list(LENGTHS)
    for stored, example in zip(store, examples, strict=True):
        np.testing.assert_array_equal(stored.tokens, example.tokens)
        np.testing.assert_array_equal(stored.mask, example.mask)
        assert (stored.tokens.dtype, stored.mask.dtype) == (np.int32, np.bool_)
    assert [len(example.tokens) for example in store[2:4]] == [32, 33]
    np.testing.assert_array_equal(store[-1].tokens, examples[-1].tokens)
    with pytest.raises(IndexError):
        store[len(LENGTHS)]
    assert store.largest_token == max(int(example.tokens.max()) for example in examples)


def test_an_example_is_a_view_of_the_file() -> None:
    store = store_of(random_examples())
    assert np.shares_memory(store[3].tokens, store[3].tokens)
    assert not store[3].tokens.flags.writeable


def test_the_digest_is_that_of_the_tokens_as_json() -> None:
    examples = [Example.of([1, 2, 3], 1), Example.of([4], 0)]
    assert store_of(examples).digest == hashlib.sha256(b"[[1,2,3],[4]]").hexdigest()


def test_a_store_leaves_no_file_and_no_descriptor(tmp_path: Path) -> None:
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    store = store_of(random_examples(), tmp_path)
    assert list(tmp_path.iterdir()) == []
    example = store[5]
    del store
    assert example.tokens.sum() != 0
    del example
    gc.collect()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    writer = ExampleWriter(tmp_path)
    writer.add(random_examples()[0])
    writer.close()
    assert list(tmp_path.iterdir()) == []


def test_an_empty_store_has_no_example() -> None:
    store = store_of([])
    assert (len(store), list(store), store.largest_token) == (0, [], 0)


@pytest.mark.parametrize("row_length", [None, 128])
def test_batches_of_a_store_are_those_of_a_list(row_length: int | None) -> None:
    examples = [*random_examples()[1:], *random_examples()[1:]]
    streams = [
        BatchStream(each, Collator(3, row_length), seed=1, together=2)
        for each in (examples, store_of(examples))
    ]
    for step in range(2 * streams[0].steps_per_epoch):
        (batch, tokens), (stored, stored_tokens) = (s.batch(step, 1) for s in streams)
        assert tokens == stored_tokens
        for name, values in batch._asdict().items():
            np.testing.assert_array_equal(getattr(stored, name), values)

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.spec.run_spec import TrainSpec
from training.data.batches import BatchStream, Collator, OrderedBatches
from training.data.example_store import Example

GROUPED = 4


def examples(count: int) -> list[Example]:
    return [Example.of(tuple(range(i, i + 4 + i % 3)), 2) for i in range(count)]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 5), st.sampled_from([None, GROUPED]))
def test_an_epoch_visits_every_example_once(
    count: int, batch: int, epoch: int, together: int | None
) -> None:
    sequences = examples(count)
    stream = BatchStream(sequences, Collator(batch), seed=1, together=together)
    first = epoch * stream.steps_per_epoch
    seen = [e for step in range(stream.steps_per_epoch) for e in stream.rows(first + step)]
    assert sorted(e.tokens.tolist() for e in seen) == sorted(e.tokens.tolist() for e in sequences)


@pytest.mark.parametrize("together", [None, GROUPED])
def test_order_depends_on_seed_and_epoch_alone(together: int | None) -> None:
    sequences = examples(20)

    def order(seed: int, epoch: int) -> list[Example]:
        stream = BatchStream(sequences, Collator(5), seed, together)
        return [e for step in range(4) for e in stream.rows(epoch * 4 + step)]

    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)


@pytest.mark.parametrize("epoch", [0, 1])
def test_similar_lengths_come_together_and_save_padding(epoch: int) -> None:
    random = np.random.default_rng(0)
    sequences = [Example.of(tuple(range(int(n))), 1) for n in random.integers(4, 200, size=400)]

    def width(together: int | None) -> int:
        stream = BatchStream(sequences, Collator(8), seed=0, together=together)
        # 50 batches an epoch: the calls of the second one begin two steps before it.
        first = epoch * stream.steps_per_epoch // GROUPED * GROUPED
        calls = range(first, first + stream.steps_per_epoch - GROUPED, GROUPED)
        return sum(stream.batch(step, GROUPED)[0].tokens.shape[-1] for step in calls)

    assert width(GROUPED) < 0.7 * width(None)


def test_weights_go_by_position_and_the_last_batch_is_filled_up() -> None:
    # The pad id, 0, occurs in the prompt and as the last token of the response.
    stream = BatchStream([Example.of((7, 0, 8, 9, 0), 2)], Collator(2), seed=0)
    batch, tokens = stream.batch(0, 1)
    assert batch.tokens.shape == (1, 2, 16)
    np.testing.assert_array_equal(batch.tokens[0, 0, :4], [7, 0, 8, 9])
    np.testing.assert_array_equal(batch.targets[0, 0, :4], [0, 8, 9, 0])
    np.testing.assert_array_equal(batch.weights[0, 0, :4], [0, 1, 1, 1])
    assert batch.weights[0, 0, 4:].sum() == 0
    assert batch.weights[0, 1].sum() == 0
    assert batch.segments is None
    assert tokens == 5


def test_steps_of_one_call_share_a_shape() -> None:
    sequences = [Example.of(tuple(range(5)), 1), Example.of(tuple(range(40)), 1)]
    batch, _ = BatchStream(sequences, Collator(1), seed=0).batch(0, 2)
    assert batch.tokens.shape == (2, 1, 48)


def test_packed_rows_by_hand() -> None:
    sequences = [
        Example.of((1, 2, 3), 1),
        Example.of(tuple(range(10, 27)), 15),
        Example.of((4, 5, 6, 7, 8), 2),
    ]
    batch = Collator(3, row_length=20).collate([sequences])
    assert batch.tokens.shape == (1, 1, 32)
    assert batch.segments is not None
    assert batch.positions is not None
    # 16, 4 and 2 inputs, the longest first.
    np.testing.assert_array_equal(batch.tokens[0, 0, 16:22], [4, 5, 6, 7, 1, 2])
    np.testing.assert_array_equal(batch.targets[0, 0, 15:22], [26, 5, 6, 7, 8, 2, 3])
    np.testing.assert_array_equal(batch.segments[0, 0], [1] * 16 + [2] * 4 + [3] * 2 + [0] * 10)
    np.testing.assert_array_equal(batch.positions[0, 0, :22], [*range(16), *range(4), *range(2)])
    np.testing.assert_array_equal(
        batch.weights[0, 0, :22], [0] * 14 + [1] * 2 + [0, 1, 1, 1] + [1, 1]
    )


@given(st.lists(st.integers(2, 30), min_size=1, max_size=24), st.sampled_from([1, 3, 4]))
def test_packed_rows_hold_every_counted_token_once(lengths: list[int], multiple: int) -> None:
    sequences = [
        Example.of(tuple(range(100 * i, 100 * i + n)), 1) for i, n in enumerate(lengths, 1)
    ]
    packed = Collator(24, row_length=32).collate([sequences], multiple)
    apart = Collator(24).collate([sequences])
    assert packed.tokens.shape[1] % multiple == 0
    for field in ("tokens", "targets"):
        counted = [getattr(batch, field)[batch.weights > 0] for batch in (packed, apart)]
        np.testing.assert_array_equal(*map(np.sort, counted))


def test_the_collator_follows_the_spec() -> None:
    spec = TrainSpec(max_steps=1, batch_size=6, max_seq_length=40)
    assert Collator.of(spec) == Collator(6)
    assert Collator.of(TrainSpec(max_steps=1, batch_size=6, max_seq_length=40, packing=True)) == (
        Collator(6, row_length=40)
    )


def test_evaluation_takes_everything_once_from_short_to_long() -> None:
    sequences = [Example.of(tuple(range(n)), 1) for n in (40, 4, 20, 6, 9)]
    batches = OrderedBatches(sequences, Collator(2))
    assert [batch.tokens.shape for batch in batches] == [(1, 2, 16), (1, 2, 32), (1, 2, 48)]
    assert sum(batch.weights.sum() for batch in batches) == sum(e.inputs for e in sequences)

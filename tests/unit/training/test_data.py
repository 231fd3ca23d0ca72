from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.run_spec import Overlong
from tailrace.formats.trace import Step, Trace
from training.data import BatchStream, Example, bucket, encode_traces
from training.errors import DataError, OverlongError
from training.rendering import render_prompt, render_response
from training.tokenizer import encode


def trace(prompt: str, content: str = "c") -> Trace:
    return Trace(prompt=prompt, answer="a", steps=[Step(0, "reasoning", content)], id=prompt)


LONG = trace("p", "word " * 60)


def test_prompt_and_response_are_encoded_apart_and_eos_is_learned(
    tokenizer: Any, traces: list[Trace]
) -> None:
    encoded = encode_traces(traces, tokenizer, 64, Overlong.REFUSE)
    for example, original in zip(encoded.examples, traces, strict=True):
        prompt = encode(tokenizer, render_prompt(tokenizer, original.prompt))
        response = encode(tokenizer, render_response(original))
        assert list(example.tokens) == [*prompt, *response, tokenizer.eos_token_id]
        assert example.prompt_length == len(prompt)
    assert encoded.overlong == 0


def test_refusing_names_the_count_and_the_ways_out(tokenizer: Any) -> None:
    with pytest.raises(OverlongError, match=r"2 of 3 .*longer than max_seq_length 64 .*truncate"):
        encode_traces([LONG, trace("q"), LONG], tokenizer, 64, Overlong.REFUSE)


def test_truncating_cuts_the_response(tokenizer: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        encoded = encode_traces([LONG, trace("q")], tokenizer, 64, Overlong.TRUNCATE)
    assert encoded.overlong == 1
    first = encoded.examples[0]
    assert len(first.tokens) == 64
    assert tokenizer.eos_token_id not in first.tokens
    assert "1 of 2 examples" in caplog.text


def test_truncating_refuses_to_learn_nothing(tokenizer: Any) -> None:
    with pytest.raises(OverlongError, match="of 1 nothing of the response would be left"):
        encode_traces([trace("x" * 200)], tokenizer, 64, Overlong.TRUNCATE)


def test_dropping(tokenizer: Any) -> None:
    encoded = encode_traces([LONG, trace("q")], tokenizer, 64, Overlong.DROP)
    assert (len(encoded.examples), encoded.overlong) == (1, 1)
    with pytest.raises(DataError, match="all 1 examples were dropped"):
        encode_traces([LONG], tokenizer, 64, Overlong.DROP)


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


def examples(count: int) -> list[Example]:
    return [Example(tuple(range(i, i + 4 + i % 3)), 2) for i in range(count)]


@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 5))
def test_an_epoch_visits_every_example_once(count: int, batch: int, epoch: int) -> None:
    made = examples(count)
    stream = BatchStream(made, batch, seed=1)
    first = epoch * stream.steps_per_epoch
    seen = [e for step in range(stream.steps_per_epoch) for e in stream.rows(first + step)]
    assert sorted(e.tokens for e in seen) == sorted(e.tokens for e in made)


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[Example]:
        stream = BatchStream(examples(20), 5, seed)
        return [e for step in range(4) for e in stream.rows(epoch * 4 + step)]

    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)


def test_weights_go_by_position_and_the_last_batch_is_filled_up() -> None:
    # The pad id, 0, occurs in the prompt and as the last token of the response.
    stream = BatchStream([Example((7, 0, 8, 9, 0), 2)], batch_size=2, seed=0)
    batch, tokens = stream.batch(0, 1)
    assert batch.tokens.shape == (1, 2, 16)
    np.testing.assert_array_equal(batch.tokens[0, 0, :4], [7, 0, 8, 9])
    np.testing.assert_array_equal(batch.targets[0, 0, :4], [0, 8, 9, 0])
    np.testing.assert_array_equal(batch.weights[0, 0, :4], [0, 1, 1, 1])
    assert batch.weights[0, 0, 4:].sum() == 0
    assert batch.weights[0, 1].sum() == 0
    assert tokens == 5


def test_steps_of_one_call_share_a_shape() -> None:
    made = [Example(tuple(range(5)), 1), Example(tuple(range(40)), 1)]
    batch, _ = BatchStream(made, batch_size=1, seed=0).batch(0, 2)
    assert batch.tokens.shape == (2, 1, 48)

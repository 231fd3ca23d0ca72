from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.batches import Batch
from training.models.attention import ForwardContext, attend
from training.models.layers import Dropout
from training.models.unpacked import ExampleMask, Slots
from training.objectives.objective import attention_inputs

HEADS, KEY_HEADS, WIDTH = 4, 2, 8


def packed(lengths: list[list[int]], length: int) -> Batch:
    """Rows whose examples have these lengths; the rest of a row is padding."""
    segments = np.zeros((len(lengths), length), np.int32)
    positions = np.zeros_like(segments)
    for row, sizes in enumerate(lengths):
        ends = np.cumsum(sizes)
        for number, (end, size) in enumerate(zip(ends, sizes, strict=True), start=1):
            segments[row, end - size : end] = number
            positions[row, end - size : end] = np.arange(size)
    return Batch(segments, segments, np.sign(segments).astype(np.float32), segments, positions)


def mixed(rows: Batch, slots: Slots | None, window: int | None) -> tuple[Any, Any]:
    """Attention of random heads at all tokens but padding, and its derivatives."""
    shape = rows.tokens.shape
    generator = np.random.default_rng(0)

    def heads(count: int) -> NDArray[np.float32]:
        return generator.standard_normal((*shape, count, WIDTH), np.float32)

    def loss(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
        context = ForwardContext.of(attention_inputs(rows, slots)[0], 0, Dropout(None))
        mask = context.mask if window is None else context.within(window)
        output, cache = attend(query, key, value, mask, None, context, 0.0)
        assert cache is None
        output *= rows.weights[..., None]
        return jnp.sum(jnp.sin(output)), output

    of = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True))
    (_, output), slopes = of(heads(HEADS), heads(KEY_HEADS), heads(KEY_HEADS))
    return output, slopes


@pytest.mark.parametrize("window", [None, 5, 40])
@pytest.mark.parametrize(
    ("lengths", "length"),
    [
        ([[60, 1, 47, 60, 31], [2, 60, 60, 60, 17]], 208),
        ([[60, 60, 60, 60, 60, 60]], 363),
        ([[13, 60, 60], [60], []], 176),
    ],
)
def test_examples_attend_as_in_whole_rows(
    lengths: list[list[int]], length: int, window: int | None
) -> None:
    rows, slots = packed(lengths, length), Slots(10, 60)
    assert isinstance(attention_inputs(rows, slots)[0], ExampleMask)
    assert not isinstance(attention_inputs(rows)[0], ExampleMask)
    jax.tree.map(
        lambda apart, whole: np.testing.assert_allclose(apart, whole, rtol=1e-5, atol=1e-5),
        mixed(rows, slots, window),
        mixed(rows, None, window),
    )


def test_slots_are_used_where_they_save_scores() -> None:
    assert Slots(8, 256).pay(2, 896)
    assert Slots(8, 256).pay(1, 1792)
    assert not Slots(8, 896).pay(2, 896)
    assert not Slots(4, 256).pay(4, 256)

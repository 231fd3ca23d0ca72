from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from training.data.batches import Batch
from training.models.attention import ForwardContext, attend
from training.models.blocks import block_width
from training.models.layers import Dropout
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


def mixed(rows: Batch, longest: int | None, window: int | None) -> tuple[Any, Any]:
    """Attention of random heads at all tokens but padding, and its derivatives."""
    shape = rows.tokens.shape
    generator = np.random.default_rng(0)

    def heads(count: int) -> NDArray[np.float32]:
        return generator.standard_normal((*shape, count, WIDTH), np.float32)

    def loss(query: Any, key: Any, value: Any) -> tuple[Any, Any]:
        mask, _ = attention_inputs(rows, longest)
        context = ForwardContext(mask, 0, Dropout(None))
        mask = mask if window is None else context.within(window)
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
        ([[60, 60, 60, 60, 60, 60]], 363),  # neither a whole number of blocks nor full
        ([[13, 60, 60], [60]], 176),
    ],
)
def test_blocks_attend_as_whole_rows(
    lengths: list[list[int]], length: int, window: int | None
) -> None:
    rows = packed(lengths, length)
    assert attention_inputs(rows, 60)[0].ndim == 4
    assert attention_inputs(rows)[0].ndim == 3
    jax.tree.map(
        lambda blocks, whole: np.testing.assert_allclose(blocks, whole, rtol=1e-5, atol=1e-5),
        mixed(rows, 60, window),
        mixed(rows, None, window),
    )


def test_rows_that_are_hardly_longer_than_an_example_have_no_blocks() -> None:
    assert block_width(960, 249) == 64
    assert block_width(960, 512) == 128
    assert block_width(960, 960) is None
    assert block_width(64, 60) is None
    assert block_width(1024, 1) == 16

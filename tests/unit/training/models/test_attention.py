from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import NDArray

from training.models.attention import ForwardContext, LayerCache, attend, run_layers
from training.models.layers import Dropout

HEADS, WIDTH = 4, 8


def shared(mask: Any, start: Any = 0) -> ForwardContext:
    return ForwardContext(jnp.asarray(mask), start, Dropout(None))


def random(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@jax.jit
def attended(
    query: Any, key: Any, value: Any, mask: Any, cache: Any = None, start: Any = 0, drop: Any = None
) -> Any:
    """Compiled as a whole, which is faster than operation by operation."""
    query, key, value, mask = map(jnp.asarray, (query, key, value, mask))
    return attend(query, key, value, mask, cache, ForwardContext(mask, start, Dropout(drop)), 0.5)


def plain_attention(query: Any, key: Any, value: Any, mask: Any) -> np.ndarray:
    """Attention spelled out, one head and one query at a time."""
    query, key, value = (np.asarray(x, np.float64) for x in (query, key, value))
    batch, length, heads, width = query.shape
    group = heads // key.shape[2]
    mixed = np.zeros((batch, length, heads, width))
    for b, t, h in np.ndindex(batch, length, heads):
        scores = key[b, :, h // group] @ query[b, t, h] / width**0.5
        weights = np.exp(scores) * np.asarray(mask)[min(b, len(mask) - 1), t]
        mixed[b, t, h] = weights / weights.sum() @ value[b, :, h // group]
    return mixed.reshape(batch, length, heads * width)


@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 5])
def test_grouped_heads(key_heads: int, length: int) -> None:
    keys = 6
    query = random(2, length, HEADS, WIDTH)
    key, value = random(2, 2, keys, key_heads, WIDTH, seed=1)
    mask = np.arange(keys)[None, None] <= np.arange(length)[None, :, None] + 1
    mixed, cache = attended(query, key, value, mask)
    assert cache is None
    np.testing.assert_allclose(mixed, plain_attention(query, key, value, mask), atol=1e-5)


@pytest.mark.parametrize(("length", "start"), [(1, 2), (3, 2), (1, [2, 5]), (3, [4, 1])])
def test_new_keys_go_to_their_columns_of_the_cache(length: int, start: Any) -> None:
    columns = 8
    held_key, held_value = random(2, 2, columns, 2, WIDTH, seed=2)
    key, value = random(2, 2, length, 2, WIDTH, seed=3)
    query = random(2, length, HEADS, WIDTH)
    starts = np.broadcast_to(start, 2)
    ends = starts[:, None] + np.arange(length)
    mask = np.arange(columns)[None, None] <= ends[:, :, None]
    held = LayerCache(held_key.transpose(0, 2, 3, 1), held_value.transpose(0, 2, 1, 3))
    mixed, cache = attended(query, key, value, mask, held, jnp.asarray(start))
    assert cache is not None
    for row, begin in enumerate(starts):
        held_key[row, begin : begin + length] = key[row]
        held_value[row, begin : begin + length] = value[row]
    np.testing.assert_array_equal(cache.key, held_key.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(cache.value, held_value.transpose(0, 2, 1, 3))
    expected = plain_attention(query, held_key, held_value, mask)
    np.testing.assert_allclose(mixed, expected, atol=1e-5)


def test_a_query_that_sees_nothing_gives_no_nan() -> None:
    x = random(1, 2, HEADS, WIDTH)
    mask = np.asarray([[[False, False], [True, True]]])
    mixed, _ = attended(x, x, x, mask)
    assert np.isfinite(mixed).all()


def test_half_precision_comes_back_as_such() -> None:
    x = random(1, 2, HEADS, WIDTH).astype(jnp.bfloat16)
    mixed, _ = attended(x, x, x, np.ones((1, 2, 2), bool))
    assert mixed.dtype == jnp.bfloat16


def test_dropout_is_applied_to_the_weights() -> None:
    x = random(1, 4, HEADS, WIDTH)
    mask = np.ones((1, 4, 4), bool)
    kept = attended(x, x, x, mask)[0]
    assert not np.allclose(attended(x, x, x, mask, drop=jax.random.key(0))[0], kept)


@pytest.mark.parametrize("start", [0, 3, [3, 1]])
def test_the_window_holds_the_newest_keys(start: Any) -> None:
    starts = np.broadcast_to(start, 2)
    ends = starts[:, None] + np.arange(4)
    causal = np.arange(8)[None, None] <= ends[:, :, None]
    near = np.asarray(shared(causal, jnp.asarray(start)).within(2))
    for sequence, row in np.ndindex(2, 4):
        at = ends[sequence, row]
        seen = np.flatnonzero(near[sequence, row]).tolist()
        assert seen == [k for k in (at - 1, at) if k >= 0]


def test_remat_changes_the_memory_and_not_the_gradient() -> None:
    mask = jnp.ones((1, 1, 1), bool)
    weights = jnp.asarray(0.1 * random(8, 64, 64))

    def loss(weights: jax.Array, remat: bool) -> jax.Array:
        def layer(at: int) -> Any:
            def run(x: jax.Array, cache: Any, shared: ForwardContext) -> tuple[jax.Array, Any]:
                for _ in range(6):
                    x = jnp.tanh(x @ weights[at])
                return x, cache

            return run

        x, _ = run_layers(
            [layer(i) for i in range(8)], jnp.ones((1, 512, 64)), (), shared(mask), remat=remat
        )
        return jnp.square(x).mean()

    # Some versions of XLA order a CPU's computations for concurrency by default, which spoils it.
    orders: tuple[dict[str, str | bool], ...] = (
        {},
        {"xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED"},
    )
    gradients, sizes = {}, {}
    for remat in (True, False):
        compute = jax.jit(jax.grad(partial(loss, remat=remat)))
        gradients[remat] = compute(weights)
        lowered = compute.lower(weights)
        analyses: list[Any] = [lowered.compile(order).memory_analysis() for order in orders]
        sizes[remat] = min(analysis.temp_size_in_bytes for analysis in analyses)
    np.testing.assert_allclose(gradients[True], gradients[False], rtol=1e-5)
    assert np.asarray(gradients[True]).any()
    assert sizes[True] < 0.5 * sizes[False]

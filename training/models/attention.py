"""Attention over cached keys and values: the one path of training and generation.

Shapes: B sequences, T query tokens, S key tokens, H query heads, K key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from training.models.layers import Dropout


class LayerCache(NamedTuple):
    """Keys and values of one layer, laid out as the products of decoding read them.

    Otherwise XLA's CPU compiler would turn all of the cache around for every token.
    """

    key: jax.Array
    """[B, K, D, S]."""
    value: jax.Array
    """[B, K, S, D]."""


Cache = tuple[LayerCache, ...]
"""Keys and values of all layers; empty where none are kept."""


@dataclass(frozen=True)
class Pass:
    """What all layers of one forward pass share."""

    mask: jax.Array
    """[B or 1, T, S], true where a query may look at a key."""
    start: Any
    """The cache column of the first query token, one for all or [B]; 0 without a cache."""
    drop: Dropout
    """Dropout of this pass."""

    def within(self, window: int) -> jax.Array:
        """The mask, narrowed to the newest ``window`` keys of each query (its own included).

        Sliding-window attention as in Mistral 7B (Jiang et al., arXiv:2310.06825). Tokens of a
        sequence lie in consecutive columns, so columns measure their distance.
        """
        queries = jnp.asarray(self.start)[..., None] + jnp.arange(self.mask.shape[1])
        keys = jnp.arange(self.mask.shape[2])
        near: jax.Array = queries[..., None] - keys < window
        return self.mask & near


Layer = Callable[[jax.Array, LayerCache | None, Pass], tuple[jax.Array, LayerCache | None]]
"""A block of the decoder: [B, T, C] and the layer's cache to the same."""


def run_layers(
    layers: Iterable[Layer], x: jax.Array, cache: Cache, shared: Pass, *, remat: bool
) -> tuple[jax.Array, Cache]:
    """Run ``x`` [B, T, C] through all layers; the updated cache is empty when ``cache`` is.

    With ``remat`` the backward pass keeps only each layer's input and computes the rest again
    (Chen et al., arXiv:1604.06174).
    """
    rows: list[LayerCache] = []
    for index, layer in enumerate(layers):
        held = cache[index] if cache else None
        if remat:
            x, held = jax.checkpoint(lambda x, held, layer=layer: layer(x, held, shared))(x, held)
        else:
            x, held = layer(x, held, shared)
        if held is not None:
            rows.append(held)
    return x, tuple(rows)


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    cache: LayerCache | None,
    shared: Pass,
    dropout: float,
) -> tuple[jax.Array, LayerCache | None]:
    """Scaled dot-product attention (Vaswani et al., arXiv:1706.03762) with grouped heads.

    ``query`` is [B, T, H, D], ``key`` and ``value`` are [B, T, K, D]; each key-value head serves
    H / K query heads (Ainslie et al., arXiv:2305.13245). With a ``cache`` the new keys and values
    go to its columns from ``shared.start`` on, and the queries look at all of it. Returns
    [B, T, H·D] and the updated cache. ``mask`` is as in :class:`Pass`.
    """
    batch, length, heads, width = query.shape
    if cache is not None:
        cache = _write(cache, key, value, shared.start)
        key, value, keys, values, head_axis = *cache, "bhds", "bhsd", 1
    else:
        keys, values, head_axis = "bshd", "bshd", 2
    groups = heads // key.shape[head_axis]
    fold = groups > 1 and length == 1
    if fold:
        # The query heads of one key-value head stand in as its tokens: no copy of a long cache.
        query = query.reshape(batch, -1, groups, width).swapaxes(1, 2)
    elif groups > 1:
        # For many tokens one plain product over copied heads is faster than a grouped one.
        key, value = (jnp.repeat(each, groups, axis=head_axis) for each in (key, value))
    scores = jnp.einsum(f"bthd,{keys}->bhts", query, key, preferred_element_type=jnp.float32)
    # A finite floor keeps rows that see no key at all (padding) free of NaN.
    scores = jnp.where(mask[:, None], scores / width**0.5, np.finfo(np.float32).min)
    weights = shared.drop(jax.nn.softmax(scores, axis=-1), dropout).astype(value.dtype)
    mixed = jnp.einsum(f"bhts,{values}->bthd", weights, value)
    mixed = mixed.swapaxes(1, 2) if fold else mixed
    return mixed.reshape(batch, length, heads * width), cache


def _write(cache: LayerCache, key: jax.Array, value: jax.Array, start: Any) -> LayerCache:
    """The cache with ``key`` and ``value`` [B, T, K, D] in the columns from ``start`` on."""
    key, value = key.astype(cache.key.dtype), value.astype(cache.value.dtype)
    if jnp.ndim(start) == 0:
        put = jax.lax.dynamic_update_slice
        return LayerCache(
            put(cache.key, key.transpose(0, 2, 3, 1), (0, 0, 0, start)),
            put(cache.value, value.transpose(0, 2, 1, 3), (0, 0, start, 0)),
        )
    rows = jnp.arange(len(key))[:, None]
    columns = start[:, None] + jnp.arange(key.shape[1])
    return LayerCache(
        cache.key.at[rows, :, :, columns].set(key, unique_indices=True),
        cache.value.at[rows, :, columns].set(value, unique_indices=True),
    )

"""Attention over cached keys and values, the same for training and generation.

Shapes: B sequences, T query tokens, S key tokens, H query heads, K key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import DTypeLike

from training.models.experts.balance import RouterLog, RouterSums
from training.models.layers import Dropout
from training.models.unpacked import ExampleMask, to_rows, to_slots

_FLOOR = -1e30
"""Bias of the score of a masked key."""


class LayerCache(NamedTuple):
    """Keys and values of one layer, in the layout that the products of decoding read.

    With another layout XLA's CPU compiler transposes the whole cache for every token.
    """

    key: jax.Array
    """[B, K, D, S]."""
    value: jax.Array
    """[B, K, S, D]."""


Cache = tuple[LayerCache, ...]
"""Keys and values of all layers; empty without a cache."""


AttentionMask = jax.Array | ExampleMask
"""Mask [B or 1, T, S], true where a query sees a key, or the mask of packed rows by example."""


@dataclass(frozen=True)
class ForwardContext:
    """Inputs that all layers of one forward pass share."""

    mask: jax.Array
    """Attention mask [B or 1, T, S], true where a query sees a key; by example, that of a slot."""
    start: Any
    """Cache column of the first query token, one for all or [B]; 0 without a cache."""
    drop: Dropout
    """Dropout of the pass."""
    examples: ExampleMask | None = None
    """Slots of the examples of packed rows; None for attention over whole rows."""
    routers: RouterLog | None = None
    """Record of the routers of experts; None for none."""

    @classmethod
    def of(cls, mask: AttentionMask, start: Any, drop: Dropout) -> ForwardContext:
        """Return the inputs of a pass with a mask of either kind."""
        if isinstance(mask, ExampleMask):
            return cls(mask.causal, start, drop, mask)
        return cls(mask, start, drop)

    def within(self, window: int) -> jax.Array:
        """Return the mask narrowed to the newest ``window`` keys of each query, itself included.

        Sliding-window attention as in Mistral 7B (Jiang et al., arXiv:2310.06825). Tokens of a
        sequence occupy consecutive columns, so columns measure their distance.
        """
        queries = jnp.asarray(self.start)[..., None] + jnp.arange(self.mask.shape[1])
        keys = jnp.arange(self.mask.shape[2])
        near: jax.Array = queries[..., None] - keys < window
        return self.mask & near


Layer = Callable[
    [jax.Array, LayerCache | None, ForwardContext], tuple[jax.Array, LayerCache | None]
]
"""Block of a decoder: maps [B, T, C] and the layer's cache to the same."""


def run_layers(
    layers: Iterable[Layer], x: jax.Array, cache: Cache, context: ForwardContext, *, remat: bool
) -> tuple[jax.Array, Cache]:
    """Run ``x`` [B, T, C] through all layers; the updated cache is empty when ``cache`` is.

    With ``remat`` the backward pass keeps only each layer's input and recomputes the rest (Chen et
    al., arXiv:1604.06174).
    """
    caches: list[LayerCache] = []
    for index, layer in enumerate(layers):
        layer_cache = cache[index] if cache else None
        if remat:
            x, layer_cache, routers = jax.checkpoint(partial(_run_alone, layer, context))(
                x, layer_cache
            )
            if context.routers is not None:
                context.routers.layers.extend(routers)
        else:
            x, layer_cache = layer(x, layer_cache, context)
        if layer_cache is not None:
            caches.append(layer_cache)
    return x, tuple(caches)


def _run_alone(
    layer: Layer, context: ForwardContext, x: jax.Array, cache: LayerCache | None
) -> tuple[jax.Array, LayerCache | None, list[RouterSums]]:
    """Run a layer and return its router's decisions, too, as values that are computed again."""
    if context.routers is None:
        return *layer(x, cache, context), []
    log = RouterLog(context.routers.counted)
    return *layer(x, cache, replace(context, routers=log)), log.layers


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array,
    cache: LayerCache | None,
    context: ForwardContext,
    dropout: float,
    scale: float | None = None,
    softcap: float | None = None,
) -> tuple[jax.Array, LayerCache | None]:
    """Scaled dot-product attention (Vaswani et al., arXiv:1706.03762) with grouped heads.

    ``query`` is [B, T, H, D], ``key`` and ``value`` are [B, T, K, D]; each key-value head serves
    H / K query heads (Ainslie et al., arXiv:2305.13245). With a ``cache`` the new keys and values
    are written to its columns from ``context.start`` on, and the queries see all of it. Returns
    [B, T, H·D] and the updated cache. ``mask`` is as in :class:`ForwardContext`; ``scale`` is the
    factor of the scores (default: 1 / √D), and ``softcap`` the bound that they approach (default:
    none; Gemma 2, arXiv:2408.00118).
    """
    if context.examples is not None:
        rows, examples = len(query), context.examples
        query, key, value = (to_slots(array, examples) for array in (query, key, value))
    batch, length, heads, width = query.shape
    if cache is None:
        layer_cache = LayerCache(key.transpose(0, 2, 3, 1), value.transpose(0, 2, 1, 3))
    else:
        layer_cache = cache = _write(cache, key, value, context.start)
    groups = heads // layer_cache.key.shape[1]
    query = query.swapaxes(1, 2)
    if groups > 1 and length == 1:
        # Fold the query heads of a key-value head into the token axis: no copy of a long cache.
        query = query.reshape(batch, -1, groups, width)
    elif groups > 1:
        # For many tokens one plain product over repeated heads is faster than a grouped one.
        layer_cache = LayerCache(*(jnp.repeat(array, groups, axis=1) for array in layer_cache))
    scores = heads_product(query, layer_cache.key, jnp.float32)
    scores *= width**-0.5 if scale is None else scale
    if softcap is not None:
        scores = softcap * jnp.tanh(scores / softcap)
    # A finite bias keeps rows that see no key (padding) free of NaN.
    scores += jnp.where(mask[:, None], 0, _FLOOR)
    weights = context.drop(softmax(scores), dropout).astype(layer_cache.value.dtype)
    mixed = heads_product(weights, layer_cache.value).reshape(batch, heads, length, width)
    mixed = mixed.swapaxes(1, 2).reshape(batch, length, heads * width)
    if context.examples is not None:
        mixed = to_rows(mixed, examples, rows)
    return mixed, cache


@jax.custom_vjp
def softmax(scores: jax.Array) -> jax.Array:
    """Apply softmax to the last axis, with a derivative computed from its output alone.

    The product below keeps that output anyway, so that no second array of this size is kept.
    """
    return jax.nn.softmax(scores, axis=-1)


def _softmax_forward(scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    weights = softmax(scores)
    return weights, weights


def _softmax_backward(weights: jax.Array, gradient: jax.Array) -> tuple[jax.Array]:
    return ((gradient - jnp.sum(gradient * weights, axis=-1, keepdims=True)) * weights,)


softmax.defvjp(_softmax_forward, _softmax_backward)


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def heads_product(left: jax.Array, right: jax.Array, dtype: DTypeLike | None = None) -> jax.Array:
    """Multiply [B, H, M, N] by [B, H, N, P], in ``dtype`` (default: that of the factors).

    The derivative is written so that no large factor is read across its rows: the automatic form
    takes XLA's CPU compiler twice as long.
    """
    return jnp.matmul(left, right, preferred_element_type=dtype)


def _heads_product_forward(
    left: jax.Array, right: jax.Array, dtype: DTypeLike | None
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return heads_product(left, right, dtype), (left, right)


def _heads_product_backward(
    _: DTypeLike | None, factors: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    left, right = factors
    gradient = gradient.astype(left.dtype)
    right_gradient = jnp.matmul(gradient.swapaxes(-1, -2), left).swapaxes(-1, -2)
    return jnp.matmul(gradient, right.swapaxes(-1, -2)), right_gradient


heads_product.defvjp(_heads_product_forward, _heads_product_backward)


def _write(cache: LayerCache, key: jax.Array, value: jax.Array, start: Any) -> LayerCache:
    """Return the cache with ``key`` and ``value`` [B, T, K, D] in the columns from ``start`` on."""
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

"""Attention of packed rows in blocks of queries, each with the keys that it can reach.

A token of a packed row sees its own example only, so that keys further away than the longest
example need no scores. As in Longformer's sliding chunks (Beltagy et al., arXiv:2004.05150), the
queries are divided into blocks, and each block gets the keys of its own and the preceding blocks.
Plain attention takes half of SmolLM2-135M's step over one row of 960 tokens on a CPU.

Shapes: B rows, T tokens of a row, N blocks of W tokens, R tokens in reach of a block's queries.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

_DIVISOR = 16
"""Divisor of the width of a block, so that its products fill vector registers."""

_WORTHWHILE = 0.75
"""Largest share of a row's scores that blocks may compute; above it plain attention is chosen."""


def block_width(length: int, longest: int) -> int | None:
    """Return the width of blocks for rows of ``length`` tokens with examples up to ``longest``.

    None if blocks would save too little. A quarter of the longest example keeps the reach of a
    block short and its products large.
    """
    width = -(-longest // (4 * _DIVISOR)) * _DIVISOR
    scores = -(-length // width) * width * (width + reach_before(width, longest))
    return width if scores <= _WORTHWHILE * length**2 else None


def reach_before(width: int, longest: int) -> int:
    """Return the number of keys before a block that its queries may see, a multiple of ``width``.

    The first query of a block is at most ``longest - 1`` tokens after the start of its example.
    """
    return -(-(longest - 1) // width) * width


def block_mask(segments: jax.Array, width: int, longest: int) -> jax.Array:
    """Return the attention mask [B, N, W, R] of packed rows, whose ``segments`` are [B, T].

    A token sees itself and the earlier tokens of its example. Padding sees padding, so that its
    scores are finite.
    """
    before = reach_before(width, longest)
    rows, length = segments.shape
    count = -(-length // width)
    padded = jnp.pad(segments, ((0, 0), (0, count * width - length)))
    queries = padded.reshape(rows, count, width)
    keys = reachable(segments, width, width + before).reshape(rows, count, -1)
    # Columns are counted from the first key in reach.
    causal = jnp.arange(width)[:, None] + before >= jnp.arange(width + before)
    inside = jnp.arange(count)[:, None] * width + jnp.arange(width + before) >= before
    same = queries[..., :, None] == keys[..., None, :]
    return same & causal & inside[:, None, :]


def in_blocks(values: jax.Array, width: int) -> jax.Array:
    """Divide [B, T, ...] into [B · N, W, ...], padded with zeros at the end."""
    missing = -values.shape[1] % width
    padded = jnp.pad(values, ((0, 0), (0, missing), *((0, 0) for _ in values.shape[2:])))
    return padded.reshape(-1, width, *values.shape[2:])


def reachable(values: jax.Array, width: int, reach: int) -> jax.Array:
    """Return the keys in reach of each block: [B, T, ...] to [B · N, R, ...]."""
    rows, length = values.shape[:2]
    count, parts = -(-length // width), reach // width
    margins = ((0, 0), (reach - width, count * width - length))
    padded = jnp.pad(values, (*margins, *((0, 0) for _ in values.shape[2:])))
    blocks = padded.reshape(rows, count + parts - 1, width, *values.shape[2:])
    joined = jnp.concatenate([blocks[:, part : part + count] for part in range(parts)], axis=2)
    return joined.reshape(-1, reach, *values.shape[2:])

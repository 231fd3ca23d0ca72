"""Losses of post-training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


def response_cross_entropy(
    logits: jax.Array, targets: ArrayLike, weights: ArrayLike, total: ArrayLike | None = None
) -> jax.Array:
    """Mean next-token cross-entropy over the response tokens of a batch, in nats, as float32.

    ``logits`` is [B, T, V]; ``targets`` and ``weights`` are [B, T], the weights 1 where a target
    counts and 0 elsewhere. Every counted token weighs the same, however long its response is.
    ``total`` is the number of counted tokens where these rows are only a part of the batch: the
    parts' losses then add up to the batch's.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)
    return jnp.sum(losses * weights) / (response_tokens(weights) if total is None else total)


def response_tokens(weights: ArrayLike) -> jax.Array:
    """The number of counted tokens; 1 where there is none, because it divides."""
    return jnp.maximum(jnp.sum(jnp.asarray(weights)), 1)

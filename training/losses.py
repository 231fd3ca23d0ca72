"""Losses of post-training."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike


def response_cross_entropy(logits: jax.Array, targets: ArrayLike, weights: ArrayLike) -> jax.Array:
    """Mean next-token cross-entropy over the response tokens of a batch, in nats.

    ``logits`` is [B, T, V]; ``targets`` and ``weights`` are [B, T], the weights 1 where a target
    counts and 0 elsewhere. Every counted token weighs the same, however long its response is.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return jnp.sum(losses * weights) / jnp.maximum(jnp.sum(weights), 1)

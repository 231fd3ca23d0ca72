"""Losses over the response tokens of a batch."""

from __future__ import annotations

from collections.abc import Callable

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


def rowwise_cross_entropy(
    score: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: ArrayLike,
    weights: ArrayLike,
    total: ArrayLike,
) -> jax.Array:
    """:func:`response_cross_entropy` of ``score(hidden)``, with the logits of one row at a time.

    ``hidden`` is [B, T, C]. The loss has a derivative by it alone: ``score`` must not hold anything
    that is trained. Each row's is computed together with its loss, as in Liger Kernel (Hsu et al.,
    arXiv:2410.10989), so that no logits are kept for the backward pass.
    """

    def one(row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        states, row_targets, row_weights = row

        def loss_of(states: jax.Array) -> jax.Array:
            return response_cross_entropy(score(states), row_targets, row_weights, total)

        return jax.value_and_grad(loss_of)(states)

    fixed = jax.lax.stop_gradient(hidden)
    rows = (fixed, jnp.asarray(targets), jnp.asarray(weights))
    losses, slopes = jax.lax.stop_gradient(jax.lax.map(one, rows))
    # Zero in value; its derivative is what was computed above.
    return jnp.sum(losses) + jnp.vdot(slopes, hidden - fixed).astype(jnp.float32)

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
    """Return the mean next-token cross-entropy over response tokens, in nats, as float32.

    Every response token weighs the same, however long its response is.

    Args:
        logits: [B, T, V].
        targets: [B, T], the next tokens.
        weights: [B, T], 1 for targets of a response and 0 elsewhere.
        total: Number of response tokens in the whole batch, of which the rows may be a part: the
            losses of the parts add up to that of the batch (default: those of the rows).
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)
    return jnp.sum(losses * weights) / (response_tokens(weights) if total is None else total)


def response_tokens(weights: ArrayLike) -> jax.Array:
    """Return the number of response tokens, at least 1 because it divides."""
    return jnp.maximum(jnp.sum(jnp.asarray(weights)), 1)


def rowwise_cross_entropy(
    score: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: ArrayLike,
    weights: ArrayLike,
    total: ArrayLike,
) -> jax.Array:
    """Return :func:`response_cross_entropy` of ``score(hidden)``, one row of logits at a time.

    ``hidden`` is [B, T, C]. The loss has a derivative by ``hidden`` alone: ``score`` must not
    depend on trained values. The derivative is computed together with the loss, as in Liger Kernel
    (Hsu et al., arXiv:2410.10989), so that no logits are stored for the backward pass.
    """

    def one(row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        states, row_targets, row_weights = row

        def loss_of(states: jax.Array) -> jax.Array:
            return response_cross_entropy(score(states), row_targets, row_weights, total)

        return jax.value_and_grad(loss_of)(states)

    fixed = jax.lax.stop_gradient(hidden)
    rows = (fixed, jnp.asarray(targets), jnp.asarray(weights))
    losses, slopes = jax.lax.stop_gradient(jax.lax.map(one, rows))
    # The second term is zero; its derivative by ``hidden`` is ``slopes``.
    return jnp.sum(losses) + jnp.vdot(slopes, hidden - fixed).astype(jnp.float32)

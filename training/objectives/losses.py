"""Losses over the response tokens of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

BLOCK = 256
"""Positions whose logits :func:`blockwise_cross_entropy` holds at a time."""


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


def blockwise_cross_entropy(
    score: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: ArrayLike,
    weights: ArrayLike,
    total: ArrayLike,
) -> jax.Array:
    """Return :func:`response_cross_entropy` of ``score(hidden)``, a block of logits at a time.

    ``hidden`` is [B, T, C]. Positions without a weight get no logits. The loss has a derivative by
    ``hidden`` alone: ``score`` must not depend on trained values. The derivative is computed
    together with the loss, as in Liger Kernel (Hsu et al., arXiv:2410.10989), so that no logits are
    stored for the backward pass.
    """
    fixed = jax.lax.stop_gradient(hidden)
    states = fixed.reshape(-1, hidden.shape[-1])
    flat_targets, flat_weights = (jnp.asarray(array).reshape(-1) for array in (targets, weights))
    count = len(states)
    width = min(BLOCK, count)
    # The learnt positions first; the last block is filled up with positions outside the array.
    order = jnp.argsort(flat_weights == 0, stable=True)
    order = jnp.pad(order, (0, -count % width), constant_values=count)
    blocks = -(-jnp.count_nonzero(flat_weights) // width)

    def add(sums: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
        block, loss, slopes = sums
        chosen = jax.lax.dynamic_slice_in_dim(order, block * width, width)
        block_targets = flat_targets.at[chosen].get(mode="fill", fill_value=0)
        block_weights = flat_weights.at[chosen].get(mode="fill", fill_value=0)

        def loss_of(states: jax.Array) -> jax.Array:
            return response_cross_entropy(score(states), block_targets, block_weights, total)

        block_states = states.at[chosen].get(mode="fill", fill_value=0)
        block_loss, block_slopes = jax.value_and_grad(loss_of)(block_states)
        return block + 1, loss + block_loss, slopes.at[chosen].set(block_slopes, mode="drop")

    first = (jnp.zeros_like(blocks), jnp.float32(0), jnp.zeros_like(states))
    _, loss, slopes = jax.lax.while_loop(lambda sums: sums[0] < blocks, add, first)
    slopes = jax.lax.stop_gradient(slopes.reshape(hidden.shape))
    # The second term is zero; its derivative by ``hidden`` is ``slopes``.
    value: jax.Array = jax.lax.stop_gradient(loss)
    return value + jnp.vdot(slopes, hidden - fixed).astype(jnp.float32)


def log_probs(logits: jax.Array, targets: ArrayLike, weights: ArrayLike) -> jax.Array:
    """Return the log-probability of each row's response, [B], in nats, as float32.

    ``logits`` is [B, T, V]; targets and weights are as in :func:`response_cross_entropy`.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits.astype(jnp.float32), targets)
    sums: jax.Array = -jnp.sum(losses * weights, axis=-1)
    return sums


def rowwise_log_probs(
    score: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: ArrayLike,
    weights: ArrayLike,
) -> jax.Array:
    """Return :func:`log_probs` of ``score(hidden)``, one row of logits at a time.

    The derivative is computed as in :func:`blockwise_cross_entropy`, under the same condition.
    """

    def one(row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        states, row_targets, row_weights = row

        def log_prob_of(states: jax.Array) -> jax.Array:
            return log_probs(score(states), row_targets, row_weights)

        return jax.value_and_grad(log_prob_of)(states)

    fixed = jax.lax.stop_gradient(hidden)
    rows = (fixed, jnp.asarray(targets), jnp.asarray(weights))
    sums, slopes = jax.lax.stop_gradient(jax.lax.map(one, rows))
    # The second term is zero; its derivative by ``hidden`` is ``slopes`` times that by the sum.
    zeros: jax.Array = jnp.einsum("btc,btc->b", slopes, hidden - fixed).astype(jnp.float32)
    log_probabilities: jax.Array = sums + zeros
    return log_probabilities

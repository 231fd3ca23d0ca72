"""Losses over the response tokens of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

S = TypeVar("S")

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
    blocks, width, order = _learnt_blocks(flat_weights)

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


def blockwise_log_probs(
    score: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: ArrayLike,
    weights: ArrayLike,
) -> jax.Array:
    """Return :func:`log_probs` of ``score(hidden)``, a block of logits at a time.

    The derivative is computed as in :func:`blockwise_cross_entropy`, under the same condition.
    """

    def scores_of(states: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
        logits = score(states).astype(jnp.float32)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        log_probs: jax.Array = -weights * losses
        return log_probs

    scores, zeros = scores_by_block(scores_of, lambda scores: scores, hidden, targets, weights)
    sums: jax.Array = jnp.sum(scores + zeros, axis=-1)
    return sums


class TokenScores(NamedTuple):
    """Scores of a response's tokens, in nats, float32; 0 for tokens without a weight."""

    log_probs: jax.Array
    """Log-probabilities of the targets, [B, T]."""
    entropies: jax.Array
    """Entropies of the distributions, without a derivative, [B, T]."""


def token_scores(
    logits: jax.Array, targets: ArrayLike, weights: ArrayLike, temperature: float
) -> TokenScores:
    """Return the scores of each token, with the logits [..., T, V] divided by ``temperature``."""
    scaled = logits.astype(jnp.float32) / temperature
    normalizers = jax.nn.logsumexp(scaled, axis=-1)
    chosen = jnp.take_along_axis(scaled, jnp.asarray(targets)[..., None], axis=-1)[..., 0]
    log_probs = chosen - normalizers
    fixed, totals = jax.lax.stop_gradient((scaled, normalizers))
    entropies = totals - jnp.sum(jnp.exp(fixed - totals[..., None]) * fixed, axis=-1)
    learnt = jnp.asarray(weights) > 0
    return TokenScores(jnp.where(learnt, log_probs, 0), jnp.where(learnt, entropies, 0))


def blockwise_token_scores(
    score: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    targets: ArrayLike,
    weights: ArrayLike,
    temperature: float,
) -> TokenScores:
    """Return :func:`token_scores` of ``score(hidden)``, a block of logits at a time.

    The derivative is computed as in :func:`blockwise_cross_entropy`, under the same condition: a
    token's log-probability depends on its own hidden state alone.
    """

    def scores_of(states: jax.Array, targets: jax.Array, weights: jax.Array) -> TokenScores:
        return token_scores(score(states), targets, weights, temperature)

    scores, zeros = scores_by_block(
        scores_of, lambda scores: scores.log_probs, hidden, targets, weights
    )
    return TokenScores(scores.log_probs + zeros, scores.entropies)


def scores_by_block(
    scores_of: Callable[[jax.Array, Any, jax.Array], S],
    differentiable: Callable[[S], jax.Array],
    hidden: jax.Array,
    targets: Any,
    weights: ArrayLike,
) -> tuple[S, jax.Array]:
    """Return scores of tokens, and zeros with the derivative of one of them by ``hidden``.

    Args:
        scores_of: Function of hidden states [N, C], targets and weights [N] for scores [N]. A
            token's scores depend on its own hidden state alone.
        differentiable: Function that chooses the score with a derivative.
        hidden: The hidden states, [B, T, C].
        targets: The next tokens [B, T], or other arrays [B, T, ...] that scores are made of.
        weights: [B, T]; tokens without a weight have scores of 0.
    """
    fixed = jax.lax.stop_gradient(hidden)
    states = fixed.reshape(-1, hidden.shape[-1])
    flat_weights = jnp.asarray(weights).reshape(-1)

    def flat(array: Any) -> jax.Array:
        return jnp.reshape(jnp.asarray(array), (len(states), *array.shape[hidden.ndim - 1 :]))

    flat_targets = jax.tree.map(flat, targets)
    blocks, width, order = _learnt_blocks(flat_weights)

    def add(sums: tuple[Any, ...]) -> tuple[Any, ...]:
        block, scores, slopes = sums
        chosen = jax.lax.dynamic_slice_in_dim(order, block * width, width)
        block_targets = jax.tree.map(
            lambda array: array.at[chosen].get(mode="fill", fill_value=0), flat_targets
        )
        block_weights = flat_weights.at[chosen].get(mode="fill", fill_value=0)

        def total_of(states: jax.Array) -> tuple[jax.Array, S]:
            scores = scores_of(states, block_targets, block_weights)
            return differentiable(scores).sum(), scores

        block_states = states.at[chosen].get(mode="fill", fill_value=0)
        block_slopes, block_scores = jax.grad(total_of, has_aux=True)(block_states)
        scores = jax.tree.map(lambda a, b: a.at[chosen].set(b, mode="drop"), scores, block_scores)
        return block + 1, scores, slopes.at[chosen].set(block_slopes, mode="drop")

    first_targets = jax.tree.map(lambda array: array[:width], flat_targets)
    some = jax.eval_shape(scores_of, states[:width], first_targets, flat_weights[:width])
    zeros = jax.tree.map(lambda score: jnp.zeros(len(states), score.dtype), some)
    first = (jnp.zeros_like(blocks), zeros, jnp.zeros_like(states))
    _, scores, slopes = jax.lax.while_loop(lambda sums: sums[0] < blocks, add, first)
    fixed_scores: S = jax.lax.stop_gradient(
        jax.tree.map(lambda score: score.reshape(hidden.shape[:-1]), scores)
    )
    slopes = jax.lax.stop_gradient(slopes.reshape(hidden.shape))
    # The product is zero; its derivative by ``hidden`` is ``slopes`` times that by the score.
    return fixed_scores, jnp.einsum("...c,...c->...", slopes, hidden - fixed).astype(jnp.float32)


def _learnt_blocks(flat_weights: jax.Array) -> tuple[jax.Array, int, jax.Array]:
    """Return the number of blocks, their width, and the order of positions, learnt ones first.

    The last block is filled up with positions outside the array.
    """
    count = len(flat_weights)
    width = min(BLOCK, count)
    order = jnp.argsort(flat_weights == 0, stable=True)
    order = jnp.pad(order, (0, -count % width), constant_values=count)
    return -(-jnp.count_nonzero(flat_weights) // width), width, order

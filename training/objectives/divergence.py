"""Divergences of a model's distributions from a teacher's.

Shapes: B rows, T tokens, V tokens that both models know.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from training.data.example_store import TopTokens
from training.objectives.losses import scores_by_block

Score = Callable[[jax.Array], jax.Array]
"""Function of hidden states for logits."""


class Divergences(NamedTuple):
    """Comparison with the teacher at each token, float32; 0 for tokens without a weight."""

    values: jax.Array
    """Divergences in nats, [B, T]."""
    agreements: jax.Array
    """1 where both models have the same likeliest token, else 0, [B, T]."""


DivergencesOf = Callable[[jax.Array, jax.Array, ArrayLike], Divergences]
"""Function of the model's and the teacher's logits, and of weights."""


def forward_divergences(
    logits: jax.Array, teacher_logits: jax.Array, weights: ArrayLike
) -> Divergences:
    """Return the Kullback-Leibler divergence of the model from its teacher at each token.

    It is the sum over tokens of p · (log p - log q) for the teacher's p and the model's q, as
    in Hinton et al. (arXiv:1503.02531). Both distributions are over the tokens that both models
    embed: either may have rows beyond its tokenizer that no text has.

    Args:
        logits: Logits of the model, [..., T, ≥ V].
        teacher_logits: Logits of the teacher, which get no derivative, [..., T, ≥ V].
        weights: 1 for targets of a response and 0 elsewhere, [..., T].
    """
    own, teacher = _common(logits, teacher_logits)
    return _compared(jnp.exp(teacher) * (teacher - own), own, teacher, weights)


def reverse_divergences(
    logits: jax.Array, teacher_logits: jax.Array, weights: ArrayLike
) -> Divergences:
    """Return the divergence of the teacher from the model at each token.

    It is the sum over tokens of q · (log q - log p) for the teacher's p and the model's q, as in
    Agarwal et al. (arXiv:2306.13649). Arguments are those of :func:`forward_divergences`.
    """
    own, teacher = _common(logits, teacher_logits)
    return _compared(jnp.exp(own) * (own - teacher), own, teacher, weights)


def top_divergences(
    logits: jax.Array, taught: TopTokens, weights: ArrayLike, vocabulary: int
) -> Divergences:
    """Return :func:`forward_divergences` from a teacher of which the likeliest tokens are known.

    All others are one bucket, in both distributions.

    Args:
        logits: Logits of the model, [..., T, ≥ V].
        taught: The teacher's tokens, [..., T, k], and log-probabilities, [..., T, k + 1].
        weights: 1 for targets of a response and 0 elsewhere, [..., T].
        vocabulary: Number of tokens that both models embed.
    """
    scores = logits[..., :vocabulary].astype(jnp.float32)
    total = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    tokens, teacher = jnp.asarray(taught.tokens), jnp.asarray(taught.log_probs)
    chosen = jnp.take_along_axis(scores, tokens, axis=-1)
    own = jnp.concatenate([chosen, _rest(scores, tokens)], axis=-1) - total
    learnt = jnp.asarray(weights) > 0
    same = jnp.argmax(scores, axis=-1) == tokens[..., 0]
    values = jnp.where(learnt, jnp.sum(jnp.exp(teacher) * (teacher - own), axis=-1), 0)
    return Divergences(values, jnp.where(learnt, same, False).astype(jnp.float32))


def blockwise_top_divergences(
    score: Score, hidden: jax.Array, taught: TopTokens, weights: ArrayLike, vocabulary: int
) -> Divergences:
    """Return :func:`top_divergences` of ``score(hidden)``, a block of logits at a time.

    The derivative is computed as in
    :func:`training.objectives.losses.blockwise_cross_entropy`, under the same condition.
    """

    def scores_of(states: jax.Array, targets: TopTokens, weights: jax.Array) -> Divergences:
        return top_divergences(score(states), targets, weights, vocabulary)

    scores, zeros = scores_by_block(
        scores_of, lambda scores: scores.values, hidden, taught, weights
    )
    return Divergences(scores.values + zeros, scores.agreements)


def top_tokens(logits: jax.Array, count: int) -> tuple[jax.Array, jax.Array]:
    """Return the ``count`` likeliest tokens of logits [..., V], as :class:`.TopTokens` has them."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    values, tokens = jax.lax.top_k(log_probs, count)
    return tokens, jnp.concatenate([values, _rest(log_probs, tokens)], axis=-1)


def _rest(scores: jax.Array, tokens: jax.Array) -> jax.Array:
    """Return the logarithm of the sum of exp(scores) over all but some tokens, [..., 1]."""
    is_other = jnp.put_along_axis(
        jnp.ones(scores.shape, bool), tokens, False, axis=-1, inplace=False
    )
    rest: Any = jax.nn.logsumexp(scores, axis=-1, keepdims=True, where=is_other)
    return jnp.asarray(rest)


def _common(logits: jax.Array, teacher_logits: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return both models' log-probabilities of the tokens that both embed, [..., T, V]."""
    size = min(logits.shape[-1], teacher_logits.shape[-1])
    own = jax.nn.log_softmax(logits[..., :size].astype(jnp.float32))
    fixed = jax.lax.stop_gradient(teacher_logits[..., :size]).astype(jnp.float32)
    return own, jax.nn.log_softmax(fixed)


def _compared(
    terms: jax.Array, own: jax.Array, teacher: jax.Array, weights: ArrayLike
) -> Divergences:
    same = jnp.argmax(own, axis=-1) == jnp.argmax(teacher, axis=-1)
    learnt = jnp.asarray(weights) > 0
    values = jnp.where(learnt, jnp.sum(terms, axis=-1), 0)
    return Divergences(values, jnp.where(learnt, same, False).astype(jnp.float32))


def blockwise_divergences(
    divergences_of: DivergencesOf,
    score: Score,
    teacher_score: Score,
    hidden: jax.Array,
    teacher_hidden: jax.Array,
    weights: ArrayLike,
) -> Divergences:
    """Return the divergences of both scores, a block of logits at a time.

    The derivative is computed as in
    :func:`training.objectives.losses.blockwise_cross_entropy`, under the same condition.

    Args:
        divergences_of: One of the functions above.
        score: Function of the model.
        teacher_score: Function of the teacher.
        hidden: Hidden states of the model, [B, T, C].
        teacher_hidden: Those of the teacher, [B, T, D].
        weights: See :func:`forward_divergences`.
    """
    width = hidden.shape[-1]
    fixed = jax.lax.stop_gradient(teacher_hidden).astype(hidden.dtype)
    states = jnp.concatenate([hidden, fixed], axis=-1)

    def scores_of(states: jax.Array, _: jax.Array, weights: jax.Array) -> Divergences:
        teacher_states = jax.lax.stop_gradient(states[..., width:])
        return divergences_of(score(states[..., :width]), teacher_score(teacher_states), weights)

    targets = jnp.zeros(hidden.shape[:-1], jnp.int32)
    scores, zeros = scores_by_block(
        scores_of, lambda scores: scores.values, states, targets, weights
    )
    return Divergences(scores.values + zeros, scores.agreements)

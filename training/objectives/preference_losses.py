"""Losses over pairs of answers to one prompt, and over answers with a label.

Shapes: B pairs or answers; the chosen answer of a pair precedes the rejected one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from tailrace.formats.spec.methods import DpoSpec, KtoSpec, PreferenceLoss


@dataclass(frozen=True)
class PairScores:
    """Scores of both answers of each pair, float32."""

    log_probs: jax.Array
    """Log-probabilities of the answers, sums over their tokens, [B, 2]."""
    lengths: jax.Array
    """Numbers of tokens of the answers, at least 1, [B, 2]."""
    reference: ArrayLike
    """Log-probabilities of the answers under the starting model, [B, 2]; 0 without a reference."""

    @property
    def log_ratios(self) -> jax.Array:
        """Log-probabilities less those of the starting model, [B, 2]."""
        return self.log_probs - self.reference

    @property
    def means(self) -> jax.Array:
        """Mean log-probabilities of tokens, [B, 2]."""
        return self.log_probs / self.lengths


@dataclass(frozen=True)
class FeedbackScores:
    """Scores of answers with a label."""

    log_ratios: jax.Array
    """Log-probabilities less those of the starting model, [B]."""
    labels: jax.Array
    """True for good answers, [B]."""
    baseline: jax.Array
    """Mean log-ratio of mismatched answers, at least 0, [B]; it has no derivative."""


def feedback_losses(scores: FeedbackScores, spec: KtoSpec) -> jax.Array:
    """Return the weighted loss of each answer, [B]: equation 7 of KTO."""
    rewards = spec.beta * (scores.log_ratios - jax.lax.stop_gradient(scores.baseline))
    values = jax.nn.sigmoid(jnp.where(scores.labels, rewards, -rewards))
    weights = jnp.where(scores.labels, spec.desirable_weight, spec.undesirable_weight)
    return weights * (1 - values)


def pair_losses(scores: PairScores, spec: DpoSpec) -> jax.Array:
    """Return the loss of each pair, [B], in nats."""
    return _LOSSES[spec.loss](scores, spec)


def pair_rewards(scores: PairScores, spec: DpoSpec) -> jax.Array:
    """Return the implicit rewards of the answers, [B, 2].

    They are ``beta`` times the log-ratios, or, for losses without a reference, ``beta`` times the
    mean log-probabilities.
    """
    return spec.strength * (scores.log_ratios if spec.loss.has_reference else scores.means)


def _sigmoid(scores: PairScores, spec: DpoSpec) -> jax.Array:
    logits = spec.strength * _difference(scores.log_ratios)
    right, wrong = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
    return -(1 - spec.label_smoothing) * right - spec.label_smoothing * wrong


def _ipo(scores: PairScores, spec: DpoSpec) -> jax.Array:
    distance = _difference(scores.log_ratios / scores.lengths) - 1 / (2 * spec.strength)
    return jnp.square(distance)


def _hinge(scores: PairScores, spec: DpoSpec) -> jax.Array:
    return jax.nn.relu(1 - spec.strength * _difference(scores.log_ratios))


def _simpo(scores: PairScores, spec: DpoSpec) -> jax.Array:
    return -jax.nn.log_sigmoid(spec.strength * _difference(scores.means) - spec.margin)


def _orpo(scores: PairScores, spec: DpoSpec) -> jax.Array:
    means = scores.means
    log_odds = _difference(means - _log1mexp(means))
    return -means[:, 0] - spec.strength * jax.nn.log_sigmoid(log_odds)


_LOSSES: dict[PreferenceLoss, Callable[[PairScores, DpoSpec], jax.Array]] = {
    PreferenceLoss.SIGMOID: _sigmoid,
    PreferenceLoss.IPO: _ipo,
    PreferenceLoss.HINGE: _hinge,
    PreferenceLoss.SIMPO: _simpo,
    PreferenceLoss.ORPO: _orpo,
}


def _difference(values: jax.Array) -> jax.Array:
    """Return chosen less rejected, [B]."""
    return values[:, 0] - values[:, 1]


def _log1mexp(x: jax.Array) -> jax.Array:
    """Return log(1 - exp(x)) for x < 0, exact on both sides of -log 2 (Mächler 2012).

    A probability that rounds to 1 counts as the largest float32 below it.
    """
    x = jnp.minimum(x, -float(np.finfo(np.float32).epsneg))
    small = x > -math.log(2)
    # The branch not taken must be finite, too: its derivative is multiplied by zero.
    near = jnp.log(-jnp.expm1(jnp.where(small, x, -1.0)))
    far = jnp.log1p(-jnp.exp(jnp.where(small, -1.0, x)))
    return jnp.where(small, near, far)

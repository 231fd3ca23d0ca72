"""Losses of sampled answers with rewards: GRPO and its relatives.

Shapes: B answers, T tokens. A token's loss is that of a clipped ratio between the model's
probability of the token and the one at sampling (PPO, Schulman et al., arXiv:1707.06347), plus an
estimate of the divergence from a reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from tailrace.formats.spec.grpo_spec import GrpoSpec, PolicyLoss, RatioLevel


@dataclass(frozen=True)
class PolicyScores:
    """Log-probabilities of answers' tokens, and the answers' advantages, float32."""

    log_probs: jax.Array
    """Under the model that is trained, [B, T]."""
    old: jax.Array
    """Under the model that the answers were sampled from, [B, T]."""
    mask: ArrayLike
    """1 for tokens with a loss, else 0, [B, T]."""
    advantages: ArrayLike
    """[B]."""
    reference: ArrayLike | None = None
    """Under the model that the training started from, [B, T]; needed if ``kl_beta`` is not 0."""

    @property
    def lengths(self) -> jax.Array:
        """Number of tokens with a loss, at least 1 because it divides, [B]."""
        return jnp.maximum(jnp.asarray(self.mask).sum(-1), 1)


@dataclass(frozen=True)
class TokenLosses:
    """Loss of each token, and what it is made of; 0 for tokens without a loss."""

    losses: jax.Array
    """[B, T]."""
    clipped: jax.Array
    """True where the ratio was clipped, which stops the derivative, [B, T]."""
    divergence: jax.Array | None
    """Estimate (k3) of the divergence from the reference, [B, T]; None without a reference."""


def token_losses(scores: PolicyScores, spec: GrpoSpec) -> TokenLosses:
    """Return the loss of each token, in nats."""
    mask = jnp.asarray(scores.mask)
    # Values behind the mask may be anything: not even an infinite one may reach a sum.
    log_probs = jnp.where(mask > 0, scores.log_probs, 0)
    old = jnp.where(mask > 0, scores.old, 0)
    log_ratios = log_probs - old
    if spec.ratio is RatioLevel.SEQUENCE:
        log_ratios = jnp.sum(log_ratios, axis=-1, keepdims=True) / scores.lengths[:, None]
    ratios = jnp.exp(log_ratios)
    low, high = 1 - spec.clip_low, 1 + spec.clip_high
    advantages = jnp.asarray(scores.advantages)[:, None]
    losses = -jnp.minimum(ratios * advantages, jnp.clip(ratios, low, high) * advantages)
    clipped = ((ratios < low) & (advantages < 0)) | ((ratios > high) & (advantages > 0))
    divergence = None
    if spec.kl_beta and scores.reference is not None:
        difference = jnp.where(mask > 0, jnp.asarray(scores.reference) - log_probs, 0)
        divergence = jnp.exp(difference) - difference - 1
        losses = losses + spec.kl_beta * divergence
    return TokenLosses(losses * mask, (clipped & (mask > 0)), divergence)


def total_loss(losses: jax.Array, scores: PolicyScores, spec: GrpoSpec) -> jax.Array:
    """Return the sum of answers' losses, which :func:`total_weight` of a batch divides."""
    if spec.loss is PolicyLoss.GRPO:
        losses = losses / scores.lengths[:, None]
    total: jax.Array = losses.sum()
    return total


def total_weight(answers: Any, tokens: Any, spec: GrpoSpec) -> Any:
    """Return the divisor of a batch's loss.

    Args:
        answers: Number of answers.
        tokens: Number of tokens with a loss.
        spec: Settings.
    """
    return {
        PolicyLoss.GRPO: answers,
        PolicyLoss.DR_GRPO: answers * spec.max_new_tokens,
        PolicyLoss.DAPO: tokens,
    }[spec.loss]

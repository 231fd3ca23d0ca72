"""Learning from rewards: answers that score above their group become likelier.

The losses are in :mod:`training.objectives.policy_losses`; :mod:`training.rollouts` samples the
answers and rewards them. Shapes: B answers, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tailrace.formats.data.record import Record
from tailrace.formats.spec.grpo_spec import GrpoSpec
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch, Collator, SampledValues
from training.data.chat_format import ChatFormat
from training.data.encode import EncodedExamples
from training.objectives.losses import TokenScores, blockwise_token_scores, token_scores
from training.objectives.objective import BoundModel, Metrics
from training.objectives.policy_losses import (
    PolicyScores,
    token_losses,
    total_loss,
    total_weight,
)
from training.objectives.prompts import encode_prompts


class GrpoObjective:
    """Loss of sampled answers; see :class:`training.objectives.objective.Objective`.

    Dropout is off, because a loss of log-probabilities would compare its noise.
    """

    def __init__(self, spec: TrainSpec) -> None:
        self._spec = spec
        self._options = spec.grpo or GrpoSpec()

    def encode(
        self,
        records: Sequence[Record],
        chat: ChatFormat,
        what: str = "examples",
        folder: Path | None = None,
    ) -> EncodedExamples:
        """Encode the distinct prompts of records."""
        return encode_prompts(
            records, chat, self._spec, what.replace("examples", "prompts"), folder
        )

    def collator(self, batch_size: int) -> Collator:
        """Return padded rows, one for each answer."""
        return Collator(batch_size)

    def weight(self, rows: Batch) -> Any:
        """Return the number of answers, of tokens that they may have, or of tokens, by the loss."""
        return total_weight(_sampled(rows).answers.sum(), rows.weights.sum(), self._options)

    def token_scores(self, model: BoundModel, rows: Batch) -> TokenScores:
        """Return log-probabilities and entropies [B, T] at the temperature of sampling."""
        decoder, temperature = model.decoder, self._options.temperature
        hidden = replace(model, dropout_key=None).hidden(rows)
        targets, weights = rows.targets, rows.weights
        if model.by_block:
            return blockwise_token_scores(decoder.logits, hidden, targets, weights, temperature)
        return _answer_scores(
            decoder.logits, hidden, rows, self._options.max_new_tokens, temperature
        )

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the loss, and means over tokens: entropy, clipped share, divergence, gap.

        The gap is the mean absolute difference of the log-probabilities at sampling between the
        sampler and the program that trains.
        """
        sampled = _sampled(rows)
        log_probs, entropies = self.token_scores(model, rows)
        old = jax.lax.stop_gradient(log_probs) if sampled.old is None else jnp.asarray(sampled.old)
        scores = PolicyScores(log_probs, old, rows.weights, sampled.advantages, sampled.reference)
        tokens = token_losses(scores, self._options)
        share = jnp.asarray(rows.weights) * jnp.asarray(sampled.token_share)[:, None]
        metrics = {
            "entropy": jnp.sum(entropies * share),
            "clip_share": jnp.sum(tokens.clipped * share),
            "sampler_gap": jnp.sum(jnp.abs(old - sampled.sampler) * share),
        }
        if tokens.divergence is not None:
            metrics["kl"] = jnp.sum(tokens.divergence * share)
        loss = total_loss(tokens.losses, scores, self._options) / normalizer
        return loss, jax.lax.stop_gradient(metrics)


def _sampled(rows: Batch) -> SampledValues:
    if rows.sampled is None:
        raise ValueError("rows of a dataset have no advantages: sample answers first")
    return rows.sampled


def _answer_scores(
    score: Callable[[jax.Array], jax.Array],
    hidden: jax.Array,
    rows: Batch,
    longest: int,
    temperature: float,
) -> TokenScores:
    """Return :func:`token_scores` of ``score(hidden)`` with logits for answers alone.

    Each row has at most ``longest`` tokens with a weight, one after another.
    """
    length, weights = rows.tokens.shape[1], jnp.asarray(rows.weights)
    first = jnp.argmax(weights > 0, axis=1)
    places = first[:, None] + jnp.arange(min(length, longest))
    inside, places = places < length, jnp.minimum(places, length - 1)
    targets = jnp.take_along_axis(jnp.asarray(rows.targets), places, axis=1)
    learnt = jnp.where(inside, jnp.take_along_axis(weights, places, axis=1), 0)
    states = jnp.take_along_axis(hidden, places[..., None], axis=1)
    scores = token_scores(score(states), targets, learnt, temperature)
    index = jnp.arange(len(places))[:, None]

    def scatter(values: jax.Array) -> jax.Array:
        return jnp.zeros(weights.shape, values.dtype).at[index, places].add(values)

    return TokenScores(*map(scatter, scores))

"""Distillation: the model learns a teacher's distributions over the tokens of the dataset.

The divergence is in :mod:`training.objectives.divergence`. Shapes: B rows, T tokens.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from training.data.batches import Batch
from training.objectives.divergence import blockwise_forward_divergences, forward_divergences
from training.objectives.objective import BoundModel, Metrics
from training.objectives.sft import SftObjective

DIVERGENCE, AGREEMENT = "teacher_kl", "teacher_agreement"
"""Metrics: mean divergence from the teacher, and share of tokens whose likeliest is the same."""


class DistillObjective(SftObjective):
    """Divergence from a teacher at the tokens to learn; its examples are those of fine-tuning."""

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the mean divergence in nats, also as a metric, and the agreement."""
        if model.teacher is None:
            raise ValueError("a distillation needs a teacher")
        hidden, taught = model.hidden(rows), model.teacher_hidden(rows)
        score, teacher_score = model.decoder.logits, model.teacher.logits
        weights: Any = rows.weights
        if model.by_block:
            scores = blockwise_forward_divergences(score, teacher_score, hidden, taught, weights)
        else:
            scores = forward_divergences(score(hidden), teacher_score(taught), weights)
        loss = jnp.sum(scores.values * weights) / normalizer
        agreement = jnp.sum(scores.agreements * weights) / normalizer
        return loss, {DIVERGENCE: jax.lax.stop_gradient(loss), AGREEMENT: agreement}

"""Distillation: the model learns a teacher's distributions over the tokens of answers.

The divergences are in :mod:`training.objectives.divergence`. Shapes: B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tailrace.formats.data.record import Record
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import EncodedExamples
from training.objectives.divergence import (
    Divergences,
    DivergencesOf,
    blockwise_divergences,
    blockwise_top_divergences,
    forward_divergences,
    reverse_divergences,
    top_divergences,
)
from training.objectives.objective import BoundModel, Metrics
from training.objectives.prompts import encode_prompts
from training.objectives.sft import SftObjective

DIVERGENCE, AGREEMENT = "teacher_kl", "teacher_agreement"
"""Metrics: mean divergence from the teacher, and share of tokens whose likeliest is the same."""


class DistillObjective(SftObjective):
    """Divergence from a teacher at the tokens to learn; its examples are those of fine-tuning."""

    def __init__(
        self, spec: TrainSpec, divergences_of: DivergencesOf = forward_divergences
    ) -> None:
        """Compare distributions with ``divergences_of``."""
        super().__init__(spec)
        self._divergences_of = divergences_of

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
            scores = blockwise_divergences(
                self._divergences_of, score, teacher_score, hidden, taught, weights
            )
        else:
            scores = self._divergences_of(score(hidden), teacher_score(taught), weights)
        return _means(scores, weights, normalizer)


class OnPolicyObjective(DistillObjective):
    """Reverse divergence from a teacher at the tokens of answers that the model samples itself.

    :mod:`training.rollouts` samples them; the examples are prompts.
    """

    def __init__(self, spec: TrainSpec) -> None:
        super().__init__(spec, reverse_divergences)

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


class StoredTeacherObjective(SftObjective):
    """Divergence from a teacher of which the likeliest tokens are stored with the examples."""

    def __init__(self, spec: TrainSpec, vocabulary: int | None = None) -> None:
        """Compare over the first ``vocabulary`` tokens, which both models embed."""
        super().__init__(spec)
        self._vocabulary = vocabulary

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the mean divergence in nats, also as a metric, and the agreement."""
        if rows.taught is None or self._vocabulary is None:
            raise ValueError("the examples lack the teacher's tokens")
        score, hidden, weights = model.decoder.logits, model.hidden(rows), rows.weights
        if model.by_block:
            scores = blockwise_top_divergences(
                score, hidden, rows.taught, weights, self._vocabulary
            )
        else:
            scores = top_divergences(score(hidden), rows.taught, weights, self._vocabulary)
        return _means(scores, weights, normalizer)


def make_distillation(spec: TrainSpec) -> SftObjective:
    """Return the objective for the answers and the teacher's distributions that a spec chooses."""
    if spec.distill is not None and spec.distill.top_k is not None:
        return StoredTeacherObjective(spec)
    return DistillObjective(spec) if spec.sampling is None else OnPolicyObjective(spec)


def _means(scores: Divergences, weights: Any, normalizer: jax.Array) -> tuple[jax.Array, Metrics]:
    loss = jnp.sum(scores.values * weights) / normalizer
    agreement = jnp.sum(scores.agreements * weights) / normalizer
    return loss, {DIVERGENCE: jax.lax.stop_gradient(loss), AGREEMENT: agreement}

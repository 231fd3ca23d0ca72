"""Learning from feedback: KTO (Ethayarajh et al., arXiv:2402.01306).

An answer's reward is its log-ratio to the starting model, compared with a baseline: the mean
log-ratio of answers to other prompts, an estimate of the divergence from the starting model.
Shapes: B examples, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tailrace.formats.data.record import Record
from tailrace.formats.spec.methods import KtoSpec
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import EncodedExamples
from training.objectives.feedback import FeedbackCollator, encode_feedback
from training.objectives.objective import FEEDBACK_ACCURACY, BoundModel, Metrics
from training.objectives.pairs import is_pair, response_log_probs
from training.objectives.preference_losses import FeedbackScores, feedback_losses

_OWN, _OTHER = 0, 1
"""Sides of an example: the answer, and the mismatched one."""


class KtoObjective:
    """Loss of answers with a label; see :class:`training.objectives.objective.Objective`.

    Dropout is off, because a loss of log-probabilities would compare its noise.
    """

    has_reference = True
    """The loss reads :attr:`.Batch.reference`."""

    def __init__(self, spec: TrainSpec) -> None:
        self._spec = spec
        self._options = spec.kto or KtoSpec()

    def encode(
        self,
        records: Sequence[Record],
        chat: ChatFormat,
        what: str = "examples",
        folder: Path | None = None,
    ) -> EncodedExamples:
        """Encode the answer of each record, and a mismatched one after the same prompt."""
        length = self._spec.max_seq_length
        return encode_feedback(records, chat, length, self._options, what, folder)

    def collator(self, batch_size: int) -> Collator:
        """Return padded rows, two for each example."""
        return FeedbackCollator(batch_size)

    def weight(self, rows: Batch) -> Any:
        """Return the number of examples; rows of padding are none."""
        return is_pair(rows).sum()

    def answer_log_probs(self, model: BoundModel, rows: Batch) -> jax.Array:
        """Return the log-probabilities of answers and mismatched ones, [B, 2], in nats."""
        return response_log_probs(model, rows)

    def baseline_share(self, model: BoundModel, rows: Batch, normalizer: jax.Array) -> jax.Array:
        """Return the rows' share of the mean log-ratio of mismatched answers."""
        return (
            jnp.sum(jnp.where(is_pair(rows), self._log_ratios(model, rows, _OTHER), 0)) / normalizer
        )

    def baseline(self, mean: jax.Array) -> jax.Array:
        """Return the mean log-ratio, at least 0, as a divergence is."""
        return jnp.maximum(mean, 0)

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the mean loss of examples, and rewards and log-ratios by label.

        The accuracy is the share of answers whose log-ratio is above the baseline if they are good,
        and not above it if they are bad.
        """
        if rows.labels is None or rows.baseline is None:
            raise ValueError("rows without labels and a baseline are not feedback")
        labels, baseline = jnp.asarray(rows.labels) > 0, jnp.asarray(rows.baseline)
        examples = jnp.asarray(is_pair(rows))
        ratios = self._log_ratios(model, rows, _OWN)
        losses = feedback_losses(FeedbackScores(ratios, labels, baseline), self._options)

        def mean(values: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(examples, values, 0)) / normalizer

        fixed = jax.lax.stop_gradient(ratios)
        metrics = {
            FEEDBACK_ACCURACY: mean((fixed > baseline) == labels),
            "kl_baseline": mean(baseline),
        }
        for name, side in (("desirable", labels), ("undesirable", ~labels)):
            metrics[f"{name}_share"] = mean(side)
            metrics[f"log_ratio_{name}"] = mean(jnp.where(side, fixed, 0))
            metrics[f"rewards_{name}"] = self._options.beta * metrics[f"log_ratio_{name}"]
        return mean(losses), metrics

    def _log_ratios(self, model: BoundModel, rows: Batch, side: int) -> jax.Array:
        """Return the log-ratios of one answer of each example to the starting model, [B]."""
        own = (slice(None), slice(side, side + 1))
        lengths = None if rows.lengths is None else rows.lengths[own]
        answers = Batch(rows.tokens[own], rows.targets[own], rows.weights[own], lengths=lengths)
        reference = 0 if rows.reference is None else rows.reference[:, side]
        return response_log_probs(model, answers)[:, 0] - reference

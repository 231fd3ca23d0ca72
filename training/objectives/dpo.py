"""Preference optimisation: chosen answers become likelier than rejected ones.

The losses are in :mod:`training.objectives.preference_losses`. Shapes: B pairs, T tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tailrace.formats.data.record import Record
from tailrace.formats.spec.methods import DpoSpec
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import EncodedExamples
from training.objectives.objective import ACCURACY, BoundModel, Metrics
from training.objectives.pairs import (
    PairCollator,
    encode_pairs,
    is_pair,
    response_log_probs,
)
from training.objectives.preference_losses import PairScores, pair_losses, pair_rewards


class DpoObjective:
    """Loss of pairs of answers; see :class:`training.objectives.objective.Objective`.

    Dropout is off, because a loss of log-probabilities would compare its noise.
    """

    def __init__(self, spec: TrainSpec) -> None:
        self._spec = spec
        self._options = spec.dpo or DpoSpec()
        self.has_reference = self._options.loss.has_reference
        """True if the loss reads :attr:`.Batch.reference`."""

    def encode(
        self,
        records: Sequence[Record],
        chat: ChatFormat,
        what: str = "examples",
        folder: Path | None = None,
    ) -> EncodedExamples:
        """Encode both answers of each preference, with the masks of their tokens."""
        length, overlong = self._spec.max_seq_length, self._options.overlong
        pairs = what.replace("examples", "pairs")
        return encode_pairs(records, chat, length, overlong, pairs, folder)

    def collator(self, batch_size: int) -> Collator:
        """Return padded rows, two for each pair."""
        return PairCollator(batch_size)

    def weight(self, rows: Batch) -> Any:
        """Return the number of pairs; rows of padding are none."""
        return is_pair(rows).sum()

    def answer_log_probs(self, model: BoundModel, rows: Batch) -> jax.Array:
        """Return the log-probabilities of both answers of each pair, [B, 2], in nats."""
        return response_log_probs(model, rows)

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the mean loss of pairs, and their rewards, margin and accuracy.

        Losses with a reference also report the mean log-ratios of both answers to it, the others
        the mean log-probabilities of tokens.
        """
        reference = jnp.zeros(rows.tokens.shape[:2]) if rows.reference is None else rows.reference
        lengths = jnp.maximum(jnp.asarray(rows.weights).sum(-1), 1)
        scores = PairScores(self.answer_log_probs(model, rows), lengths, reference)
        pairs = jnp.asarray(is_pair(rows))

        def mean(values: jax.Array) -> jax.Array:
            return jnp.sum(jnp.where(pairs, values, 0)) / normalizer

        rewards = jax.lax.stop_gradient(pair_rewards(scores, self._options))
        margin = rewards[:, 0] - rewards[:, 1]
        figures = scores.log_ratios if self.has_reference else scores.means
        figures, name = jax.lax.stop_gradient(figures), self._figure
        metrics = {
            "rewards_chosen": mean(rewards[:, 0]),
            "rewards_rejected": mean(rewards[:, 1]),
            "reward_margin": mean(margin),
            ACCURACY: mean(margin > 0),
            f"{name}_chosen": mean(figures[:, 0]),
            f"{name}_rejected": mean(figures[:, 1]),
        }
        return mean(pair_losses(scores, self._options)), metrics

    @property
    def _figure(self) -> str:
        return "log_ratio" if self.has_reference else "log_prob"

"""Supervised fine-tuning: cross-entropy of the response tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from tailrace.formats.data.record import Record
from tailrace.formats.spec.train_spec import SftSpec, TrainSpec
from training.data.batches import Batch, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import EncodedExamples, encode_records
from training.objectives.losses import response_cross_entropy, rowwise_cross_entropy
from training.objectives.objective import BoundModel, Metrics


class SftObjective:
    """Next-token loss on responses; see :class:`training.objectives.objective.Objective`."""

    def __init__(self, spec: TrainSpec) -> None:
        self._spec = spec
        self._overlong = (spec.sft or SftSpec()).overlong

    def encode(
        self,
        records: Sequence[Record],
        chat: ChatFormat,
        what: str = "examples",
        folder: Path | None = None,
    ) -> EncodedExamples:
        """Encode prompt and response of each record."""
        length = self._spec.max_seq_length
        return encode_records(records, chat, length, self._overlong, what, folder)

    def collator(self, batch_size: int) -> Collator:
        """Return padded rows of one example, or packed rows of several."""
        return dataclasses.replace(Collator.of(self._spec), batch_size=batch_size)

    def weight(self, rows: Batch) -> Any:
        """Return the number of response tokens."""
        return rows.weights.sum()

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the cross-entropy in nats; there are no further metrics."""
        decoder, hidden = model.decoder, model.hidden(rows)
        targets, weights = rows.targets, rows.weights
        if model.by_row:
            loss = rowwise_cross_entropy(decoder.logits, hidden, targets, weights, normalizer)
        else:
            loss = response_cross_entropy(decoder.logits(hidden), targets, weights, normalizer)
        return loss, {}

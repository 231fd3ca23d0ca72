"""Supervised fine-tuning: cross-entropy of the tokens to learn."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from tailrace.formats.data.record import Record
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch, Collator
from training.data.chat_format import ChatFormat
from training.data.encode import EncodedExamples, Encoding, encode_records
from training.objectives.losses import blockwise_cross_entropy, response_cross_entropy
from training.objectives.objective import BoundModel, Metrics


class SftObjective:
    """Next-token loss on learnt tokens; see :class:`training.objectives.objective.Objective`."""

    def __init__(self, spec: TrainSpec) -> None:
        self._spec = spec

    def encode(
        self,
        records: Sequence[Record],
        chat: ChatFormat,
        what: str = "examples",
        folder: Path | None = None,
    ) -> EncodedExamples:
        """Encode the conversation of each record, with the mask of the tokens to learn."""
        return encode_records(records, chat, Encoding.of(self._spec), what, folder)

    def collator(self, batch_size: int) -> Collator:
        """Return padded rows of one example, or packed rows of several."""
        return dataclasses.replace(Collator.of(self._spec), batch_size=batch_size)

    def weight(self, rows: Batch) -> Any:
        """Return the number of learnt tokens."""
        return rows.weights.sum()

    def loss(
        self, model: BoundModel, rows: Batch, normalizer: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Return the cross-entropy in nats; there are no further metrics."""
        decoder, hidden = model.decoder, model.hidden(rows)
        targets, weights = rows.targets, rows.weights
        if model.by_block:
            loss = blockwise_cross_entropy(decoder.logits, hidden, targets, weights, normalizer)
        else:
            loss = response_cross_entropy(decoder.logits(hidden), targets, weights, normalizer)
        return loss, {}

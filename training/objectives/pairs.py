"""Pairs of answers to one prompt: their encoding, their store, and their layout in batches.

A pair is an :class:`.Example` of the chosen answer with the rejected one as ``other``. Shapes: K
steps, B pairs, T tokens.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from tailrace.formats.data.record import CompletionRecord, PreferenceRecord, Record
from tailrace.formats.spec.methods import Overlong, TrainOn
from training.data.batches import Batch, Collator, put
from training.data.chat_format import ChatFormat
from training.data.encode import (
    EncodedExamples,
    Encoding,
    Problems,
    RefusedRecord,
    count,
    encode_each,
    overlong_text,
)
from training.data.example_store import Example, ExampleStore, ExampleWriter, StoredExamples
from training.data.packing import Groups, bucket
from training.data.totals import Totals
from training.errors import DataError
from training.objectives.losses import blockwise_log_probs, log_probs
from training.objectives.objective import BoundModel

_log = logging.getLogger(__name__)


class PairStore(StoredExamples):
    """Pairs over a store in which the answers of a pair follow one another."""

    def __init__(
        self,
        answers: ExampleStore,
        reference: NDArray[np.float32] | None = None,
        labels: NDArray[np.bool_] | None = None,
    ) -> None:
        """Pair the answers.

        Args:
            answers: First and second answers in turn, such as chosen and rejected ones.
            reference: Log-probabilities of all answers under the starting model, [pairs, 2].
            labels: Labels of the first answers (default: all are good).
        """
        self.answers = answers
        """First and second answers in turn."""
        self._reference = reference
        self._labels = np.ones(len(answers) // 2, np.bool_) if labels is None else labels
        both = answers.lengths.reshape(-1, 2)
        self.lengths = both.max(axis=1)
        self.totals = both.sum(axis=1, dtype=np.uint32)
        self.digest = answers.digest
        self.largest_token = answers.largest_token

    def with_reference(self, reference: NDArray[np.float32]) -> PairStore:
        """Return the pairs with log-probabilities under the starting model, [pairs, 2]."""
        return PairStore(self.answers, reference, self._labels)

    def __len__(self) -> int:
        return len(self.lengths)

    def _read(self, index: int) -> Example:
        first, second = self.answers[2 * index], self.answers[2 * index + 1]
        reference = None if self._reference is None else self._reference[index]
        label = bool(self._labels[index])
        return dataclasses.replace(first, other=second, reference=reference, label=label)


class PairCollator(Collator):
    """Layout of a step's pairs, padded to the longest answer of all steps."""

    def collate(self, steps: Sequence[Sequence[Example]], multiple: int = 1) -> Batch:
        """Return the rows of K steps, [K, B, 2, T]; padding has weight zero."""
        longest = max(pair.inputs for pairs in steps for pair in pairs)
        shape = (len(steps), self.batch_size, 2, bucket(longest))
        lengths = np.zeros(shape[:3], np.int32)
        batch = Batch(
            np.zeros(shape, np.int32),
            np.zeros(shape, np.int32),
            np.zeros(shape, np.float32),
            reference=np.zeros(shape[:3], np.float32),
            lengths=lengths,
        )
        for k, pairs in enumerate(steps):
            for b, pair in enumerate(pairs):
                for side, answer in enumerate(_answers(pair)):
                    length = len(answer.tokens) - 1
                    put(batch, (k, b, side, slice(length)), answer)
                    lengths[k, b, side] = length
                if batch.reference is not None and pair.reference is not None:
                    batch.reference[k, b] = pair.reference
        return batch._replace(groups=Groups.of(batch.tokens, lengths))


def _answers(pair: Example) -> tuple[Example, Example]:
    if pair.other is None:
        raise ValueError("an example without a second answer is not a pair")
    return pair, pair.other


def is_pair(rows: Batch) -> Any:
    """Return True for each pair that is not padding, […, B]."""
    return (rows.weights.sum(-1) > 0).all(-1)


def response_log_probs(model: BoundModel, rows: Batch) -> jax.Array:
    """Return the log-probabilities of the answers of rows [B, S, T] without dropout, [B, S]."""
    hidden = dataclasses.replace(model, dropout_key=None).hidden(rows)
    if model.by_block:
        return blockwise_log_probs(model.decoder.logits, hidden, rows.targets, rows.weights)
    return log_probs(model.decoder.logits(hidden), rows.targets, rows.weights)


def encode_pairs(
    records: Sequence[Record],
    chat: ChatFormat,
    max_length: int,
    overlong: Overlong,
    what: str = "pairs",
    folder: Path | None = None,
) -> EncodedExamples:
    """Encode both answers of each preference after their prompt, in the model's chat format.

    A pair is left out if either answer is dropped, or if truncation makes both alike.

    Args:
        records: The preferences.
        chat: The model's chat format.
        max_length: Longest prompt with an answer, in tokens.
        overlong: Policy for longer ones.
        what: Noun for the records in messages.
        folder: Folder for the file of tokens (default: the system's for temporary files).

    Raises:
        OverlongError: The policy refuses an answer, or truncation would leave nothing of one.
        DataError: A record is not a preference, the template cannot render one, or no pair is left.
        OSError: The file of tokens cannot be written.
    """
    encoding = Encoding(max_length, overlong, TrainOn.COMPLETION)
    totals, problems = Totals(max_length), Problems()
    writer, pending, alike = ExampleWriter(folder), list[Example | None](), 0
    try:
        for answer in encode_each(_completions(records), chat, encoding):
            if isinstance(answer, RefusedRecord):
                problems.add_refused(answer)
                pending.append(None)
            else:
                count(answer, totals)
                problems.add(answer, encoding)
                pending.append(answer.example if answer.length else None)
            if len(pending) == 2:
                chosen, rejected = pending
                pending.clear()
                if chosen is None or rejected is None:
                    continue
                if np.array_equal(chosen.tokens, rejected.tokens):
                    alike += 1
                    continue
                writer.add(chosen)
                writer.add(rejected)
        total = f"{2 * len(records)} answers of {len(records)} {what}"
        problems.raise_any(total, encoding, totals)
        left = len(writer) // 2
        _report(totals, what, total, len(records) - left, alike)
        if not left:
            raise DataError(f"none of {len(records)} {what} is left: raise max_seq_length")
        return EncodedExamples(PairStore(writer.finish()), totals)
    finally:
        writer.close()


def _completions(records: Sequence[Record]) -> Iterator[CompletionRecord]:
    """Yield the chosen and the rejected answer of each preference as completions."""
    for record in records:
        if not isinstance(record, PreferenceRecord):
            raise DataError(
                f"{record.id} is not a preference: train.dpo takes lines of the form "
                f"{PreferenceRecord.FORM}"
            )
        for answer in (record.chosen, record.rejected):
            yield CompletionRecord(record.prompt, answer, record.tools, record.id)


def _report(totals: Totals, what: str, total: str, left_out: int, alike: int) -> None:
    _log.info("%s", totals.summary(f"answers of {what}"))
    if totals.overlong:
        _log.warning("%s", overlong_text(total, totals))
    if alike:
        _log.warning("truncation makes both answers of %d %s the same", alike, what)
    if left_out:
        _log.warning("%d %s are left out", left_out, what)

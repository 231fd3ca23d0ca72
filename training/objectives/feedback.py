"""Answers with a label: their encoding with mismatched answers, and their layout in batches.

An :class:`.Example` of feedback has a mismatched answer as ``other``: that of another prompt. It is
chosen once, from the order of the records. Shapes: K steps, B examples.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from tailrace.formats.canonical import canonical_json
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import CompletionRecord, FeedbackRecord, Record, Text
from tailrace.formats.schema import to_mapping
from tailrace.formats.spec.methods import KtoSpec, Overlong, TrainOn
from tailrace.formats.wording import pluralize
from training.data.batches import Batch
from training.data.chat_format import ChatFormat
from training.data.encode import (
    EncodedExamples,
    EncodedRecord,
    Encoding,
    Problems,
    RefusedRecord,
    count,
    encode_each,
    overlong_text,
)
from training.data.example_store import Example, ExampleWriter
from training.data.totals import Totals
from training.errors import DataError
from training.objectives.pairs import PairCollator, PairStore

_log = logging.getLogger(__name__)

_MOST_LOSS_AVERSE = 4 / 3
"""Largest ratio of the summed weights of good answers to those of bad ones, in the paper."""


class FeedbackCollator(PairCollator):
    """Layout of a step's examples, each with its mismatched answer."""

    def collate(self, steps: Sequence[Sequence[Example]], multiple: int = 1) -> Batch:
        """Return the rows of K steps, [K, B, 2, T], with labels; padding has weight zero."""
        batch = super().collate(steps, multiple)
        labels = np.zeros(batch.tokens.shape[:2], np.float32)
        for k, examples in enumerate(steps):
            labels[k, : len(examples)] = [example.label for example in examples]
        if batch.lengths is not None:
            # No loss reads the routers of mismatched answers, which must not count for the balance.
            batch.lengths[..., 1] = 0
        return batch._replace(labels=labels)


def encode_feedback(
    records: Sequence[Record],
    chat: ChatFormat,
    max_length: int,
    options: KtoSpec,
    what: str = "examples",
    folder: Path | None = None,
) -> EncodedExamples:
    """Encode each answer, and a mismatched one, after its prompt in the model's chat format.

    Overlong mismatched answers are truncated, whatever the policy for examples.

    Args:
        records: Answers with their labels.
        chat: The model's chat format.
        max_length: Longest prompt with an answer, in tokens.
        options: The method's keys.
        what: Noun for the records in messages.
        folder: Folder for the file of tokens (default: the system's for temporary files).

    Raises:
        OverlongError: The policy refuses an answer, or truncation would leave nothing of one.
        DataError: A record has no label, all have the same prompt, the template cannot render one,
            or no example is left.
        OSError: The file of tokens cannot be written.
    """
    feedback = [_feedback(record) for record in records]
    partners = mismatched([prompt_key(record) for record in feedback], what)
    encoding = Encoding(max_length, options.overlong, TrainOn.COMPLETION)
    totals, problems, labels = Totals(max_length), Problems(), list[bool]()
    writer = ExampleWriter(folder)
    own = encode_each(map(_completion, feedback, feedback), chat, encoding)
    others = encode_each(
        _mismatched(feedback, partners), chat, replace(encoding, overlong=Overlong.TRUNCATE)
    )
    try:
        for record, answer, other in zip(feedback, own, others, strict=True):
            refused = [one for one in (answer, other) if isinstance(one, RefusedRecord)]
            for one in refused:
                problems.add_refused(one)
            if isinstance(answer, EncodedRecord):
                count(answer, totals)
                problems.add(answer, encoding)
            if isinstance(answer, EncodedRecord) and isinstance(other, EncodedRecord):
                if not answer.length or not other.length:
                    continue
                writer.add(answer.example)
                writer.add(other.example)
                labels.append(record.label)
        total = f"{len(records)} {what}"
        problems.raise_any(total, encoding, totals)
        _report(totals, what, total, labels, options)
        if not labels:
            raise DataError(f"none of {total} is left: raise max_seq_length")
        store = PairStore(writer.finish(), labels=np.asarray(labels, np.bool_))
        return EncodedExamples(store, totals)
    finally:
        writer.close()


def mismatched(prompts: Sequence[str], what: str = "examples") -> list[int]:
    """Return the index of another prompt's record for each record, as evenly as possible.

    Args:
        prompts: Prompt of each record.
        what: Noun for the records in messages.

    Raises:
        DataError: There are no two prompts.
    """
    groups: dict[str, list[int]] = {}
    for index, prompt in enumerate(prompts):
        groups.setdefault(prompt, []).append(index)
    if len(groups) < 2:
        raise DataError(
            f"the {len(prompts)} {what} have {pluralize(len(groups), 'prompt')}: train.kto compares"
            " each answer with that to another prompt; add prompts, or change train.eval_fraction"
        )
    order = [index for group in groups.values() for index in group]
    shift = max(map(len, groups.values()))
    partners = [0] * len(order)
    for place, index in enumerate(order):
        # A prompt with more than half of the records meets itself.
        while prompts[partner := order[(place + shift) % len(order)]] == prompts[index]:
            place += 1
        partners[index] = partner
    return partners


def prompt_key(record: FeedbackRecord) -> str:
    """Return a key that records of the same prompt share, be it text or a message."""
    return canonical_json(to_mapping(_messages(Role.USER, record.prompt)))


def _feedback(record: Record) -> FeedbackRecord:
    if not isinstance(record, FeedbackRecord):
        raise DataError(
            f"{record.id} has no label: train.kto takes lines of the form {FeedbackRecord.FORM}"
        )
    return record


def _mismatched(
    feedback: Sequence[FeedbackRecord], partners: Sequence[int]
) -> Iterator[CompletionRecord]:
    for record, partner in zip(feedback, partners, strict=True):
        yield _completion(record, feedback[partner])


def _completion(asked: FeedbackRecord, answered: FeedbackRecord) -> CompletionRecord:
    """Return the prompt of one record with the answer of another."""
    prompt, answer = asked.prompt, answered.completion
    if isinstance(prompt, str) is not isinstance(answer, str):
        prompt, answer = _messages(Role.USER, prompt), _messages(Role.ASSISTANT, answer)
    return CompletionRecord(prompt, answer, asked.tools, asked.id)


def _messages(role: Role, text: Text) -> list[Message]:
    return [Message(role, text)] if isinstance(text, str) else text


def _report(
    totals: Totals, what: str, total: str, labels: Sequence[bool], options: KtoSpec
) -> None:
    good, bad = sum(labels), len(labels) - sum(labels)
    _log.info("%s", totals.summary(what))
    _log.info("%d answers are good and %d bad", good, bad)
    if totals.overlong:
        _log.warning("%s", overlong_text(total, totals))
    if totals.examples > len(labels):
        _log.warning("%d of %s are left out", totals.examples - len(labels), total)
    if labels and not (good and bad):
        side = "good" if good else "bad"
        _log.warning("all answers of the %s are %s: there is nothing to tell apart", what, side)
        return
    weights = options.desirable_weight * good, options.undesirable_weight * bad
    if not weights[1] <= weights[0] <= _MOST_LOSS_AVERSE * weights[1]:
        _log.warning(
            "good answers weigh %.4g and bad ones %.4g in all: the paper advises 1 to 4/3 times as "
            "much for the good ones; change train.kto.desirable_weight or undesirable_weight",
            *weights,
        )

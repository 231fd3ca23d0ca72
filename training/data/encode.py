"""Encoding of records as token sequences, and the policy for overlong examples."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from tailrace.formats.data.record import ChatRecord, Record
from tailrace.formats.spec.methods import SftSpec, TrainOn
from tailrace.formats.spec.run_spec import Overlong
from tailrace.formats.spec.train_spec import TrainSpec
from tailrace.formats.wording import pluralize
from training.data.chat_format import ChatFormat, ConversationError, SpecialTextError
from training.data.conversation import Conversation, conversation_of
from training.data.example_store import Example, ExampleWriter, StoredExamples
from training.data.exchanges import fitting
from training.data.masking import untrainable_error
from training.data.rendered_example import RenderedExample
from training.data.totals import Totals
from training.errors import DataError, OverlongError

_log = logging.getLogger(__name__)

_DONE = {Overlong.TRUNCATE: "truncated", Overlong.DROP: "dropped"}


@dataclass(frozen=True)
class Encoding:
    """Settings of the encoding."""

    max_length: int
    """Longest example in tokens, up to the last learnt one."""
    overlong: Overlong = Overlong.REFUSE
    """Policy for longer examples."""
    train_on: TrainOn | None = None
    """Part of an example to learn; None for the default of the records' kind."""
    allow_special_tokens: bool = False
    """True if text of messages may become special tokens."""

    @classmethod
    def of(cls, spec: TrainSpec) -> Encoding:
        """Return the encoding that a spec describes."""
        sft = spec.sft or SftSpec()
        method = spec.distill or sft
        return cls(spec.max_seq_length, method.overlong, method.train_on, sft.allow_special_tokens)

    def for_records(self, records: Iterable[Record]) -> Encoding:
        """Return the encoding with the default of ``train_on`` for records, which have one kind."""
        if self.train_on is not None:
            return self
        first = next(iter(records), None)
        is_chat = isinstance(first, ChatRecord)
        return replace(self, train_on=TrainOn.ALL_ASSISTANT if is_chat else TrainOn.COMPLETION)


@dataclass(frozen=True)
class EncodedExamples:
    """Encoded examples of one part of a dataset."""

    examples: StoredExamples
    totals: Totals

    @property
    def overlong(self) -> int:
        """Number of examples that were truncated, shortened or dropped."""
        return self.totals.overlong

    @classmethod
    def none(cls) -> EncodedExamples:
        """Return the examples of no record."""
        return cls(ExampleWriter().finish(), Totals(0))


@dataclass(frozen=True)
class EncodedRecord:
    """A record as the model sees it."""

    id: str
    rendered: RenderedExample
    """The conversation, without left-out exchanges."""
    full_length: int
    """Number of tokens up to the last learnt one, before any was left out."""
    length: int
    """Number of leading tokens to learn from; 0 if the example is dropped or learns nothing."""
    left_out: int = 0
    """Number of exchanges that are left out."""

    @property
    def example(self) -> Example:
        """The tokens to learn from, with their mask."""
        return Example(self.rendered.tokens[: self.length], self.rendered.mask[: self.length])


@dataclass(frozen=True)
class RefusedRecord:
    """A record that the model's chat template or tokenizer cannot take."""

    id: str
    error: ConversationError


def encode_records(
    records: Sequence[Record],
    chat: ChatFormat,
    encoding: Encoding,
    what: str = "examples",
    folder: Path | None = None,
) -> EncodedExamples:
    """Encode each record in the model's chat format, and apply the policy for overlong examples.

    Records are read one by one, and their tokens are kept in a file. Examples without a trained
    token are left out, because they have no loss.

    Args:
        records: The records, all of one kind.
        chat: The model's chat format.
        encoding: Settings of the encoding.
        what: Noun for the records in messages.
        folder: Folder for the file of tokens (default: the system's for temporary files).

    Raises:
        OverlongError: The policy refuses an example, or truncation would leave nothing to learn.
        DataError: A record has no answer to imitate, or the template cannot render it or makes a
            turn impossible to learn; or no example with a trained token is left.
        OSError: The file of tokens cannot be written.
    """
    encoding = encoding.for_records(records)
    totals, problems = Totals(encoding.max_length), Problems()
    writer = ExampleWriter(folder)
    try:
        for record in encode_each(records, chat, encoding):
            if isinstance(record, RefusedRecord):
                problems.add_refused(record)
                continue
            count(record, totals)
            problems.add(record, encoding)
            if record.length:
                writer.add(record.example)
        total = f"{len(records)} {what}"
        problems.raise_any(total, encoding, totals)
        _report(total, encoding, totals, what, len(writer))
        if not len(writer):
            raise _nothing_left(total, encoding, totals)
        return EncodedExamples(writer.finish(), totals)
    finally:
        writer.close()


def encode_each(
    records: Iterable[Record], chat: ChatFormat, encoding: Encoding
) -> Iterator[EncodedRecord | RefusedRecord]:
    """Yield each record as the model sees it, overlong ones truncated or shortened.

    ``encoding`` must have a ``train_on``: see :meth:`Encoding.for_records`.

    Raises:
        DataError: A record has no answer to imitate.
        ModelConfigError: The template exceeds a limit.
    """
    train_on = encoding.train_on or TrainOn.COMPLETION
    special = encoding.allow_special_tokens
    # Many conversations are rendered at a time: these are in progress.
    pending: deque[tuple[str, Conversation]] = deque()
    conversations = _conversations(records, pending)
    for rendered in chat.encode_all(conversations, train_on, allow_special_tokens=special):
        name, conversation = pending.popleft()
        if isinstance(rendered, ConversationError):
            yield RefusedRecord(name, rendered)
            continue
        try:
            yield _limited(name, conversation, rendered, chat, encoding)
        except ConversationError as error:
            yield RefusedRecord(name, error)


def count(record: EncodedRecord, totals: Totals) -> None:
    """Add an encoded record to the totals."""
    totals.add(record.rendered, record.full_length, record.length)
    totals.untrained += not record.length and record.full_length <= totals.max_length
    totals.left_out_exchanges += record.left_out


def special_text_error(first: str, count: int, total: str) -> DataError:
    """Return the error for ``count`` texts that read as special tokens, and the first of them.

    ``total`` is the number of all texts and their noun.
    """
    return DataError(
        f"{count} of {total} have text that this model can only read as a special token: "
        f"remove it, or use another model. The first is {first}"
    )


def _conversations(
    records: Iterable[Record], pending: deque[tuple[str, Conversation]]
) -> Iterator[Conversation]:
    for record in records:
        conversation = conversation_of(record)
        pending.append((record.id or "", conversation))
        yield conversation


def _limited(
    name: str,
    conversation: Conversation,
    rendered: RenderedExample,
    chat: ChatFormat,
    encoding: Encoding,
) -> EncodedRecord:
    """Return a record within the longest length, as far as the policy shortens it."""
    full, limit = rendered.learnt_length, encoding.max_length
    if full <= limit or encoding.overlong is Overlong.REFUSE:
        return EncodedRecord(name, rendered, full, full if _learns(rendered, full) else 0)
    if encoding.overlong is Overlong.TRUNCATE:
        return EncodedRecord(name, rendered, full, limit if _learns(rendered, limit) else 0)
    if encoding.overlong is Overlong.DROP:
        return EncodedRecord(name, rendered, full, 0)

    def encode(shorter: Conversation) -> RenderedExample:
        train_on = encoding.train_on or TrainOn.COMPLETION
        return chat.encode(shorter, train_on, allow_special_tokens=encoding.allow_special_tokens)

    fitted = fitting(conversation, limit, encode)
    if fitted is None:
        return EncodedRecord(name, rendered, full, 0)
    length = fitted.example.learnt_length
    length = length if _learns(fitted.example, length) else 0
    return EncodedRecord(name, fitted.example, full, length, fitted.left_out)


def _learns(rendered: RenderedExample, length: int) -> bool:
    """Return True if one of the first ``length`` tokens has a loss; the very first has none."""
    return bool(np.any(rendered.mask[1:length]))


@dataclass
class Problems:
    """Reasons to refuse the examples as a whole."""

    refused: int = 0
    """Examples that cannot be rendered or encoded."""
    first_refused: RefusedRecord | None = None
    first_untrainable: str = ""
    """The first example with a turn that cannot be learnt."""
    hopeless: int = 0
    """Examples in which truncation leaves nothing to learn."""

    def add_refused(self, record: RefusedRecord) -> None:
        """Count a record that cannot be rendered or encoded."""
        self.first_refused = self.first_refused or record
        self.refused += 1

    def add(self, record: EncodedRecord, encoding: Encoding) -> None:
        """Count the problems of an example."""
        if record.rendered.untrainable and not self.first_untrainable:
            turns = ", ".join(map(str, record.rendered.untrainable))
            self.first_untrainable = f"{record.id} (messages[{turns}])"
        overlong = record.full_length > encoding.max_length
        self.hopeless += overlong and not record.length

    def raise_any(self, total: str, encoding: Encoding, totals: Totals) -> None:
        """Refuse the examples if a training must not begin with them.

        Args:
            total: Number of all examples, with their noun.
            encoding: Settings of the encoding.
            totals: Totals of the examples.

        Raises:
            DataError: Examples cannot be rendered, or have a turn that cannot be learnt.
            OverlongError: The policy refuses an overlong example.
        """
        if self.first_refused is not None:
            first = f"{self.first_refused.id}: {self.first_refused.error}"
            if isinstance(self.first_refused.error, SpecialTextError):
                raise special_text_error(first, self.refused, total)
            raise DataError(
                f"{self.refused} of {total} cannot be rendered: change or remove them, or use "
                f"another model.chat_template. The first is {first}"
            )
        if totals.untrainable_turns:
            error = untrainable_error(
                totals.untrainable_turns,
                totals.untrainable_examples,
                total,
                encoding.train_on or TrainOn.COMPLETION,
            )
            raise DataError(f"{error}. The first is {self.first_untrainable}")
        if not totals.overlong:
            return
        summary = overlong_text(total, totals)
        if encoding.overlong is Overlong.REFUSE:
            raise OverlongError(
                f"{summary}: raise max_seq_length, or set overlong: truncate, drop or drop_turns"
            )
        if encoding.overlong is Overlong.TRUNCATE and self.hopeless:
            raise OverlongError(
                f"{summary}; truncation would leave nothing to learn in {self.hopeless}: "
                "raise max_seq_length, or set overlong: drop"
            )


def _report(total: str, encoding: Encoding, totals: Totals, what: str, examples: int) -> None:
    """Log the totals, and warn of text that is not learnt."""
    _log.info("%s", totals.summary(what))
    if totals.overlong:
        dropped = totals.examples - totals.untrained - examples
        done = _DONE.get(encoding.overlong) or (
            f"{pluralize(totals.left_out_exchanges, 'exchange')} left out, and "
            f"{pluralize(dropped, 'example')} whose last exchange alone is too long"
        )
        _log.warning("%s: %s", overlong_text(total, totals), done)
    if totals.untrained:
        _log.warning("%d of %s have no trained token and are left out", totals.untrained, total)
    if totals.lost_reasoning:
        _log.warning(
            "the chat template leaves out the reasoning of %d trained turns: they are learnt "
            "without it",
            totals.lost_reasoning,
        )


def overlong_text(total: str, totals: Totals) -> str:
    """Return the count of overlong examples, of ``total`` with its noun."""
    return (
        f"{totals.overlong} of {total} are longer than max_seq_length {totals.max_length} "
        f"(the longest has {max(totals.lengths)} tokens)"
    )


def _nothing_left(total: str, encoding: Encoding, totals: Totals) -> DataError:
    if totals.untrained == 0:
        return DataError(f"all {total} were dropped: raise max_seq_length")
    return DataError(
        f"none of {total} has a token to learn with train_on: {encoding.train_on}: "
        "choose another one, or give messages a weight of 1"
    )

"""Preview of examples: their text, tokens, mask and totals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tailrace.formats.data.record import Record
from tailrace.formats.spec.run_spec import Overlong
from tailrace.formats.spec.train_spec import TrainSpec
from tailrace.formats.wording import pluralize
from training.data.chat_format import ChatFormat
from training.data.encode import (
    EncodedRecord,
    Encoding,
    Problems,
    RefusedRecord,
    count,
    encode_each,
)
from training.data.rendered_example import Span
from training.data.totals import Totals

_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""Characters that steer a terminal, or change the direction of text."""

_WIDTH = 100
"""Length of a line of token ids."""


@dataclass(frozen=True)
class Marks:
    """Texts around what is trained."""

    begin: str
    end: str


COLOURS = Marks("\x1b[32m", "\x1b[0m")
"""Marks for terminals: green."""

BRACKETS = Marks("⟦", "⟧")
"""Marks for files and pipes."""


class Preview:
    """Examples as a training would see them, with their totals.

    Records are encoded once, by :meth:`lines` or :meth:`document`.
    """

    def __init__(self, records: Sequence[Record], chat: ChatFormat, train: TrainSpec) -> None:
        """Take the records, the model's chat format, and the settings of the training."""
        self._records, self._chat = records, chat
        self._encoding = Encoding.of(train).for_records(records)
        self._totals = Totals(self._encoding.max_length)
        self._problems = Problems()

    def lines(self, most: int, *, in_colour: bool) -> Iterator[str]:
        """Yield the lines that show the first ``most`` examples, then the totals.

        Raises:
            DataError: A record has no answer to imitate.
            ModelConfigError: The template exceeds a limit.
        """
        marks = COLOURS if in_colour else BRACKETS
        for record in self._shown(most):
            yield from example_lines(record, self._encoding, marks)
            yield ""
        yield from totals_lines(self._totals, self._encoding)
        if self._problems.refused:
            further = "further " if self._totals.examples else ""
            lines = pluralize(self._problems.refused, f"{further}line")
            yield f"{lines} cannot be rendered; the first is {visible(self._first_refused)}"

    def document(self, most: int) -> dict[str, Any]:
        """Return the first ``most`` examples and the totals as plain data.

        Errors are those of :meth:`lines`.
        """
        examples = [_plain(record) for record in self._shown(most)]
        refused = {"refused": self._problems.refused, "first_refused": self._first_refused}
        return {
            "train_on": str(self._encoding.train_on),
            "examples": examples,
            "totals": {**self._totals.to_mapping(), **refused},
        }

    def check(self) -> None:
        """Refuse the records if a training on them would; call it after the others.

        Raises:
            DataError: The reason, as a training has it.
        """
        total = pluralize(self._totals.examples + self._problems.refused, "line")
        self._problems.raise_any(total, self._encoding, self._totals)

    @property
    def _first_refused(self) -> str:
        record = self._problems.first_refused
        return f"{record.id}: {record.error}" if record else ""

    def _shown(self, most: int) -> Iterator[EncodedRecord]:
        """Yield the first examples, and count all."""
        number = 0
        for record in encode_each(self._records, self._chat, self._encoding):
            if isinstance(record, RefusedRecord):
                self._problems.add_refused(record)
                continue
            count(record, self._totals)
            self._problems.add(record, self._encoding)
            number += 1
            if number <= most:
                yield record


def example_lines(record: EncodedRecord, encoding: Encoding, marks: Marks) -> Iterator[str]:
    """Yield the lines that show an example: facts, its text, and its token ids.

    Trained text and the ids of trained tokens are between ``marks``.
    """
    rendered, mask = record.rendered, record.rendered.mask.copy()
    # Nothing comes before the first token, so that it is not predicted.
    mask[:1] = False
    count_up_to_last = record.full_length or len(rendered.tokens)
    rest = len(rendered.tokens) - count_up_to_last
    more = f" and {rest} after the last trained one" if rest else ""
    facts = [f"{pluralize(count_up_to_last, 'token')}{more}", f"{np.count_nonzero(mask)} trained"]
    facts += _remarks(record, encoding)
    yield f"── {visible(record.id)}: {', '.join(facts)}"
    yield marked_text(rendered.text, trained_spans(rendered.spans, mask), marks)
    yield "── token ids"
    yield from _id_lines(rendered.tokens, mask, marks)


def trained_spans(spans: NDArray[np.int64], mask: NDArray[np.bool_]) -> list[Span]:
    """Return the parts of the text whose tokens are trained; neighbouring ones are merged."""
    parts: list[Span] = []
    last = -2
    for index in np.flatnonzero(mask).tolist():
        begin, end = spans[index].tolist()
        if index == last + 1:
            parts[-1] = (parts[-1][0], max(end, parts[-1][1]))
        else:
            parts.append((begin, end))
        last = index
    return parts


def marked_text(text: str, parts: Sequence[Span], marks: Marks) -> str:
    """Return a text with marks around parts, and visible control characters."""
    pieces, position = [], 0
    for begin, end in parts:
        # The tokens of an emoji share its character.
        begin = max(begin, position)
        inside = visible(text[begin:end])
        pieces += [visible(text[position:begin]), marks.begin, inside, marks.end]
        position = max(end, position)
    return "".join([*pieces, visible(text[position:])])


def totals_lines(totals: Totals, encoding: Encoding) -> Iterator[str]:
    """Yield the lines that show totals."""
    shares = ", ".join(f"{role} {share:.1%}" for role, share in totals.loss_share.items())
    trained = totals.trained_tokens / max(1, totals.tokens)
    lengths = totals.length_percentiles
    facts = {
        "train_on": str(encoding.train_on),
        "tokens": f"{totals.tokens:,}",
        "trained tokens": f"{totals.trained_tokens:,} ({trained:.1%})",
        "share of loss": shares or "none",
        f"longer than max_seq_length {totals.max_length}": (
            f"{totals.overlong:,} (overlong: {encoding.overlong})"
        ),
        "without a trained token": f"{totals.untrained:,}",
        "tokens of an example": (
            f"median {lengths['p50']}, 90 % {lengths['p90']}, 99 % {lengths['p99']}, "
            f"longest {lengths['max']}"
            if lengths
            else ""
        ),
    }
    yield f"── totals of {pluralize(totals.examples, 'example')}"
    width = max(map(len, facts))
    yield from (f"{name:{width}}  {fact}" for name, fact in facts.items() if fact)
    if totals.left_out_exchanges:
        yield f"{pluralize(totals.left_out_exchanges, 'exchange')} left out by overlong: drop_turns"
    if totals.untrainable_turns:
        turns = pluralize(totals.untrainable_turns, "assistant turn")
        yield (
            f"{turns} in {pluralize(totals.untrainable_examples, 'example')} cannot be learnt, "
            "because the chat template rewrites them: train_on: last_assistant learns the last one"
        )
    if totals.lost_reasoning:
        turns = pluralize(totals.lost_reasoning, "trained turn")
        yield f"{turns} without their reasoning, which the chat template leaves out"


def _plain(record: EncodedRecord) -> dict[str, Any]:
    """Return an example as plain data."""
    rendered = record.rendered
    return {
        "id": record.id,
        "text": rendered.text,
        "tokens": rendered.tokens.tolist(),
        "mask": rendered.mask.tolist(),
        "spans": rendered.spans.tolist(),
        "roles": [None if role is None else str(role) for role in rendered.roles],
        "length": record.length,
        "untrainable": list(rendered.untrainable),
        "lost_reasoning": list(rendered.lost_reasoning),
    }


def _remarks(record: EncodedRecord, encoding: Encoding) -> Iterator[str]:
    """Yield what is special about an example."""
    if record.full_length > encoding.max_length:
        yield f"longer than max_seq_length {encoding.max_length} ({_fate(record, encoding)})"
    elif not record.length:
        yield "left out: no trained token"
    if record.rendered.untrainable:
        yield f"cannot be learnt: {_messages(record.rendered.untrainable)}"
    if record.rendered.lost_reasoning:
        yield f"reasoning left out of {_messages(record.rendered.lost_reasoning)}"


def _fate(record: EncodedRecord, encoding: Encoding) -> str:
    if encoding.overlong is Overlong.REFUSE:
        return "a training refuses it"
    if not record.length:
        return "dropped"
    if record.left_out:
        return f"{pluralize(record.left_out, 'exchange')} left out"
    return f"cut after {record.length} tokens"


def _messages(indices: Sequence[int]) -> str:
    return ", ".join(f"messages[{index}]" for index in indices)


def _id_lines(tokens: NDArray[np.int32], mask: NDArray[np.bool_], marks: Marks) -> Iterator[str]:
    """Yield lines of token ids with marks around trained ones, closed at the end of a line."""
    line: list[str] = []
    width, is_marked = 0, False
    for token, trained in zip(tokens.tolist(), mask.tolist(), strict=True):
        text = str(token)
        if line and width + len(text) + 1 > _WIDTH:
            yield " ".join(line) + (marks.end if is_marked else "")
            line, width, is_marked = [], 0, False
        if trained and not is_marked:
            text = marks.begin + text
        elif is_marked and not trained:
            line[-1] += marks.end
        is_marked = trained
        line.append(text)
        width += len(str(token)) + 1
    if line:
        yield " ".join(line) + (marks.end if is_marked else "")


def visible(text: str) -> str:
    """Return a text whose control characters are written as escapes."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)

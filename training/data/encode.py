"""Encoding of records as token sequences, and the policy for overlong examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tailrace.formats.data.record import Record
from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import Overlong
from training.data.chat_format import ChatFormat, SpecialTextError
from training.data.rendering import render_response
from training.errors import DataError, OverlongError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Example:
    """One encoded record."""

    tokens: NDArray[np.int32]
    """Tokens of the whole example, [T]."""
    mask: NDArray[np.bool_]
    """True for tokens that the model learns to write, [T]."""

    @classmethod
    def of(cls, tokens: Sequence[int], prompt_length: int) -> Example:
        """Return an example whose tokens after the first ``prompt_length`` are learnt."""
        mask = np.arange(len(tokens)) >= prompt_length
        return cls(np.asarray(tokens, np.int32), mask)

    @property
    def inputs(self) -> int:
        """Number of tokens that a model reads: the last one is only predicted."""
        return len(self.tokens) - 1


@dataclass(frozen=True)
class EncodedExamples:
    """Encoded examples of one part of a dataset."""

    examples: list[Example]
    overlong: int
    """Number of examples that were truncated or dropped."""


def encode_records(
    records: Sequence[Record],
    chat: ChatFormat,
    max_length: int,
    overlong: Overlong,
    what: str = "examples",
) -> EncodedExamples:
    """Encode each record in the model's chat format, and apply the policy for overlong examples.

    Args:
        records: The records.
        chat: The model's chat format.
        max_length: Longest example in tokens: prompt, response and end of turn.
        overlong: Policy for longer examples.
        what: Noun for the records in messages.

    Raises:
        OverlongError: The policy refuses an example, or truncation would leave no response.
        DataError: No example is left, or a text spells a special token and cannot be encoded.
    """
    examples: list[Example] = []
    counts = {"over": 0, "hopeless": 0, "longest": 0}
    for prompt, response in _encode_all(records, chat, what):
        tokens = (*prompt, *response)
        counts["longest"] = max(counts["longest"], len(tokens))
        if len(tokens) > max_length:
            counts["over"] += 1
            counts["hopeless"] += len(prompt) >= max_length
            if overlong is Overlong.DROP:
                continue
            tokens = tokens[:max_length]
        examples.append(Example.of(tokens, len(prompt)))
    _check_lengths(counts, f"{len(records)} {what}", max_length, overlong)
    if not examples:
        raise DataError(f"all {len(records)} {what} were dropped: raise max_seq_length")
    return EncodedExamples(examples, counts["over"])


def _encode_all(
    records: Sequence[Record], chat: ChatFormat, what: str
) -> list[tuple[list[int], list[int]]]:
    encoded, refused = [], []
    for record in records:
        if not isinstance(record, Trace):
            raise DataError("supervised fine-tuning takes traces only")
        try:
            encoded.append(chat.example(record.prompt, render_response(record)))
        except SpecialTextError as error:
            refused.append(f"{record.id}: {error}")
    if refused:
        raise special_text_error(refused, f"{len(records)} {what}")
    return encoded


def special_text_error(refused: Sequence[str], total: str) -> DataError:
    """Return the error for texts that read as special tokens; it shows the first."""
    return DataError(
        f"{len(refused)} of {total} have text that this model can only read as a special token: "
        f"remove it, or use another model. The first is {refused[0]}"
    )


def _check_lengths(counts: dict[str, int], total: str, max_length: int, overlong: Overlong) -> None:
    if not counts["over"]:
        return
    summary = (
        f"{counts['over']} of {total} are longer than max_seq_length {max_length} "
        f"(the longest has {counts['longest']} tokens)"
    )
    if overlong is Overlong.REFUSE:
        raise OverlongError(f"{summary}: raise max_seq_length, or set overlong: truncate or drop")
    if overlong is Overlong.TRUNCATE and counts["hopeless"]:
        raise OverlongError(
            f"{summary}; truncation would leave no response in {counts['hopeless']}: "
            "raise max_seq_length, or set overlong: drop"
        )
    _log.warning("%s: %s", summary, "dropped" if overlong is Overlong.DROP else "truncated")

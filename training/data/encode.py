"""Encoding of records as token sequences, and the policy for overlong examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.data.record import Record
from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import Overlong
from training.data.chat_format import ChatFormat, SpecialTextError
from training.data.example_store import Example, ExampleStore, ExampleWriter
from training.data.rendering import render_response
from training.errors import DataError, OverlongError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class EncodedExamples:
    """Encoded examples of one part of a dataset."""

    examples: ExampleStore
    overlong: int
    """Number of examples that were truncated or dropped."""

    @classmethod
    def none(cls) -> EncodedExamples:
        """Return the examples of no record."""
        return cls(ExampleWriter().finish(), 0)


@dataclass
class _Lengths:
    """Counts of examples by length."""

    over: int = 0
    """Examples that are too long."""
    hopeless: int = 0
    """Examples whose prompt alone is too long."""
    longest: int = 0
    """Tokens of the longest example."""


def encode_records(
    records: Sequence[Record],
    chat: ChatFormat,
    max_length: int,
    overlong: Overlong,
    what: str = "examples",
    folder: Path | None = None,
) -> EncodedExamples:
    """Encode each record in the model's chat format, and apply the policy for overlong examples.

    Records are read one by one, and their tokens are kept in a file.

    Args:
        records: The records.
        chat: The model's chat format.
        max_length: Longest example in tokens: prompt, response and end of turn.
        overlong: Policy for longer examples.
        what: Noun for the records in messages.
        folder: Folder for the file of tokens (default: the system's for temporary files).

    Raises:
        OverlongError: The policy refuses an example, or truncation would leave no response.
        DataError: No example is left, or a text spells a special token and cannot be encoded.
        OSError: The file of tokens cannot be written.
    """
    writer = ExampleWriter(folder)
    try:
        lengths = _encode_all(records, chat, max_length, overlong, what, writer)
        _check_lengths(lengths, f"{len(records)} {what}", max_length, overlong)
        if not len(writer):
            raise DataError(f"all {len(records)} {what} were dropped: raise max_seq_length")
        return EncodedExamples(writer.finish(), lengths.over)
    finally:
        writer.close()


def _encode_all(
    records: Sequence[Record],
    chat: ChatFormat,
    max_length: int,
    overlong: Overlong,
    what: str,
    writer: ExampleWriter,
) -> _Lengths:
    """Write the examples of all records that have at most ``max_length`` tokens or are cut."""
    lengths = _Lengths()
    refused, first_refusal = 0, ""
    for record in records:
        if not isinstance(record, Trace):
            raise DataError("supervised fine-tuning takes traces only")
        try:
            prompt, response = chat.example(record.prompt, render_response(record))
        except SpecialTextError as error:
            first_refusal = first_refusal or f"{record.id}: {error}"
            refused += 1
            continue
        tokens = (*prompt, *response)
        lengths.longest = max(lengths.longest, len(tokens))
        if len(tokens) > max_length:
            lengths.over += 1
            lengths.hopeless += len(prompt) >= max_length
            if overlong is not Overlong.TRUNCATE:
                continue
            tokens = tokens[:max_length]
        writer.add(Example.of(tokens, len(prompt)))
    if refused:
        raise special_text_error(first_refusal, refused, f"{len(records)} {what}")
    return lengths


def special_text_error(first: str, count: int, total: str) -> DataError:
    """Return the error for ``count`` texts that read as special tokens, and the first of them."""
    return DataError(
        f"{count} of {total} have text that this model can only read as a special token: "
        f"remove it, or use another model. The first is {first}"
    )


def _check_lengths(lengths: _Lengths, total: str, max_length: int, overlong: Overlong) -> None:
    if not lengths.over:
        return
    summary = (
        f"{lengths.over} of {total} are longer than max_seq_length {max_length} "
        f"(the longest has {lengths.longest} tokens)"
    )
    if overlong is Overlong.REFUSE:
        raise OverlongError(f"{summary}: raise max_seq_length, or set overlong: truncate or drop")
    if overlong is Overlong.TRUNCATE and lengths.hopeless:
        raise OverlongError(
            f"{summary}; truncation would leave no response in {lengths.hopeless}: "
            "raise max_seq_length, or set overlong: drop"
        )
    _log.warning("%s: %s", summary, "dropped" if overlong is Overlong.DROP else "truncated")

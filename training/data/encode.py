"""From traces to token sequences: encoding and overlong examples."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import Overlong
from training.data.chat_format import ChatFormat, SpecialTextError
from training.data.rendering import render_response
from training.errors import DataError, OverlongError

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One encoded trace."""

    tokens: tuple[int, ...]
    """Prompt, response and the end of the turn."""
    prompt_length: int
    """How many of them are the prompt; they carry no loss."""

    @property
    def inputs(self) -> int:
        """Tokens that a model reads of it: all but the last, which is only predicted."""
        return len(self.tokens) - 1


@dataclass(frozen=True)
class Encoded:
    """The examples to train on."""

    examples: list[Example]
    overlong: int
    """Examples that were truncated or dropped."""


def encode_traces(
    traces: Sequence[Trace],
    chat: ChatFormat,
    max_length: int,
    overlong: Overlong,
    what: str = "examples",
) -> Encoded:
    """Encode each trace as the model's chat format writes it, and treat overlong ones.

    ``max_length`` counts prompt, response and end of turn; ``what`` is what messages call the
    traces. Raises :class:`training.errors.OverlongError` when the policy refuses, or when
    truncation would leave nothing of a response, and :class:`training.errors.DataError` when
    nothing is left and for text that spells a special token and cannot be encoded as text.
    """
    examples: list[Example] = []
    counts = {"over": 0, "hopeless": 0, "longest": 0}
    for prompt, response in _encode_all(traces, chat, what):
        tokens = (*prompt, *response)
        counts["longest"] = max(counts["longest"], len(tokens))
        if len(tokens) > max_length:
            counts["over"] += 1
            counts["hopeless"] += len(prompt) >= max_length
            if overlong is Overlong.DROP:
                continue
            tokens = tokens[:max_length]
        examples.append(Example(tokens, len(prompt)))
    _check_lengths(counts, f"{len(traces)} {what}", max_length, overlong)
    if not examples:
        raise DataError(f"all {len(traces)} {what} were dropped: raise max_seq_length")
    return Encoded(examples, counts["over"])


def _encode_all(
    traces: Sequence[Trace], chat: ChatFormat, what: str
) -> list[tuple[list[int], list[int]]]:
    encoded, refused = [], []
    for trace in traces:
        try:
            encoded.append(chat.example(trace.prompt, render_response(trace)))
        except SpecialTextError as error:
            refused.append(f"{trace.id}: {error}")
    if refused:
        raise special_text_error(refused, f"{len(traces)} {what}")
    return encoded


def special_text_error(refused: Sequence[str], total: str) -> DataError:
    """Return the error for texts that cannot be told from special tokens; the first is shown."""
    return DataError(
        f"{len(refused)} of {total} hold text that this model can only read as a special token: "
        f"take it out of them, or take another model. The first, {refused[0]}"
    )


def _check_lengths(counts: dict[str, int], total: str, max_length: int, overlong: Overlong) -> None:
    if not counts["over"]:
        return
    found = (
        f"{counts['over']} of {total} are longer than max_seq_length {max_length} "
        f"(the longest has {counts['longest']} tokens)"
    )
    if overlong is Overlong.REFUSE:
        raise OverlongError(f"{found}: raise max_seq_length, or set overlong: truncate or drop")
    if overlong is Overlong.TRUNCATE and counts["hopeless"]:
        raise OverlongError(
            f"{found}; of {counts['hopeless']} nothing of the response would be left: "
            "raise max_seq_length, or set overlong: drop"
        )
    _log.warning("%s: %s", found, "dropped" if overlong is Overlong.DROP else "truncated")

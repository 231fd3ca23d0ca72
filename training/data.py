"""From traces to batches: encoding, overlong examples, shuffling, padding.

Shapes: K steps, B rows, T tokens.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from tailrace.formats.run_spec import Overlong
from tailrace.formats.trace import Trace
from training.errors import DataError, OverlongError
from training.rendering import render_prompt, render_response
from training.tokenizer import encode

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """One encoded trace."""

    tokens: tuple[int, ...]
    """Prompt, response and end-of-sequence token."""
    prompt_length: int
    """How many of them are the prompt; they carry no loss."""


@dataclass(frozen=True)
class Encoded:
    """The examples to train on."""

    examples: list[Example]
    overlong: int
    """Examples that were truncated or dropped."""


class Batch(NamedTuple):
    """Rows for the optimizer; stacked over K steps for one compiled call."""

    tokens: NDArray[np.int32]
    """Inputs, [K, B, T], padded on the right."""
    targets: NDArray[np.int32]
    """The token after each input, [K, B, T]."""
    weights: NDArray[np.float32]
    """1 where the target belongs to a response, else 0, [K, B, T]."""


def encode_traces(
    traces: Sequence[Trace],
    tokenizer: PreTrainedTokenizerBase,
    max_length: int,
    overlong: Overlong,
) -> Encoded:
    """Encode prompt and response of each trace apart, and apply the policy for overlong ones.

    ``max_length`` counts prompt, response and end-of-sequence token. Raises
    :class:`training.errors.OverlongError` when the policy refuses, or when truncation would leave
    nothing of a response, and :class:`training.errors.DataError` when nothing is left.
    """
    examples: list[Example] = []
    counts = {"over": 0, "hopeless": 0, "longest": 0}
    for trace in traces:
        prompt = encode(tokenizer, render_prompt(tokenizer, trace.prompt))
        response = [*encode(tokenizer, render_response(trace)), int(tokenizer.eos_token_id)]
        tokens = (*prompt, *response)
        counts["longest"] = max(counts["longest"], len(tokens))
        if len(tokens) > max_length:
            counts["over"] += 1
            counts["hopeless"] += len(prompt) >= max_length
            if overlong is Overlong.DROP:
                continue
            tokens = tokens[:max_length]
        examples.append(Example(tokens, len(prompt)))
    _check_lengths(counts, len(traces), max_length, overlong)
    if not examples:
        raise DataError(f"all {len(traces)} examples were dropped: raise max_seq_length")
    return Encoded(examples, counts["over"])


def _check_lengths(counts: dict[str, int], total: int, max_length: int, overlong: Overlong) -> None:
    if not counts["over"]:
        return
    found = (
        f"{counts['over']} of {total} examples are longer than max_seq_length {max_length} "
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


def bucket(length: int) -> int:
    """The padded length for ``length`` tokens: 16, 32, 48, 64, 96, 128, 192, 256, 384, and so on.

    Few lengths mean few compiled programs; at most half of the row is padding.
    """
    size = 16
    while size < length:
        # Powers of two and the middles between them.
        size = size * 3 // 2 if size & (size - 1) == 0 and size > 16 else _next_power(size)
    return size


def _next_power(size: int) -> int:
    return 1 << size.bit_length()


class BatchStream:
    """The batches of every step, by step number alone, so that training can resume anywhere.

    Each epoch visits every example once, in an order seeded with (``seed``, epoch). The last batch
    of an epoch is filled up with rows of weight zero.
    """

    def __init__(self, examples: Sequence[Example], batch_size: int, seed: int) -> None:
        self._examples = examples
        self._batch_size = batch_size
        self._seed = seed
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass over the examples."""
        return -(-len(self._examples) // self._batch_size)

    def rows(self, step: int) -> list[Example]:
        """The examples of one step (counted from 0), at most ``batch_size``."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._order[0] != epoch:
            generator = np.random.default_rng([self._seed, epoch])
            self._order = (epoch, generator.permutation(len(self._examples)))
        chosen = self._order[1][index * self._batch_size : (index + 1) * self._batch_size]
        return [self._examples[i] for i in chosen]

    def batch(self, first: int, count: int) -> tuple[Batch, int]:
        """The batches of ``count`` steps from ``first``, and their number of non-padding tokens.

        All rows are padded to the bucket of the longest.
        """
        steps = [self.rows(step) for step in range(first, first + count)]
        longest = max(len(example.tokens) - 1 for rows in steps for example in rows)
        shape = (count, self._batch_size, bucket(longest))
        made = Batch(
            np.zeros(shape, np.int32), np.zeros(shape, np.int32), np.zeros(shape, np.float32)
        )
        for k, rows in enumerate(steps):
            for b, example in enumerate(rows):
                length = len(example.tokens) - 1
                made.tokens[k, b, :length] = example.tokens[:-1]
                made.targets[k, b, :length] = example.tokens[1:]
                # The target at position p is token p + 1: the response starts one before its own.
                made.weights[k, b, example.prompt_length - 1 : length] = 1
        return made, sum(len(example.tokens) for rows in steps for example in rows)

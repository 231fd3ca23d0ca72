"""Encoded examples, and their store in a temporary file instead of memory."""

from __future__ import annotations

import hashlib
import mmap
import tempfile
from abc import abstractmethod
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from tailrace.formats.canonical import canonical_json

_BUFFER = 1 << 20
_WORD_BITS = 32


class TopTokens(NamedTuple):
    """A teacher's likeliest tokens at places of text, the likeliest first."""

    tokens: NDArray[np.int32]
    """Ids of k tokens, [..., k]."""
    log_probs: NDArray[np.float32]
    """Their log-probabilities, and last that of all other tokens together, [..., k + 1]."""


@dataclass(frozen=True, eq=False)
class Example:
    """One encoded record."""

    tokens: NDArray[np.int32]
    """Tokens of the whole example, [T]."""
    mask: NDArray[np.bool_]
    """True for tokens that the model learns to write, [T]."""
    other: Example | None = None
    """Second answer to the same prompt: the rejected one of a preference, or a mismatched one of
    feedback."""
    reference: NDArray[np.float32] | None = None
    """Log-probabilities of both answers under the starting model, [2]."""
    label: bool = True
    """False for an answer that feedback calls bad."""
    taught: TopTokens | None = None
    """A teacher's likeliest tokens in place of each learnt one, [L, ...]."""

    @classmethod
    def of(cls, tokens: Sequence[int], prompt_length: int) -> Example:
        """Return an example whose tokens after the first ``prompt_length`` are learnt."""
        mask = np.arange(len(tokens)) >= prompt_length
        return cls(np.asarray(tokens, np.int32), mask)

    @property
    def inputs(self) -> int:
        """Number of tokens that a model reads: the last one is only predicted.

        Of two answers the longer one counts.
        """
        answers = (self, self.other) if self.other is not None else (self,)
        return max(len(answer.tokens) for answer in answers) - 1

    @property
    def total(self) -> int:
        """Number of tokens, those of a second answer included."""
        return len(self.tokens) + (0 if self.other is None else len(self.other.tokens))

    @property
    def trained(self) -> int:
        """Number of tokens with a loss: the first one is never predicted."""
        return int(np.count_nonzero(self.mask[1:]))


class StoredExamples(Sequence[Example]):
    """Examples that are read on demand, with facts of all of them in memory."""

    lengths: NDArray[np.uint32]
    """Number of tokens of each example; of two answers, that of the longer one."""
    totals: NDArray[np.uint32]
    """Number of tokens of each example, those of a second answer included."""
    digest: str
    """Sha256 of the canonical JSON of all tokens, as in checkpoints of earlier releases."""
    largest_token: int
    """Largest token id; 0 without examples."""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self._read(i) for i in range(*index.indices(len(self)))]
        return self._read(index)

    @abstractmethod
    def _read(self, index: int) -> Example:
        """Return the example with an index from 0."""

    def __iter__(self) -> Iterator[Example]:
        return (self[i] for i in range(len(self)))


class ExampleStore(StoredExamples):
    """Examples in a memory-mapped file without a name, which ends with the store.

    An example's arrays are views of the file: 12 bytes an example are in memory.
    """

    def __init__(
        self, words: NDArray[np.int32], lengths: array[int], digest: str, largest_token: int
    ) -> None:
        """Take what :class:`ExampleWriter` has written; see :meth:`ExampleWriter.finish`."""
        self._words = words
        self.lengths = self.totals = np.frombuffer(lengths, np.uint32)
        sizes = self.lengths + _mask_words(self.lengths)
        self._starts = np.cumsum(sizes, dtype=np.int64) - sizes
        self.digest = digest
        self.largest_token = largest_token

    def __len__(self) -> int:
        return len(self.lengths)

    def _read(self, index: int) -> Example:
        length, start = int(self.lengths[index]), int(self._starts[index])
        middle = start + length
        bits = self._words[middle : middle + _mask_words(length)].view(np.uint8)
        mask = np.unpackbits(bits, count=length).view(np.bool_)
        return Example(self._words[start:middle], mask)

    @property
    def content_digest(self) -> str:
        """Sha256 of all tokens and masks."""
        digest = hashlib.sha256(np.ascontiguousarray(self.lengths, "<u4").data)
        digest.update(np.ascontiguousarray(self._words, "<i4").data)
        return digest.hexdigest()


class TaughtStore(StoredExamples):
    """Examples with a teacher's likeliest tokens in place of the learnt ones."""

    def __init__(self, examples: StoredExamples, taught: TopTokens) -> None:
        """Take the tokens for the learnt ones of all examples, one after another."""
        self._examples = examples
        self._taught = taught
        self._ends = np.cumsum(trained_counts(examples))
        self.lengths, self.totals = examples.lengths, examples.totals
        self.digest, self.largest_token = examples.digest, examples.largest_token

    def __len__(self) -> int:
        return len(self._examples)

    def _read(self, index: int) -> Example:
        example = self._examples[index]
        place = slice(int(self._ends[index]) - example.trained, int(self._ends[index]))
        taught = TopTokens(self._taught.tokens[place], self._taught.log_probs[place])
        return replace(example, taught=taught)


def trained_counts(examples: Sequence[Example]) -> NDArray[np.int64]:
    """Return the number of learnt tokens of each example."""
    return np.asarray([example.trained for example in examples], np.int64)


class ExampleWriter:
    """Writer of an :class:`ExampleStore`.

    The file is a sequence of 32-bit words: the tokens of each example, then its mask as bits.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """Create the file in a folder (default: the system's for temporary files).

        Raises:
            OSError: The file cannot be created.
        """
        # The file has no name, so that it is gone after a crash, too.
        self._file = tempfile.TemporaryFile(dir=folder, buffering=_BUFFER)  # noqa: SIM115
        self._lengths = array("I")
        self._largest = 0
        self._digest = hashlib.sha256(b"[")

    def __len__(self) -> int:
        return len(self._lengths)

    def add(self, example: Example) -> None:
        """Append an example.

        Raises:
            OSError: The file cannot be written.
        """
        tokens = np.ascontiguousarray(example.tokens, "<i4")
        length = len(tokens)
        separator = "," if self._lengths else ""
        self._digest.update(f"{separator}{canonical_json(tokens.tolist())}".encode())
        bits = np.zeros(_mask_words(length) * _WORD_BITS // 8, np.uint8)
        packed = np.packbits(example.mask)
        bits[: len(packed)] = packed
        self._file.write(tokens.data)
        self._file.write(bits.data)
        self._lengths.append(length)
        self._largest = max(self._largest, int(tokens.max(initial=0)))

    def finish(self) -> ExampleStore:
        """Return the store of all examples; the writer is closed.

        Raises:
            OSError: The file cannot be written.
        """
        with self._file:
            self._file.flush()
            words = np.empty(0, np.int32)
            if self._lengths:
                content = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
                words = np.frombuffer(content, "<i4").view(np.int32)
        self._digest.update(b"]")
        return ExampleStore(words, self._lengths, self._digest.hexdigest(), self._largest)

    def close(self) -> None:
        """Delete the file of an unfinished store."""
        self._file.close()


def token_counts(examples: Sequence[Example]) -> NDArray[np.int64]:
    """Return the number of tokens of each example, without reading those of a store.

    Of two answers the longer one counts.
    """
    if isinstance(examples, StoredExamples):
        return examples.lengths.astype(np.int64)
    return np.asarray([example.inputs + 1 for example in examples], np.int64)


def total_tokens(examples: Sequence[Example]) -> int:
    """Return the number of tokens of all examples, those of second answers included."""
    if isinstance(examples, StoredExamples):
        return int(examples.totals.sum(dtype=np.int64))
    return sum(example.total for example in examples)


@overload
def _mask_words(length: int) -> int: ...
@overload
def _mask_words(length: NDArray[np.uint32]) -> NDArray[np.uint32]: ...
def _mask_words(length: int | NDArray[np.uint32]) -> int | NDArray[np.uint32]:
    """Return the number of words that hold a bit for each token."""
    return (length + (_WORD_BITS - 1)) // _WORD_BITS

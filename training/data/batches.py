"""Batches of examples: their order and their layout in rows.

Shapes: K steps, B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tailrace.formats.spec.run_spec import TrainSpec
from training.data.example_store import Example, TopTokens, token_counts, total_tokens
from training.data.packing import Groups, bucket, pack

_POOL = 50
"""Number of batches whose examples are sorted together to group them by length."""

_LANES = 16
"""Divisor of the length of packed rows."""


class SampledValues(NamedTuple):
    """Values of rows that are sampled answers.

    Log-probabilities are 0 for tokens without a weight.
    """

    answers: NDArray[np.float32]
    """1 for rows that are answers, 0 for padding, [K, B]."""
    advantages: NDArray[np.float32]
    """Advantages of the answers, [K, B]."""
    token_share: NDArray[np.float32]
    """1 over the number of tokens with a weight in the whole batch, in each row, [K, B]."""
    sampler: NDArray[np.float32]
    """Log-probabilities of the targets at sampling, [K, B, T]."""
    old: NDArray[np.float32] | None = None
    """The same by the program that trains; None for those of the step itself, [K, B, T]."""
    reference: NDArray[np.float32] | None = None
    """Log-probabilities under the starting model, [K, B, T]; None if no loss reads them."""


class Batch(NamedTuple):
    """Rows for the optimizer; stacked over K steps for one compiled call."""

    tokens: NDArray[np.int32]
    """Inputs, [K, B, T], padded on the right; [K, B, 2, T] for pairs of answers."""
    targets: NDArray[np.int32]
    """The token after each input, in the shape of ``tokens``."""
    weights: NDArray[np.float32]
    """1 where the target is a token that the model learns, else 0, in the shape of ``tokens``."""
    segments: NDArray[np.int32] | None = None
    """Packed rows only: number of the token's example in its row, from 1; 0 is padding."""
    positions: NDArray[np.int32] | None = None
    """Packed rows only: position of the token in its example, from 0."""
    reference: NDArray[np.float32] | None = None
    """Pairs only: log-probabilities of both answers under the starting model, [K, B, 2]."""
    labels: NDArray[np.float32] | None = None
    """Feedback only: 1 for good answers, else 0, [K, B]."""
    baseline: NDArray[np.float32] | None = None
    """Feedback only: figure of the whole batch that rewards are compared with, in each row,
    [K, B]."""
    sampled: SampledValues | None = None
    """Sampled answers only: their advantages and log-probabilities."""
    lengths: NDArray[np.int32] | None = None
    """Rows of one example only: number of its inputs, [K, B]; [K, B, 2] for pairs."""
    taught: TopTokens | None = None
    """A teacher's likeliest tokens in place of the targets, [K, B, T, ...]; zeros for tokens
    without a weight."""
    groups: Groups | None = None
    """Answers to common prompts only, where it pays: their distinct tokens. Row s · G + g is answer
    s of group g; a pair is a group."""


class StepBatches(NamedTuple):
    """Rows for the steps of a compiled call."""

    rows: Batch | None
    """Stacked rows; None if there is nothing to learn, so that the steps make no update."""
    tokens: int
    """Number of non-padding tokens in all steps."""
    metrics: dict[str, float] = {}
    """Figures of the source by name, the same for all steps."""
    seconds: float = 0.0
    """Time that sampling took, which is not the steps' own."""


class AnswerSizes(NamedTuple):
    """Sizes of the answers that a source samples, from which its memory follows."""

    rows: int
    """Answers that are generated together."""
    columns: int
    """Largest number of tokens of an answer and its prompt whose keys and values are cached."""
    prompts: int
    """Prompts that are read together."""
    prompt: int
    """Largest number of tokens of a prompt, with padding."""

    def part(self, groups: int) -> AnswerSizes:
        """Return the sizes on one of ``groups`` devices that each take a part of the answers."""
        rows, prompts = (-(-count // groups) for count in (self.rows, self.prompts))
        return self._replace(rows=rows, prompts=prompts)


@dataclass(frozen=True)
class Collator:
    """Layout of the examples of a step in rows."""

    batch_size: int
    """Largest number of examples in a step."""
    row_length: int | None = None
    """Longest example in tokens, for rows with several examples; None for one example a row."""

    @classmethod
    def of(cls, spec: TrainSpec) -> Collator:
        """Return the collator that a spec describes."""
        return cls(spec.batch_size, spec.max_seq_length if spec.packing else None)

    def collate(self, steps: Sequence[Sequence[Example]], multiple: int = 1) -> Batch:
        """Return the rows of K steps, which share a shape; padding has weight zero.

        The number of packed rows is a multiple of ``multiple``; without packing it is
        ``batch_size``.
        """
        if self.row_length is None:
            longest = max(example.inputs for examples in steps for example in examples)
            rows = [[[example] for example in examples] for examples in steps]
            return _fill(rows, (len(steps), self.batch_size, bucket(longest)), packed=False)
        width = self._width(steps, self.row_length)
        rows = [
            [[examples[i] for i in chosen] for chosen in pack([e.inputs for e in examples], width)]
            for examples in steps
        ]
        count = bucket(max(len(step_rows) for step_rows in rows), smallest=1)
        count = -(-count // multiple) * multiple
        return _fill(rows, (len(steps), count, width), packed=True)

    def _width(self, steps: Sequence[Sequence[Example]], row_length: int) -> int:
        """Return the length of packed rows: at most the tokens of a whole step."""
        total = max(sum(example.inputs for example in examples) for examples in steps)
        return min(-(-(row_length - 1) // _LANES) * _LANES, bucket(total))


class BatchSource(Protocol):
    """Source of a training's batches."""

    @property
    def batch_size(self) -> int:
        """Largest number of examples in a step."""
        ...

    @property
    def longest(self) -> int:
        """Number of tokens that a model reads of the longest example."""
        ...

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in one pass over the examples."""
        ...

    @property
    def tokens_per_epoch(self) -> int:
        """Number of non-padding tokens in one pass over the examples, at most."""
        ...

    @property
    def answers(self) -> AnswerSizes | None:
        """Sizes of the answers that it samples; None if it samples none."""
        ...

    def widest(self) -> Batch:
        """Return a batch of one step in the largest shape, to estimate its memory."""
        ...

    def batches(self, first: int, count: int, multiple: int, values: Any) -> StepBatches:
        """Return the batches of ``count`` steps from ``first``.

        Args:
            first: Number of earlier steps.
            count: Number of steps of one compiled call.
            multiple: As in :meth:`Collator.collate`.
            values: Trained and frozen values of the model before these steps.
        """
        ...

    def held_out(self, examples: Sequence[Example], values: Any) -> Sequence[Example]:
        """Return held-out examples with the answers that an evaluation compares.

        Args:
            examples: The held-out examples; of a method that samples answers, prompts.
            values: Trained and frozen values of the model.
        """
        ...


class BatchStream:
    """Batches as a function of the step number alone, so that training can resume at any step.

    Each epoch visits every example once, in an order seeded with (``seed``, epoch). The last batch
    of an epoch is padded with rows of weight zero.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        collator: Collator,
        seed: int,
        together: int | None = None,
    ) -> None:
        """Read the examples in batches.

        ``together`` is the number of consecutive batches that have a similar length (default: the
        order does not depend on lengths).
        """
        self._examples = examples
        self.collator = collator
        """Layout of the batches."""
        self._seed = seed
        self._together = together
        self._epoch: tuple[int, list[NDArray[np.int64]]] = (-1, [])

    @property
    def batch_size(self) -> int:
        """Largest number of examples in a step."""
        return self.collator.batch_size

    @property
    def longest(self) -> int:
        """Number of tokens that a model reads of the longest example."""
        return _longest_inputs(self._examples)

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in one pass over the examples."""
        return -(-len(self._examples) // self.collator.batch_size)

    @property
    def tokens_per_epoch(self) -> int:
        """Number of tokens of all examples."""
        return total_tokens(self._examples)

    @property
    def answers(self) -> None:
        """Nothing: the answers are those of the examples."""
        return

    def widest(self) -> Batch:
        """Return a batch with the longest example."""
        longest = self._examples[int(token_counts(self._examples).argmax())]
        return self.collator.collate([[longest]])

    def indices(self, step: int) -> list[int]:
        """Return the indices of the examples of one step (counted from 0)."""
        epoch, index = divmod(step, self.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._shuffled(epoch))
        return [int(i) for i in self._epoch[1][index]]

    def rows(self, step: int) -> list[Example]:
        """Return the examples of one step (counted from 0), at most ``batch_size``."""
        return [self._examples[i] for i in self.indices(step)]

    def batches(self, first: int, count: int, multiple: int, values: Any) -> StepBatches:
        """Return the batches of ``count`` steps, whatever the model's values."""
        return StepBatches(*self.batch(first, count, multiple))

    def held_out(self, examples: Sequence[Example], values: Any) -> Sequence[Example]:
        """Return the examples as they are."""
        return examples

    def batch(self, first: int, count: int, multiple: int = 1) -> tuple[Batch, int]:
        """Return the batches of ``count`` steps from ``first``, and their non-padding tokens.

        ``multiple`` is as in :meth:`Collator.collate`.
        """
        steps = [self.rows(step) for step in range(first, first + count)]
        tokens = sum(example.total for rows in steps for example in rows)
        return self.collator.collate(steps, multiple), tokens

    def _shuffled(self, epoch: int) -> list[NDArray[np.int64]]:
        generator = np.random.default_rng([self._seed, epoch])
        order = generator.permutation(len(self._examples))
        if self._together is None:
            return _slices(order, self.collator.batch_size)
        lengths = token_counts(self._examples)
        batches = [
            batch
            for pool in _slices(order, _POOL * self.collator.batch_size)
            for batch in _slices(
                pool[np.argsort(lengths[pool], kind="stable")], self.collator.batch_size
            )
        ]
        return _regrouped(batches, self._together, epoch * self.steps_per_epoch, generator)


class OrderedBatches:
    """All examples for an evaluation, from short to long, in batches of one step each.

    A batch is laid out when it is asked for, so that none is in memory between evaluations.
    """

    def __init__(self, examples: Sequence[Example], collator: Collator, multiple: int = 1) -> None:
        """Sort the examples; ``multiple`` is as in :meth:`Collator.collate`."""
        self._examples, self._collator, self._multiple = examples, collator, multiple
        order = np.argsort(token_counts(examples), kind="stable")
        self._batches = _slices(order, collator.batch_size)

    @property
    def longest(self) -> int:
        """Number of tokens that a model reads of the longest example."""
        return _longest_inputs(self._examples)

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            yield self._collator.collate([[self._examples[i] for i in batch]], self._multiple)


def _regrouped(
    batches: list[NDArray[np.int64]], size: int, first: int, generator: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Return batches in shuffled groups of ``size`` neighbours, shuffled inside, too.

    The steps of one compiled call share a length, so groups begin at multiples of ``size`` in step
    numbers, as calls do. ``first`` is the step of the first batch.
    """
    lead = -first % size
    tail = lead + (len(batches) - lead) // size * size if len(batches) > lead else len(batches)
    groups = [batches[i : i + size] for i in range(lead, tail, size)]
    shuffled = [groups[g] for g in generator.permutation(len(groups))]
    return [
        group[b]
        for group in (batches[:lead], *shuffled, batches[tail:])
        for b in generator.permutation(len(group))
    ]


def _longest_inputs(examples: Sequence[Example]) -> int:
    return int(token_counts(examples).max(initial=2)) - 1


def _slices(values: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [values[i : i + size] for i in range(0, len(values), size)]


def put(batch: Batch, place: tuple[int | slice, ...], example: Example) -> None:
    """Write inputs, targets and weights of an example into a part of a row."""
    batch.tokens[place] = example.tokens[:-1]
    batch.targets[place] = example.tokens[1:]
    batch.weights[place] = example.mask[1:]
    if batch.taught is not None and example.taught is not None:
        for rows, values in zip(batch.taught, example.taught, strict=True):
            rows[place][example.mask[1:]] = values


def _fill(
    rows: Sequence[Sequence[Sequence[Example]]], shape: tuple[int, int, int], *, packed: bool
) -> Batch:
    """Return arrays of ``shape`` [K, B, T] with the examples of each row one after another."""
    batch = Batch(
        np.zeros(shape, np.int32),
        np.zeros(shape, np.int32),
        np.zeros(shape, np.float32),
        np.zeros(shape, np.int32) if packed else None,
        np.zeros(shape, np.int32) if packed else None,
        lengths=None if packed else np.zeros(shape[:2], np.int32),
        taught=_taught(rows[0][0][0], shape),
    )
    for k, step in enumerate(rows):
        for b, row in enumerate(step):
            at = 0
            for segment, example in enumerate(row, start=1):
                end = at + example.inputs
                put(batch, (k, b, slice(at, end)), example)
                if batch.lengths is not None:
                    batch.lengths[k, b] = example.inputs
                if batch.segments is not None and batch.positions is not None:
                    batch.segments[k, b, at:end] = segment
                    batch.positions[k, b, at:end] = np.arange(example.inputs)
                at = end
    return batch


def _taught(example: Example, shape: tuple[int, int, int]) -> TopTokens | None:
    """Return room for the teacher's tokens of all examples, if one has some."""
    if example.taught is None:
        return None
    tokens, log_probs = (values.shape[-1] for values in example.taught)
    return TopTokens(
        np.zeros((*shape, tokens), np.int32), np.zeros((*shape, log_probs), np.float32)
    )

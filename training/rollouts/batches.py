"""Rows of a step, made of its rollouts.

Shapes: K steps, B answers, T tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from numpy.typing import NDArray

from tailrace.formats.data.prediction import FinishReason
from tailrace.formats.data.rollout import Rollout
from training.data.batches import Batch, SampledValues, put
from training.data.example_store import Example
from training.data.packing import Groups, bucket


@dataclass(frozen=True)
class AnswerRows:
    """Layout of answers in rows, one answer a row."""

    rows: int
    """Number of rows; those without an answer are padding."""
    mask_truncated: bool
    """True if answers that were cut by length have no token with a weight."""
    group: int = 1
    """Largest number of answers whose common tokens are read once; a divisor of ``rows``."""

    def batch(self, prompts: Sequence[Example], rollouts: Sequence[Rollout]) -> Batch | None:
        """Return the rows of one step [1, B, T]; None if no rollout teaches anything.

        Args:
            prompts: The prompts that rollouts refer to.
            rollouts: Rollouts of the step; those without an advantage are left out.
        """
        learnt = [rollout for rollout in rollouts if rollout.advantage is not None]
        examples = [self._example(prompts[rollout.prompt_index], rollout) for rollout in learnt]
        if not any(example.trained for example in examples):
            return None
        places = self._places(rollout.prompt_index for rollout in learnt)
        batch = self.empty(max(example.inputs for example in examples))
        sampled, lengths = batch.sampled, batch.lengths
        if sampled is None or lengths is None:
            raise AssertionError("the rows of answers have lengths and sampled values")
        for row, rollout, example in zip(places, learnt, examples, strict=True):
            length, count = example.inputs, len(rollout.token_ids)
            put(batch, (0, row, slice(length)), example)
            lengths[0, row] = length
            sampled.answers[0, row] = 1
            sampled.advantages[0, row] = rollout.advantage
            sampled.sampler[0, row, length - count : length] = rollout.logprobs
        sampled.sampler[...] *= batch.weights
        sampled.token_share[...] = 1 / max(1.0, float(batch.weights.sum()))
        return batch._replace(groups=self._groups(batch.tokens, lengths))

    def _places(self, prompts: Iterable[int]) -> list[int]:
        """Return the row of each answer; answers to one prompt fill a group before the next."""
        number, members = self.rows // self.group, dict[int, list[int]]()
        for answer, prompt in enumerate(prompts):
            members.setdefault(prompt, []).append(answer)
        rows = dict[int, int]()
        groups = [
            answers[first : first + self.group]
            for answers in members.values()
            for first in range(0, len(answers), self.group)
        ]
        for group, answers in enumerate(groups):
            rows |= {answer: place * number + group for place, answer in enumerate(answers)}
        return [rows[answer] for answer in sorted(rows)]

    def _groups(self, tokens: NDArray[np.int32], lengths: NDArray[np.int32]) -> Groups | None:
        if self.group == 1:
            return None
        rows, length = tokens.shape[1:]
        shape = (1, self.group, rows // self.group)
        return Groups.of(
            tokens.reshape(*shape, length).swapaxes(1, 2), lengths.reshape(shape).swapaxes(1, 2)
        )

    def empty(self, longest: int) -> Batch:
        """Return rows of padding for answers of up to ``longest`` inputs, [1, B, T]."""
        shape = (1, self.rows, bucket(longest))
        return Batch(
            np.zeros(shape, np.int32),
            np.zeros(shape, np.int32),
            np.zeros(shape, np.float32),
            sampled=SampledValues(
                np.zeros(shape[:2], np.float32),
                np.zeros(shape[:2], np.float32),
                np.zeros(shape[:2], np.float32),
                np.zeros(shape, np.float32),
            ),
            lengths=np.zeros(shape[:2], np.int32),
        )

    def _example(self, prompt: Example, rollout: Rollout) -> Example:
        example = answer_example(prompt, rollout.token_ids)
        if self.mask_truncated and rollout.finish_reason is FinishReason.LENGTH:
            return replace(example, mask=np.zeros_like(example.mask))
        return example


def answer_example(prompt: Example, token_ids: Sequence[int]) -> Example:
    """Return a prompt with an answer, whose tokens are learnt."""
    return Example.of([*prompt.tokens, *token_ids], len(prompt.tokens))


def repeated(batch: Batch, count: int) -> Batch:
    """Return the rows of one step as those of ``count`` steps."""

    def repeat(values: NDArray[Any]) -> NDArray[Any]:
        return np.broadcast_to(values, (count, *values.shape[1:]))

    rows: Batch = jax.tree.map(repeat, batch)
    return rows

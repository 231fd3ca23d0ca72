"""Answers of the model in training that its teacher corrects."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from tailrace.formats.data.rollout import Rollout
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch, Collator
from training.data.example_store import Example
from training.loop.start import Start
from training.loop.teacher import without_teacher
from training.objectives.prompts import PromptStore
from training.observer import Observer
from training.rollouts.batches import answer_example
from training.rollouts.sampler import Prompt
from training.rollouts.source import RolloutSource, prompt_of, rollout_of
from training.rollouts.store import RolloutStore

_HELD_OUT_STEP = 0
"""Step whose random streams every evaluation takes, so that evaluations differ by weights alone."""


class OnPolicyAnswers(RolloutSource):
    """Answers without rewards; their tokens are learnt.

    An embedding may have rows beyond its tokenizer, and the teacher's may have fewer of them: an
    answer is learnt up to the first token that the teacher cannot read.
    """

    def __init__(
        self, start: Start, spec: TrainSpec, store: RolloutStore, observer: Observer
    ) -> None:
        """Prepare the sampler; see :class:`.RolloutSource`."""
        super().__init__(start, spec, store, observer)
        if start.teacher is None:
            raise TypeError("a distillation on sampled answers needs its teacher")
        self._teacher_vocabulary = start.teacher.model.vocabulary
        self._collator = Collator(spec.step_rows)

    def widest(self) -> Batch:
        """Return rows in the largest shape."""
        return self._collator.collate([[Example.of([0] * (self.longest + 1), 1)]])

    def held_out(self, examples: Sequence[Example], values: Any) -> Sequence[Example]:
        """Return held-out prompts with one answer of the current model to each.

        Raises:
            StoppedError: A stop is requested.
            NotFiniteError: The model computes scores that are not finite.
        """
        if not isinstance(examples, PromptStore):
            raise TypeError("held-out examples of a method that samples answers must be prompts")
        trained, frozen = values
        values = trained, without_teacher(frozen)
        prompts = [prompt_of(examples, index) for index in range(len(examples))]
        samples = self._sampler.sample(values, prompts, _HELD_OUT_STEP, range(1))
        return [
            self._example(examples[sample.prompt.index], sample.generation.tokens)
            for sample in samples
        ]

    def _answers(self, values: Any, prompts: Sequence[Prompt], step: int) -> list[Rollout]:
        samples = self._sampler.sample(values, prompts, step, range(self._sampling.n_samples))
        return [rollout_of(sample, step) for sample in samples]

    def _rows(self, rollouts: Sequence[Rollout], count: int, values: Any) -> Batch:
        return self._collator.collate(
            [
                [
                    self._example(self._prompts[rollout.prompt_index], rollout.token_ids)
                    for rollout in rollouts
                ]
            ]
        )

    def _example(self, prompt: Example, token_ids: Sequence[int]) -> Example:
        known_ids = takewhile(lambda token: token < self._teacher_vocabulary, token_ids)
        return answer_example(prompt, list(known_ids))

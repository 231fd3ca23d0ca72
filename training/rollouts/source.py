"""Batches of answers that the model in training samples itself.

A rollout is the answers of a step's prompts: they are sampled, written to disk and committed, and
only then learnt from. A step whose rollout is committed is not sampled again, so that a resumed
training learns from the same answers.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from tailrace.formats.data.rollout import Rollout
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import AnswerSizes, Batch, BatchStream, Collator, StepBatches
from training.data.example_store import Example
from training.data.packing import bucket
from training.generate.generator import ADMISSION_PARTS, SMALLEST_CACHE, SMALLEST_PROMPT
from training.loop.start import Start
from training.loop.teacher import without_teacher
from training.loop.trainable import choose_trainable
from training.machine.sharding import Layout, make_mesh
from training.objectives.prompts import PromptStore
from training.observer import Observer
from training.rollouts.figures import length_figures
from training.rollouts.sampler import Prompt, Sample, Sampler, SamplerSettings
from training.rollouts.store import RolloutStore


class RolloutSource(ABC):
    """Answers of the current model as batches; see :class:`training.data.batches.BatchSource`."""

    def __init__(
        self, start: Start, spec: TrainSpec, store: RolloutStore, observer: Observer
    ) -> None:
        """Prepare the sampler.

        Args:
            start: The starting point of the training.
            spec: The settings.
            store: Committed rollouts.
            observer: Receiver of requests to stop.

        Raises:
            ConfigError: The settings do not fit the devices.
        """
        prompts, sampling = start.encoded.examples, spec.sampling
        if sampling is None or not isinstance(prompts, PromptStore):
            raise TypeError("a method that samples answers must encode prompts")
        self._spec = spec
        self._sampling = sampling
        self._prompts = prompts
        self._store = store
        self._start = start
        self._order = BatchStream(prompts, Collator(spec.batch_size), spec.seed)
        self._trainable = choose_trainable(start.model, spec)
        mesh = make_mesh(spec.mesh, spec.micro_batch_size or spec.step_rows)
        self._layout = Layout.of(start.model.family.model_type, mesh)
        settings = SamplerSettings(
            sampling.max_new_tokens,
            sampling.temperature,
            sampling.rollout_batch_size or spec.step_rows,
            spec.seed,
            start.origin.ends,
        )
        self._sampler = Sampler(
            start.model, start.chat, self._trainable, self._layout, settings, observer
        )

    @property
    def batch_size(self) -> int:
        """Number of answers in a step."""
        return self._spec.step_rows

    @property
    def longest(self) -> int:
        """Number of tokens that a model reads of the longest prompt with its longest answer."""
        return self._prompts.longest + self._sampling.max_new_tokens - 1

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in one pass over the prompts."""
        return self._order.steps_per_epoch * self._spec.inner_steps

    @property
    def tokens_per_epoch(self) -> int:
        """Number of tokens of all prompts with the longest answers, in all inner steps."""
        answers = len(self._prompts) * self._sampling.max_new_tokens
        samples = self._sampling.n_samples * self._spec.inner_steps
        return (self._order.tokens_per_epoch + answers) * samples

    @property
    def answers(self) -> AnswerSizes:
        """Sizes of the answers that are generated together."""
        rows = self._sampling.rollout_batch_size or self._spec.step_rows
        return AnswerSizes(
            rows=rows,
            columns=bucket(self.longest + 1, SMALLEST_CACHE),
            prompts=-(-rows // ADMISSION_PARTS),
            prompt=bucket(self._prompts.longest, SMALLEST_PROMPT),
        )

    @abstractmethod
    def widest(self) -> Batch:
        """Return rows in the largest shape."""

    def held_out(self, examples: Sequence[Example], values: Any) -> Sequence[Example]:
        """Return the examples of an evaluation as they are."""
        return examples

    def batches(self, first: int, count: int, multiple: int, values: Any) -> StepBatches:
        """Return the rows of ``count`` inner steps from ``first``: those of one rollout.

        Raises:
            StoppedError: A stop is requested.
            TrainingError: As :meth:`_answers`, or a committed rollout is unusable.
            OSError: The rollout cannot be written.
        """
        begin = time.perf_counter()
        trained, frozen = values
        values = trained, without_teacher(frozen)
        if first == 0:
            self._before_first_step(values)
        step, seconds = first + 1, None
        numbers = self._order.indices(first // self._spec.inner_steps)
        rollouts = self._store.read(step, dict.fromkeys(numbers, self._sampling.n_samples))
        if rollouts is None:
            sampling = time.perf_counter()
            prompts = [prompt_of(self._prompts, index) for index in numbers]
            rollouts = self._answers(values, prompts, step)
            seconds = time.perf_counter() - sampling
            self._store.commit(step, rollouts)
        metrics = {**length_figures(rollouts), **self._figures(rollouts)}
        if seconds:
            length = sum(len(rollout.token_ids) for rollout in rollouts)
            metrics["rollout_tokens_per_second"] = round(length / seconds, 1)
        rows = self._rows(rollouts, count, values)
        tokens = 0 if rows is None else count * self._tokens(rollouts)
        return StepBatches(rows, tokens, metrics, time.perf_counter() - begin)

    def _before_first_step(self, values: Any) -> None:
        """Do what comes before the first rollout, such as a pre-flight; nothing by default."""
        return

    @abstractmethod
    def _answers(self, values: Any, prompts: Sequence[Prompt], step: int) -> list[Rollout]:
        """Return the answers to a step's prompts.

        Args:
            values: Trained and frozen values of the model.
            prompts: The prompts.
            step: Number of the step, which selects the random streams.

        Raises:
            StoppedError: A stop is requested.
            TrainingError: The answers cannot be made, or not be scored.
        """

    @abstractmethod
    def _rows(self, rollouts: Sequence[Rollout], count: int, values: Any) -> Batch | None:
        """Return the rows of ``count`` steps on a rollout; None if it teaches nothing."""

    def _figures(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        """Return the method's own figures of a rollout by name."""
        return {}

    def _tokens(self, rollouts: Iterable[Rollout]) -> int:
        """Return the number of tokens of prompts and answers that a step learns from."""
        return sum(
            len(self._prompts[rollout.prompt_index].tokens) + len(rollout.token_ids)
            for rollout in rollouts
        )


def prompt_of(prompts: PromptStore, index: int) -> Prompt:
    """Return the prompt with an index as the sampler takes it."""
    return Prompt(index, prompts.items[index], [int(token) for token in prompts[index].tokens])


def rollout_of(sample: Sample, step: int) -> Rollout:
    """Return a sample as a rollout without a reward."""
    return Rollout(
        step=step,
        prompt_index=sample.prompt.index,
        example_id=sample.prompt.eval_item.id,
        sample=sample.generation.sample,
        prompt=sample.prediction.prompt,
        text=sample.prediction.text,
        finish_reason=sample.generation.finish_reason,
        token_ids=sample.generation.tokens,
        logprobs=sample.generation.logprobs,
    )

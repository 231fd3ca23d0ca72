"""Batches of answers that the model in training samples itself, with rewards.

A rollout is the answers of a step's prompts: they are sampled, judged, written to disk and
committed, and only then learnt from. A step whose rollout is committed is neither sampled nor
judged again, so that a resumed training learns from the same answers.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from tailrace.formats.data.rollout import Rollout
from tailrace.formats.spec.grpo_spec import GrpoSpec, PreflightMode
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch, BatchStream, Collator, StepBatches
from training.judges.base import Candidate
from training.loop.lora import LoraAdapter
from training.loop.start import Start
from training.loop.steps import compile_token_log_probs
from training.loop.trainable import choose_trainable
from training.machine.sharding import Layout, make_mesh
from training.models.family import Params
from training.objectives.objective import SampledObjective
from training.objectives.prompts import PromptStore
from training.observer import Observer
from training.rollouts.advantages import group_advantages, is_flat
from training.rollouts.batches import AnswerRows, repeated
from training.rollouts.figures import rollout_figures
from training.rollouts.preflight import Preflight
from training.rollouts.rewards import Answer, JudgeResources, Rewards, total_reward
from training.rollouts.sampler import Prompt, Sample, Sampler, SamplerSettings
from training.rollouts.store import RolloutStore


class RolloutSource:
    """Answers of the current model as batches; see :class:`training.data.batches.BatchSource`."""

    def __init__(
        self,
        start: Start,
        spec: TrainSpec,
        store: RolloutStore,
        resources: JudgeResources,
        observer: Observer,
    ) -> None:
        """Prepare sampler, judges and programs.

        Args:
            start: The starting point of the training.
            spec: The settings.
            store: Committed rollouts.
            resources: What the judges may use.
            observer: Receiver of requests to stop.

        Raises:
            ConfigError: A judge cannot be made, or the settings do not fit the devices.
        """
        objective, prompts = start.objective, start.encoded.examples
        if not isinstance(objective, SampledObjective) or not isinstance(prompts, PromptStore):
            raise TypeError("a method that samples answers must encode prompts")
        self._spec = spec
        self._options = spec.grpo or GrpoSpec()
        self._prompts = prompts
        self._store = store
        self._start = start
        self._rewards = Rewards(self._options, resources)
        self._order = BatchStream(prompts, Collator(spec.batch_size), spec.seed)
        self._rows = AnswerRows(spec.step_rows, self._options.mask_truncated)
        self._trainable = choose_trainable(start.model, spec)
        mesh = make_mesh(spec.mesh, spec.micro_batch_size or spec.step_rows)
        self._layout = Layout.of(start.model.family.model_type, mesh)
        self._log_probs = compile_token_log_probs(
            objective, self._trainable, self._layout, spec.micro_batch_size
        )
        settings = SamplerSettings(
            self._options.max_new_tokens,
            self._options.temperature,
            self._options.rollout_batch_size or spec.step_rows,
            spec.seed,
            start.origin.ends,
        )
        self._sampler = Sampler(
            start.model, start.chat, self._trainable, self._layout, settings, observer
        )
        self._starting: Params | None = None

    @property
    def batch_size(self) -> int:
        """Number of answers in a step."""
        return self._spec.step_rows

    @property
    def longest(self) -> int:
        """Number of tokens that a model reads of the longest prompt with its longest answer."""
        return self._prompts.longest + self._options.max_new_tokens - 1

    @property
    def steps_per_epoch(self) -> int:
        """Number of steps in one pass over the prompts."""
        return self._order.steps_per_epoch * self._options.inner_steps

    @property
    def tokens_per_epoch(self) -> int:
        """Number of tokens of all prompts with the longest answers, in all inner steps."""
        answers = len(self._prompts) * self._options.max_new_tokens
        samples = self._options.n_samples * self._options.inner_steps
        return (self._order.tokens_per_epoch + answers) * samples

    def widest(self) -> Batch:
        """Return rows in the largest shape."""
        return self._rows.empty(self.longest)

    def batches(self, first: int, count: int, multiple: int, values: Any) -> StepBatches:
        """Return the rows of ``count`` inner steps from ``first``: those of one rollout.

        Raises:
            StoppedError: A stop is requested.
            TrainingError: A judge fails too often, or pre-flight requires more than it finds.
            OSError: The rollout cannot be written.
        """
        begin = time.perf_counter()
        preflight = self._options.preflight
        if first == 0 and preflight.mode is not PreflightMode.OFF:
            Preflight(self._options, self._store, self._start.chat, self._rewards).run(
                self._prompts, lambda prompts, step: self._scored(values, prompts, step)
            )
        step, seconds = first + 1, None
        rollouts = self._store.read(step)
        if rollouts is None:
            sampling = time.perf_counter()
            prompts = self._step_prompts(first // self._options.inner_steps)
            rollouts = self._with_advantages(self._scored(values, prompts, step))
            seconds = time.perf_counter() - sampling
            self._store.commit(step, rollouts)
        metrics = rollout_figures(rollouts, self._options, seconds)
        batch = self._rows.batch(self._prompts, rollouts)
        if batch is None:
            return StepBatches(None, 0, metrics, time.perf_counter() - begin)
        seconds = time.perf_counter() - begin
        rows = repeated(self._with_log_probs(batch, values), count)
        return StepBatches(rows, count * self._tokens(rollouts), metrics, seconds)

    def _step_prompts(self, number: int) -> list[Prompt]:
        return [self._prompt(index) for index in self._order.indices(number)]

    def _prompt(self, index: int) -> Prompt:
        tokens = [int(token) for token in self._prompts[index].tokens]
        return Prompt(index, self._prompts.items[index], tokens)

    def _scored(self, values: Any, prompts: Sequence[Prompt], step: int) -> list[Rollout]:
        """Return the answers of prompts with their rewards; flat groups may be sampled again."""
        size = self._options.n_samples
        groups: dict[int, list[Rollout]] = {}
        pending = list(prompts)
        for attempt in range(self._options.resample + 1):
            numbers = range(attempt * size, (attempt + 1) * size)
            rollouts = self._judged(self._sampler.sample(values, pending, step, numbers), step)
            groups |= {prompt.index: [] for prompt in pending}
            for rollout in rollouts:
                groups[rollout.prompt_index].append(rollout)
            pending = [prompt for prompt in pending if _is_flat(groups[prompt.index])]
            if not pending:
                break
        return [rollout for prompt in prompts for rollout in groups[prompt.index]]

    def _judged(self, samples: Sequence[Sample], step: int) -> list[Rollout]:
        answers = [
            Answer(Candidate(s.prompt.eval_item, s.prediction), s.generation.count) for s in samples
        ]
        return [
            Rollout(
                step=step,
                prompt_index=sample.prompt.index,
                example_id=sample.prompt.eval_item.id,
                sample=sample.generation.sample,
                prompt=sample.prediction.prompt,
                text=sample.prediction.text,
                finish_reason=sample.generation.finish_reason,
                token_ids=sample.generation.tokens,
                logprobs=sample.generation.logprobs,
                parts=parts,
                reward=total_reward(parts),
            )
            for sample, parts in zip(samples, self._rewards.score(answers), strict=True)
        ]

    def _with_advantages(self, rollouts: Sequence[Rollout]) -> list[Rollout]:
        figures = group_advantages(
            [rollout.prompt_index for rollout in rollouts],
            [rollout.reward for rollout in rollouts],
            self._options.scale_rewards,
        )
        return [
            replace(rollout, advantage=advantage)
            for rollout, advantage in zip(rollouts, figures.advantages, strict=True)
        ]

    def _with_log_probs(self, batch: Batch, values: Any) -> Batch:
        """Return the rows with the log-probabilities that their loss compares with."""
        if batch.sampled is None:
            raise AssertionError("the rows of answers have sampled values")
        trained, frozen = values
        sampled = batch.sampled
        if self._options.inner_steps > 1:
            old = np.asarray(self._log_probs(trained, frozen, batch))
            sampled = sampled._replace(old=old[None])
        if self._options.kl_beta:
            starting = self._starting_values(trained)
            reference = np.asarray(self._log_probs(starting, frozen, batch))
            sampled = sampled._replace(reference=reference[None])
        return batch._replace(sampled=sampled)

    def _starting_values(self, trained: Params) -> Params:
        """Return the trained values of the model that the training started from."""
        if self._starting is None:
            continued = self._start.weights.adapter
            if continued:
                values = {name: jnp.asarray(continued[name]) for name in trained}
                self._starting = self._layout.place(values)
            elif isinstance(self._trainable, LoraAdapter):
                # An adapter of zeros adds nothing, as a fresh one does.
                self._starting = {name: jnp.zeros_like(value) for name, value in trained.items()}
            else:
                self._starting, _ = self._trainable.start(self._start.weights, self._layout)
        return self._starting

    def _tokens(self, rollouts: Sequence[Rollout]) -> int:
        return sum(
            len(self._prompts[rollout.prompt_index].tokens) + len(rollout.token_ids)
            for rollout in rollouts
            if rollout.advantage is not None
        )


def _is_flat(rollouts: Sequence[Rollout]) -> bool:
    return is_flat([rollout.reward for rollout in rollouts if rollout.reward is not None])

"""Answers with rewards, for learning from judges."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from tailrace.formats.data.rollout import Rollout
from tailrace.formats.spec.grpo_spec import GrpoSpec, PreflightMode
from tailrace.formats.spec.train_spec import TrainSpec
from training.data.batches import Batch
from training.judges.base import Candidate
from training.loop.lora import LoraAdapter
from training.loop.start import Start
from training.loop.steps import compile_token_log_probs
from training.models.family import Params
from training.objectives.objective import SampledObjective
from training.observer import Observer
from training.rollouts.advantages import group_advantages, is_flat
from training.rollouts.batches import AnswerRows, repeated
from training.rollouts.figures import reward_figures
from training.rollouts.preflight import Preflight
from training.rollouts.rewards import Answer, JudgeResources, Rewards, total_reward
from training.rollouts.sampler import Prompt, Sample
from training.rollouts.source import RolloutSource, rollout_of
from training.rollouts.store import RolloutStore


class RewardedAnswers(RolloutSource):
    """Answers that judges score before they are committed.

    A step whose rollout is committed is not judged again either.
    """

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
        super().__init__(start, spec, store, observer)
        if not isinstance(start.objective, SampledObjective):
            raise TypeError("a method that learns from rewards must score tokens")
        self._options = spec.grpo or GrpoSpec()
        self._rewards = Rewards(self._options, resources)
        # Answers of a group stay in one forward pass, and on one device.
        passes = spec.micro_batch_size or spec.step_rows
        group = math.gcd(self._options.n_samples, passes) if self._layout.row_parts == 1 else 1
        self._answer_rows = AnswerRows(spec.step_rows, self._options.mask_truncated, group)
        self._log_probs = compile_token_log_probs(
            start.objective, self._trainable, self._layout, spec.micro_batch_size
        )
        self._starting: Params | None = None

    def widest(self) -> Batch:
        """Return rows in the largest shape."""
        return self._answer_rows.empty(self.longest)

    def _before_first_step(self, values: Any) -> None:
        if self._options.preflight.mode is PreflightMode.OFF:
            return
        Preflight(self._options, self._store, self._start.chat, self._rewards).run(
            self._prompts, lambda prompts, step: self._scored(values, prompts, step)
        )

    def _answers(self, values: Any, prompts: Sequence[Prompt], step: int) -> list[Rollout]:
        return self._with_advantages(self._scored(values, prompts, step))

    def _rows(self, rollouts: Sequence[Rollout], count: int, values: Any) -> Batch | None:
        batch = self._answer_rows.batch(self._prompts, rollouts)
        return None if batch is None else repeated(self._with_log_probs(batch, values), count)

    def _figures(self, rollouts: Sequence[Rollout]) -> dict[str, float]:
        return reward_figures(rollouts, self._options)

    def _tokens(self, rollouts: Iterable[Rollout]) -> int:
        return super()._tokens(rollout for rollout in rollouts if rollout.advantage is not None)

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
            replace(rollout_of(sample, step), parts=parts, reward=total_reward(parts))
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


def _is_flat(rollouts: Sequence[Rollout]) -> bool:
    return is_flat([rollout.reward for rollout in rollouts if rollout.reward is not None])

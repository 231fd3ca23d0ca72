"""Samples of the model in training, with its values in place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax.typing import DTypeLike

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import ModelRole, Prediction
from tailrace.formats.data.split import TRAIN
from training.data.chat_format import ChatFormat
from training.generate.generator import Generation, Generator
from training.generate.predict import Question, prediction_of
from training.generate.sampling import Sampling
from training.loop.precision import full_precision
from training.loop.trainable import TrainableSplit
from training.machine.sharding import Layout
from training.models.attention import Cache
from training.models.family import Decoder, Model
from training.observer import Observer


@dataclass(frozen=True)
class Prompt:
    """A prompt to sample answers for."""

    index: int
    """Number of the prompt, which selects its random streams."""
    eval_item: EvalItem
    tokens: Sequence[int]
    """Token ids of the rendered prompt."""


@dataclass(frozen=True)
class Sample:
    """One answer to one prompt."""

    prompt: Prompt
    generation: Generation
    """Tokens and their log-probabilities at the temperature of sampling."""
    prediction: Prediction
    """The answer as judges read it."""


@dataclass(frozen=True)
class SamplerSettings:
    """Settings of all samples of a training."""

    max_new_tokens: int
    temperature: float
    batch_size: int
    """Answers that are generated together."""
    seed: int
    """Seed of the training."""
    ends: frozenset[int] = frozenset()
    """Tokens that end an answer, in addition to those of the chat format."""


class Sampler:
    """Samples of the current model for prompts.

    An answer's random stream is a function of the seed, the step, the prompt and the number of the
    sample alone.
    """

    def __init__(
        self,
        model: Model,
        chat: ChatFormat,
        trainable: TrainableSplit,
        layout: Layout,
        settings: SamplerSettings,
        observer: Observer,
    ) -> None:
        """Sample ``model`` as ``trainable`` computes it; ``observer`` requests stops."""
        self._model = _LiveModel(model, trainable)
        self._chat = chat
        self._dtype = trainable.dtype
        self._layout = layout if layout.mesh.size > 1 else None
        self._settings = settings
        self._observer = observer
        self._generator: Generator | None = None

    def sample(
        self, values: Any, prompts: Sequence[Prompt], step: int, samples: range
    ) -> list[Sample]:
        """Return answers in the order of prompts and samples.

        Args:
            values: Trained and frozen values of the model.
            prompts: The prompts.
            step: Step that the answers are for.
            samples: Numbers of the samples of each prompt.

        Raises:
            StoppedError: The observer requests a stop; checked every few tokens.
            NotFiniteError: The model computes scores that are not finite.
        """
        settings, chat = self._settings, self._chat
        sampling = Sampling(
            max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature,
            seed=_step_seed(settings.seed, step),
            n_samples=samples.stop,
            stop=chat.stop,
            logprobs=True,
            tempered=True,
        )
        answers = self._generator_with(values).generate(
            [prompt.tokens for prompt in prompts],
            sampling,
            settings.batch_size,
            numbers=[prompt.index for prompt in prompts],
            done={(i, s) for i in range(len(prompts)) for s in range(samples.start)},
            # A rollout is sampled whole, so that its samples are always admitted alike.
            share=True,
        )
        generations: dict[tuple[int, int], Generation] = {}
        with full_precision(self._dtype):
            for batch in answers:
                generations |= {(g.index, g.sample): g for g in batch}
                self._observer.check_stop()
        return [self._sample(prompts[i], generations[i, s]) for i, s in sorted(generations)]

    def _generator_with(self, values: Any) -> Generator:
        if self._generator is None:
            chat, ends = self._chat, self._chat.ends | self._settings.ends
            self._generator = Generator(self._model, values, ends, chat.text, layout=self._layout)
        self._generator.replace_params(values)
        return self._generator

    def _sample(self, prompt: Prompt, generation: Generation) -> Sample:
        question = Question.rendered(
            self._chat, TRAIN, prompt.index, prompt.eval_item, list(prompt.tokens)
        )
        prediction = prediction_of(question, ModelRole.TRAINED, generation, self._chat)
        return Sample(prompt, generation, prediction)


class _LiveModel(Model):
    """A model whose parameters are the trained and frozen values of a training."""

    def __init__(self, model: Model, trainable: TrainableSplit) -> None:
        super().__init__(model.family, model.config, model.build)
        self._trainable = trainable

    def bind(self, params: Any) -> Decoder:
        """Return the decoder of trained and frozen values."""
        trained, frozen = params
        return self._trainable.decoder(trained, frozen)

    def empty_cache(self, batch: int, length: int, dtype: DTypeLike | None = None) -> Cache:
        """Return a key-value cache in the type that the model computes in."""
        return super().empty_cache(batch, length, jnp.dtype(dtype or self._trainable.dtype))


def _step_seed(seed: int, step: int) -> int:
    digest = hashlib.sha256(f"{seed}:{step}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1

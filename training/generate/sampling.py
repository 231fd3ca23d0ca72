"""Choice of the next token from the model's logits.

The filters are those of transformers' logits processors, applied in the same order: repetition
penalty, temperature, top-k, top-p.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp

from tailrace.formats.spec.infer_spec import InferSpec


@dataclass(frozen=True)
class Sampling:
    """Settings of a generation."""

    max_new_tokens: int = 64
    """Largest number of tokens per answer, the end-of-sequence token included."""
    temperature: float = 0.0
    """Divisor of the logits before sampling; 0 takes the likeliest token."""
    seed: int = 42
    """Seed of sampling; each sample of a prompt has a separate random stream."""
    top_p: float = 1.0
    """Probability of the smallest set of likeliest tokens to draw from."""
    top_k: int = 0
    """Number of likeliest tokens to draw from; 0: all."""
    repetition_penalty: float = 1.0
    """Divisor of positive logits, and factor of negative ones, of tokens already in the text."""
    n_samples: int = 1
    """Answers per prompt."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer."""
    logprobs: bool = False
    """True to return log-probabilities of the tokens."""
    tempered: bool = False
    """True for log-probabilities of the distribution that the tokens are drawn from, False for the
    model's own."""

    @classmethod
    def of(cls, spec: InferSpec) -> Sampling:
        """Return the settings of an infer block."""
        return cls(
            max_new_tokens=spec.max_new_tokens,
            temperature=spec.temperature,
            seed=spec.seed,
            top_p=spec.top_p,
            top_k=spec.top_k,
            repetition_penalty=spec.repetition_penalty,
            n_samples=spec.n_samples,
            stop=tuple(spec.stop),
            logprobs=spec.logprobs,
        )

    @property
    def choice(self) -> Choice:
        """Settings that are compiled into the programs."""
        return Choice(
            self.temperature,
            self.top_p,
            self.top_k,
            self.repetition_penalty,
            self.logprobs,
            self.tempered,
        )


@dataclass(frozen=True)
class Choice:
    """Fields of :class:`Sampling` that :func:`choose` reads."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    logprobs: bool
    tempered: bool = False

    @property
    def penalizes(self) -> bool:
        """True if the tokens already in the text are needed."""
        return self.repetition_penalty != 1


def streams(root: jax.Array, numbers: jax.Array, samples: jax.Array) -> jax.Array:
    """Return the random key of each row, from the numbers of prompt and sample, both [rows]."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(root, numbers)
    return jax.vmap(jax.random.fold_in)(keys, samples)


def choose(
    logits: jax.Array, seen: jax.Array | None, keys: jax.Array, drawn: jax.Array, choice: Choice
) -> tuple[jax.Array, jax.Array]:
    """Return the next token of each row and its log-probability, both [rows].

    The log-probability is the model's own, before penalty, temperature and filters, or that of the
    draw (:attr:`Sampling.tempered`). It is 0 unless requested, and always NaN where the row's
    highest logit is not finite.

    Args:
        logits: [rows, V].
        seen: True for tokens already in the row, [rows, V]; None without a repetition penalty.
        keys: The rows' :func:`streams`.
        drawn: Number of tokens that each row has drawn, [rows].
        choice: Settings.
    """
    logits = logits.astype(jnp.float32)
    scores = process(logits, seen, choice)
    if choice.temperature == 0:
        token = first_best(scores)
    else:
        token = jax.vmap(jax.random.categorical)(jax.vmap(jax.random.fold_in)(keys, drawn), scores)
    token = token.astype(jnp.int32)
    logprob = jnp.zeros(token.shape, jnp.float32)
    if choice.logprobs:
        scored = scores if choice.tempered else logits
        chosen = jnp.take_along_axis(scored, token[:, None], axis=-1)[:, 0]
        # Rounding must not raise a probability above 1.
        logprob = jnp.minimum(chosen - jax.nn.logsumexp(scored, axis=-1), 0)
    return token, jnp.where(jnp.isfinite(jnp.max(logits, axis=-1)), logprob, jnp.nan)


def first_best(scores: jax.Array) -> jax.Array:
    """Return the first index of each row's highest score; ``scores`` are [rows, V].

    ``jnp.argmax`` takes five times as long on a CPU: its search is not vectorized.
    """
    indices = jnp.arange(scores.shape[-1])
    best = scores == jnp.max(scores, axis=-1, keepdims=True)
    # NaN equals nothing: a row of NaN falls back to the last index.
    return jnp.min(jnp.where(best, indices, scores.shape[-1] - 1), axis=-1)


def process(logits: jax.Array, seen: jax.Array | None, choice: Choice) -> jax.Array:
    """Return the scores [rows, V] to choose by; minus infinity for excluded tokens."""
    scores = logits if seen is None else penalize(logits, seen, choice.repetition_penalty)
    if choice.temperature == 0:
        return scores
    scores = scores / choice.temperature
    if choice.top_k:
        scores = keep_top_k(scores, choice.top_k)
    return keep_top_p(scores, choice.top_p) if choice.top_p < 1 else scores


def penalize(scores: jax.Array, seen: jax.Array, penalty: float) -> jax.Array:
    """Lower the scores of seen tokens (CTRL, Keskar et al., arXiv:1909.05858, section 4.1)."""
    lowered = jnp.where(scores < 0, scores * penalty, scores / penalty)
    return jnp.where(seen, lowered, scores)


def keep_top_k(scores: jax.Array, k: int) -> jax.Array:
    """Set all but the ``k`` highest scores (and their equals) to minus infinity, [rows, V]."""
    best, _ = jax.lax.top_k(scores, min(k, scores.shape[-1]))
    return jnp.where(scores < best[:, -1:], -jnp.inf, scores)


def keep_top_p(scores: jax.Array, p: float) -> jax.Array:
    """Cut off the tail of the distribution (Holtzman et al., arXiv:1904.09751).

    A token stays if all tokens with higher scores together have a probability below ``p``; equal
    scores are treated alike.
    """
    ascending = jnp.sort(scores, axis=-1)
    mass = jnp.cumsum(jax.nn.softmax(ascending, axis=-1), axis=-1)
    # The likeliest token stays even if rounding leaves the sum short of its bound.
    nucleus = (mass > 1 - p).at[:, -1].set(True)
    lowest = jnp.min(jnp.where(nucleus, ascending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(scores < lowest, -jnp.inf, scores)

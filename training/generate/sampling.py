"""How the next token is chosen from the model's scores.

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
    """What is asked of a generation."""

    max_new_tokens: int = 64
    """Most tokens generated per prompt, the end-of-sequence token included."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, scores are divided by it and sampled."""
    seed: int = 42
    """Seed of sampling; each sample of a prompt draws from a stream of its own."""
    top_p: float = 1.0
    """Draw from the smallest set of likeliest tokens with this probability."""
    top_k: int = 0
    """Draw from so many likeliest tokens; 0 is all."""
    repetition_penalty: float = 1.0
    """Divides the positive scores of tokens in prompt and answer so far, multiplies the others."""
    n_samples: int = 1
    """Answers per prompt."""
    stop: tuple[str, ...] = ()
    """Texts that end an answer."""
    logprobs: bool = False
    """Whether tokens come with their log-probabilities."""

    @classmethod
    def of(cls, spec: InferSpec) -> Sampling:
        """What an infer block asks for."""
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
        """The part that is compiled."""
        return Choice(
            self.temperature, self.top_p, self.top_k, self.repetition_penalty, self.logprobs
        )


@dataclass(frozen=True)
class Choice:
    """The fields of :class:`Sampling` that :func:`choose` reads."""

    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    logprobs: bool

    @property
    def penalizes(self) -> bool:
        """Whether tokens seen before must be known."""
        return self.repetition_penalty != 1


def streams(root: jax.Array, items: jax.Array, samples: jax.Array) -> jax.Array:
    """The random key of each row, from its prompt's number and its sample's, both [rows]."""
    keys = jax.vmap(jax.random.fold_in, in_axes=(None, 0))(root, items)
    return jax.vmap(jax.random.fold_in)(keys, samples)


def choose(
    logits: jax.Array, seen: jax.Array | None, keys: jax.Array, drawn: jax.Array, choice: Choice
) -> tuple[jax.Array, jax.Array]:
    """The next token of each row and its log-probability (0 unless asked for), both [rows].

    The log-probability is no number where the row's highest score is none, asked for or not.

    ``logits`` are [rows, V], ``seen`` says which tokens a row holds already, [rows, V] (None where
    nothing is penalized), ``keys`` are the rows' :func:`streams` and ``drawn`` how many tokens each
    has drawn. The log-probability is the model's own, before penalty, temperature and filters.
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
        chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
        # Rounding must not make a certain token likelier than certain.
        logprob = jnp.minimum(chosen - jax.nn.logsumexp(logits, axis=-1), 0)
    return token, jnp.where(jnp.isfinite(jnp.max(logits, axis=-1)), logprob, jnp.nan)


def first_best(scores: jax.Array) -> jax.Array:
    """The place of the highest of each row's scores [rows, V], of equals the first.

    ``jnp.argmax`` takes five times as long on a processor: its search is not vectorized.
    """
    places = jnp.arange(scores.shape[-1])
    best = scores == jnp.max(scores, axis=-1, keepdims=True)
    # Scores that are no numbers have no best; any place will do.
    return jnp.min(jnp.where(best, places, scores.shape[-1] - 1), axis=-1)


def process(logits: jax.Array, seen: jax.Array | None, choice: Choice) -> jax.Array:
    """The scores [rows, V] that a token is chosen by; minus infinity where it may not be."""
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
    """Scores [rows, V] with all but the ``k`` highest (and their equals) at minus infinity."""
    best, _ = jax.lax.top_k(scores, min(k, scores.shape[-1]))
    return jnp.where(scores < best[:, -1:], -jnp.inf, scores)


def keep_top_p(scores: jax.Array, p: float) -> jax.Array:
    """Scores without the tail of the distribution (Holtzman et al., arXiv:1904.09751).

    A token stays when those with higher scores together have a probability below ``p``; equal
    scores stay or go together.
    """
    ascending = jnp.sort(scores, axis=-1)
    mass = jnp.cumsum(jax.nn.softmax(ascending, axis=-1), axis=-1)
    # The likeliest token stays even where rounding leaves the sum short of its bound.
    kept = (mass > 1 - p).at[:, -1].set(True)
    lowest = jnp.min(jnp.where(kept, ascending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where(scores < lowest, -jnp.inf, scores)

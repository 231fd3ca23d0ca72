"""Compiled programs whose rows have separate sampling settings.

The settings are inputs, not parts of the programs: requests with different settings share a batch,
and none needs another compilation.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from training.generate.programs import Chosen, Programs, Prompts, Rows, State
from training.generate.sampling import Choice, Sampling, first_best, penalize
from training.machine.sharding import Layout
from training.models.attention import LayerCache
from training.models.family import Model, Params

_CHOICE = Choice(
    temperature=0.0, top_p=1.0, top_k=0, repetition_penalty=float("nan"), logprobs=True
)
"""Stand-in for the settings: any penalty but 1 makes the state hold the tokens of each row."""


class RowSettings(NamedTuple):
    """Sampling settings of every row, [R] each; fields as in :class:`Sampling`."""

    seeds: Any
    temperature: Any
    top_p: Any
    top_k: Any
    penalty: Any

    @classmethod
    def greedy(cls, rows: int) -> RowSettings:
        """Return the settings of rows without filters and temperature."""
        return cls(
            np.zeros(rows, np.uint32),
            np.zeros(rows, np.float32),
            np.ones(rows, np.float32),
            np.zeros(rows, np.int32),
            np.ones(rows, np.float32),
        )

    def set(self, row: int, sampling: Sampling) -> None:
        """Set those of one row; the arrays must be NumPy's."""
        self.seeds[row] = sampling.seed
        self.temperature[row] = sampling.temperature
        self.top_p[row] = sampling.top_p
        self.top_k[row] = sampling.top_k
        self.penalty[row] = sampling.repetition_penalty


class RowPrograms(Programs):
    """Programs of one model; in place of a root key they take :class:`RowSettings`."""

    def __init__(
        self, model: Model, end_ids: Collection[int], steps: int, layout: Layout | None
    ) -> None:
        super().__init__(model, _CHOICE, end_ids, steps, layout)
        self.shrink: Callable[[State, int], State]
        """Maps a state and a number of columns to the state of its first columns."""
        self.shrink = jax.jit(self._shrink, static_argnums=1)

        self.chunk: Callable[..., tuple[Chosen, State]]
        """Maps parameters, the rows' state (donated), the next tokens of their prompts as
        :class:`Prompts` of W columns, the first one's column, True for the last tokens, and
        settings to the tokens after them [R] and the state."""
        self.chunk = jax.jit(self._chunk, donate_argnums=1)

    def _chunk(
        self,
        params: Params,
        state: State,
        prompts: Prompts,
        start: jax.Array,
        is_last: jax.Array,
        settings: RowSettings,
    ) -> tuple[Chosen, State]:
        decoder = self._model.bind(params)
        rows, width = prompts.tokens.shape
        columns = start + jnp.arange(width)
        # Padding repeats the last position, as in a prefill; it is masked until it is overwritten.
        hidden, cache = self._hidden(
            decoder,
            prompts.tokens,
            start + jnp.minimum(jnp.arange(width)[None], prompts.lengths[:, None] - 1),
            (jnp.arange(state.columns)[None] <= columns[:, None])[None],
            state.cache,
            start,
        )
        last = jnp.take_along_axis(hidden, (prompts.lengths - 1)[:, None, None], axis=1)[:, 0]
        real = jnp.arange(width)[None] < prompts.lengths[:, None]
        tokens = jnp.where(real, prompts.tokens, self._model.vocabulary)
        seen = state.seen
        if seen is not None:
            seen = seen.at[jnp.arange(rows)[:, None], tokens].set(True, mode="drop")
        keys = self._keys(settings, prompts)
        chosen = Chosen(*self._choose(decoder.logits(last), seen, keys, prompts.drawn, settings))
        if seen is not None:
            seen = seen.at[jnp.arange(rows), chosen.tokens].max(is_last)
        return chosen, State(cache, seen)

    def _shrink(self, state: State, columns: int) -> State:
        cache = tuple(
            LayerCache(old.key[..., :columns], old.value[:, :, :columns]) for old in state.cache
        )
        return self._split(State(cache, state.seen))

    def _keys(self, root: RowSettings, rows: Prompts | Rows) -> jax.Array:
        keys = jax.vmap(jax.random.key)(root.seeds)
        keys = jax.vmap(jax.random.fold_in)(keys, rows.numbers)
        return jax.vmap(jax.random.fold_in)(keys, rows.samples)

    def _choose(
        self,
        logits: jax.Array,
        seen: jax.Array | None,
        keys: jax.Array,
        drawn: jax.Array,
        root: RowSettings,
    ) -> tuple[jax.Array, jax.Array]:
        return choose_by_row(logits, seen, keys, drawn, root)


def choose_by_row(
    logits: jax.Array,
    seen: jax.Array | None,
    keys: jax.Array,
    drawn: jax.Array,
    settings: RowSettings,
) -> tuple[jax.Array, jax.Array]:
    """Return the next token of each row and its log-probability, both [R].

    Each row's are those of :func:`training.generate.sampling.choose` with the row's settings,
    whatever other rows have. Steps that no row needs are skipped.
    """
    logits = logits.astype(jnp.float32)
    scores = logits
    if seen is not None:
        scores = jax.lax.cond(
            jnp.any(settings.penalty != 1),
            lambda: penalize(logits, seen, settings.penalty[:, None]),
            lambda: logits,
        )
    warm = settings.temperature > 0

    def draw() -> jax.Array:
        divided = scores / jnp.where(warm, settings.temperature, 1)[:, None]
        filters = warm & ((settings.top_p < 1) | (settings.top_k > 0))
        filtered = jax.lax.cond(
            jnp.any(filters), lambda: _filter(divided, settings), lambda: divided
        )
        row_keys = jax.vmap(jax.random.fold_in)(keys, drawn)
        return jax.vmap(jax.random.categorical)(row_keys, filtered)

    best = first_best(scores)
    token = jax.lax.cond(jnp.any(warm), lambda: jnp.where(warm, draw(), best), lambda: best)
    token = token.astype(jnp.int32)
    chosen = jnp.take_along_axis(logits, token[:, None], axis=-1)[:, 0]
    # Rounding must not raise a probability above 1.
    logprob = jnp.minimum(chosen - jax.nn.logsumexp(logits, axis=-1), 0)
    return token, jnp.where(jnp.isfinite(jnp.max(logits, axis=-1)), logprob, jnp.nan)


def _filter(scores: jax.Array, settings: RowSettings) -> jax.Array:
    """Apply each row's top-k, then its top-p, to scores [R, V]; one sort serves both."""
    size = scores.shape[-1]
    ascending = jnp.sort(scores, axis=-1)
    count = jnp.where(settings.top_k > 0, jnp.minimum(settings.top_k, size), size)
    lowest_kept = jnp.take_along_axis(ascending, (size - count)[:, None], axis=-1)
    ascending = jnp.where(ascending < lowest_kept, -jnp.inf, ascending)
    mass = jnp.cumsum(jax.nn.softmax(ascending, axis=-1), axis=-1)
    # The likeliest token stays even if rounding leaves the sum short of its bound.
    nucleus = (mass > 1 - settings.top_p[:, None]).at[:, -1].set(True)
    nucleus |= settings.top_p[:, None] >= 1
    lowest = jnp.min(jnp.where(nucleus, ascending, jnp.inf), axis=-1, keepdims=True)
    return jnp.where((scores < lowest_kept) | (scores < lowest), -jnp.inf, scores)

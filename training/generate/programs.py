"""Compiled programs of generation: prefill, insertion into slots, decoding.

The cache has one row per slot; token i of a sequence is in column i. Columns after the last token
of a sequence are masked, so that a slot is reused without being cleared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from training.generate.sampling import Choice, choose, streams
from training.machine.sharding import Layout
from training.models.attention import Cache, LayerCache
from training.models.family import Decoder, Model, Params

T = TypeVar("T")

Ints = Any
"""32-bit integers: NumPy's on the host, JAX's inside a compiled function."""


class Prompts(NamedTuple):
    """Prompts that are prefilled together; filler rows have length 1 and no slot."""

    tokens: Ints
    """[R, W], padded on the right; [P, W] if rows share prompts."""
    lengths: Ints
    """[R], or [P]."""
    numbers: Ints
    """[R]: numbers of the prompts' random streams."""
    samples: Ints
    """[R]: numbers of the samples."""
    drawn: Ints
    """[R]: numbers of tokens at the end of the prompt that were drawn before."""
    rows: Ints | None = None
    """[R]: the prompt of each row, of P; None if each row has its own."""


class Rows(NamedTuple):
    """Progress of every slot, [B] each."""

    token: Ints
    """Newest token; it is not in the cache yet."""
    position: Ints
    """Column of the newest token."""
    left: Ints
    """Number of tokens the row may still have; 0 for idle slots."""
    drawn: Ints
    """Number of tokens the row has drawn."""
    numbers: Ints
    samples: Ints


class State(NamedTuple):
    """State on the device between calls."""

    cache: Cache
    """S columns of B rows."""
    seen: jax.Array | None
    """[B, V]: true for tokens in the row, prompt included; None without a repetition penalty."""

    @property
    def columns(self) -> int:
        """Number of cache columns, S."""
        return int(self.cache[0].key.shape[-1])


class Chosen(NamedTuple):
    """New tokens and their log-probabilities."""

    tokens: jax.Array
    """[R] or [B, K]; -1 where a row has no token."""
    logprobs: jax.Array


class _Loop(NamedTuple):
    """Loop state of decoding."""

    step: jax.Array
    rows: Rows
    state: State
    chosen: Chosen


class Programs:
    """Programs of one model and one choice of tokens, compiled per shape."""

    def __init__(
        self,
        model: Model,
        choice: Choice,
        end_ids: Collection[int],
        steps: int,
        layout: Layout | None,
    ) -> None:
        self.steps = steps
        """Largest number of tokens per row and call of :attr:`decode`, K."""
        self._model = model
        self._choice = choice
        self._end_ids = jnp.asarray(sorted(end_ids), jnp.int32)
        self._layout = layout
        self._penalizes = choice.penalizes
        self.empty: Callable[[int, int], State]
        """Maps B and S to the state of B idle slots with S columns."""
        self.empty = jax.jit(self._empty, static_argnums=(0, 1))
        self.prefill: Callable[[Params, Prompts, Any], tuple[Chosen, State]]
        """Maps parameters, prompts and root key to first tokens [R] and the rows' state [R, W]."""
        self.prefill = jax.jit(self._prefill)
        self.insert: Callable[[State, State, Ints], State]
        """Maps the slots' state (donated), rows' state and slot indices [R] to the slots' state."""
        self.insert = jax.jit(self._insert, donate_argnums=0)
        self.grow: Callable[[State, int], State]
        """Maps a state and a number of columns to the wider state."""
        self.grow = jax.jit(self._grow, static_argnums=1)
        self.decode: Callable[..., tuple[Chosen, State]]
        """Maps parameters, state (donated), rows, root key and the number of idle rows that ends
        the call early to new tokens [B, K] and the state."""
        self.decode = jax.jit(self._decode, donate_argnums=1)

    def _split(self, state: T) -> T:
        return state if self._layout is None else self._layout.split_rows(state)

    def _keys(self, root: Any, rows: Prompts | Rows) -> jax.Array:
        """Return the random key of each row."""
        return streams(root, rows.numbers, rows.samples)

    def _choose(
        self,
        logits: jax.Array,
        seen: jax.Array | None,
        keys: jax.Array,
        drawn: jax.Array,
        root: Any,
    ) -> tuple[jax.Array, jax.Array]:
        """Return token and log-probability of each row, as :func:`choose`."""
        return choose(logits, seen, keys, drawn, self._choice)

    def _hidden(self, decoder: Decoder, *inputs: Any) -> tuple[jax.Array, Cache]:
        """Return the last hidden states and the cache; ``inputs`` as :meth:`Decoder.hidden`."""
        if self._layout is None:
            return decoder.hidden(*inputs)
        with self._layout.current():
            return decoder.hidden(*inputs)

    def _empty(self, slots: int, columns: int) -> State:
        cache = self._model.empty_cache(slots, columns)
        vocabulary = self._model.vocabulary
        seen = jnp.zeros((slots, vocabulary), bool) if self._penalizes else None
        return self._split(State(cache, seen))

    def _prefill(self, params: Params, prompts: Prompts, root: Any) -> tuple[Chosen, State]:
        decoder = self._model.bind(params)
        prompts = self._split(prompts)
        count, width = prompts.tokens.shape
        columns = jnp.arange(width)
        # Padding follows the prompt, where the causal mask hides it, and repeats its last position.
        hidden, cache = self._hidden(
            decoder,
            prompts.tokens,
            jnp.minimum(columns[None], prompts.lengths[:, None] - 1),
            (columns[None] <= columns[:, None])[None],
            self._split(self._model.empty_cache(count, width)),
        )
        last = jnp.take_along_axis(hidden, (prompts.lengths - 1)[:, None, None], axis=1)[:, 0]
        seen = None
        if self._penalizes:
            real = columns[None] < prompts.lengths[:, None]
            tokens = jnp.where(real, prompts.tokens, self._model.vocabulary)
            seen = jnp.zeros((count, self._model.vocabulary), bool)
            seen = seen.at[jnp.arange(count)[:, None], tokens].set(True, mode="drop")
        logits = decoder.logits(last)
        if prompts.rows is not None:
            logits, cache, seen = jax.tree.map(
                lambda values: values[prompts.rows], (logits, cache, seen)
            )
        keys = self._keys(root, prompts)
        chosen = Chosen(*self._choose(logits, seen, keys, prompts.drawn, root))
        if seen is not None:
            seen = seen.at[jnp.arange(len(seen)), chosen.tokens].set(True)
        return chosen, State(cache, seen)

    def _insert(self, state: State, rows: State, slots: jax.Array) -> State:
        width = rows.columns
        # Filler rows have an index beyond the last slot.
        cache = tuple(
            LayerCache(
                old.key.at[slots, :, :, :width].set(new.key, mode="drop"),
                old.value.at[slots, :, :width].set(new.value, mode="drop"),
            )
            for old, new in zip(state.cache, rows.cache, strict=True)
        )
        seen = state.seen
        if seen is not None and rows.seen is not None:
            seen = seen.at[slots].set(rows.seen, mode="drop")
        return self._split(State(cache, seen))

    def _grow(self, state: State, columns: int) -> State:
        none, more = (0, 0), (0, columns - state.columns)
        cache = tuple(
            LayerCache(
                jnp.pad(old.key, (none, none, none, more)),
                jnp.pad(old.value, (none, none, more, none)),
            )
            for old in state.cache
        )
        return self._split(State(cache, state.seen))

    def _decode(
        self, params: Params, state: State, rows: Rows, root: Any, enough: jax.Array
    ) -> tuple[Chosen, State]:
        decoder = self._model.bind(params)
        rows, state = self._split(rows), self._split(state)
        slots, columns = rows.token.shape[0], jnp.arange(state.columns)
        keys = self._keys(root, rows)
        indices = jnp.arange(slots)

        def step(loop: _Loop) -> _Loop:
            rows, state = loop.rows, loop.state
            live = rows.left > 0
            hidden, cache = self._hidden(
                decoder,
                rows.token[:, None],
                rows.position[:, None],
                (columns[None] <= rows.position[:, None])[:, None],
                state.cache,
                rows.position,
            )
            logits = decoder.logits(hidden[:, 0])
            token, logprob = self._choose(logits, state.seen, keys, rows.drawn, root)
            seen = state.seen
            if seen is not None:
                seen = seen.at[indices, token].max(live)
            # Idle rows are computed, too, but do not change.
            advanced = rows._replace(
                token=jnp.where(live, token, rows.token),
                position=rows.position + live,
                left=jnp.where(live & ~jnp.isin(token, self._end_ids), rows.left - 1, 0),
                drawn=rows.drawn + live,
            )
            chosen = Chosen(
                loop.chosen.tokens.at[:, loop.step].set(jnp.where(live, token, -1)),
                loop.chosen.logprobs.at[:, loop.step].set(logprob),
            )
            return _Loop(loop.step + 1, advanced, self._split(State(cache, seen)), chosen)

        def has_work(loop: _Loop) -> jax.Array:
            return (loop.step < self.steps) & (jnp.sum(loop.rows.left == 0) < enough)

        shape = (slots, self.steps)
        nothing = Chosen(jnp.full(shape, -1, jnp.int32), jnp.zeros(shape, jnp.float32))
        begin = _Loop(jnp.int32(0), jax.tree.map(jnp.asarray, rows), state, nothing)
        end = jax.lax.while_loop(has_work, step, begin)
        return end.chosen, end.state

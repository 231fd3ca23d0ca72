"""The compiled programs: reading prompts, seating them in slots, decoding.

The cache has one row a slot; a sequence's token number i lies in column i. What is behind a
sequence's last token is never looked at, so that a slot is reused without being cleared.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from training.generate.sampling import Choice, choose, streams
from training.machine.sharding import Layout
from training.models.attention import Cache, LayerCache
from training.models.family import Model, Params

T = TypeVar("T")

Ints = Any
"""Whole numbers of 32 bits: NumPy's on the host, JAX's inside a compiled function."""


class Prompts(NamedTuple):
    """Rows that are read together; filler rows have length 1 and no slot."""

    tokens: Ints
    """[R, W], padded on the right."""
    lengths: Ints
    """[R]."""
    items: Ints
    """[R]: numbers of the prompts."""
    samples: Ints
    """[R]: numbers of the samples."""


class Rows(NamedTuple):
    """What every slot is at, [B] each."""

    token: Ints
    """The newest token; it is not in the cache yet."""
    position: Ints
    """Its column."""
    left: Ints
    """How many more tokens the row may have; 0 where the slot is idle."""
    drawn: Ints
    """How many tokens the row has drawn."""
    items: Ints
    samples: Ints


class State(NamedTuple):
    """What stays on the device between calls."""

    cache: Cache
    """S columns of B rows."""
    seen: jax.Array | None
    """[B, V]: which tokens a row holds, prompt included; None where nothing is penalized."""

    @property
    def columns(self) -> int:
        """S."""
        return int(self.cache[0].key.shape[-1])


class Chosen(NamedTuple):
    """New tokens and their log-probabilities."""

    tokens: jax.Array
    """[R] or [B, K]; -1 where a row made none."""
    logprobs: jax.Array


class _Loop(NamedTuple):
    """What decoding carries from token to token."""

    step: jax.Array
    rows: Rows
    state: State
    made: Chosen


class Programs:
    """The programs of one model and one way of choosing; they are compiled per shape."""

    def __init__(
        self, model: Model, choice: Choice, ends: Collection[int], steps: int, layout: Layout | None
    ) -> None:
        self.steps = steps
        """K: most tokens a row makes in a call of :attr:`decode`."""
        self._model = model
        self._choice = choice
        self._ends = jnp.asarray(sorted(ends), jnp.int32)
        self._layout = layout
        self.empty: Callable[[int, int], State]
        """The state of B idle slots with S columns."""
        self.empty = jax.jit(self._empty, static_argnums=(0, 1))
        self.read: Callable[[Params, Prompts, jax.Array], tuple[Chosen, State]]
        """Parameters, prompts and root key to first tokens [R] and the rows' state [R, W]."""
        self.read = jax.jit(self._read)
        self.seat: Callable[[State, State, Ints], State]
        """The slots' state (given away), rows' state and their slots [R] to the slots' state."""
        self.seat = jax.jit(self._seat, donate_argnums=0)
        self.grow: Callable[[State, int], State]
        """The state with another number of columns."""
        self.grow = jax.jit(self._grow, static_argnums=1)
        self.decode: Callable[..., tuple[Chosen, State]]
        """Parameters, state (given away), rows, root key, and how many rows must be idle for it to
        end early, to new tokens [B, K] and the state."""
        self.decode = jax.jit(self._decode, donate_argnums=1)

    def _split(self, state: T) -> T:
        return state if self._layout is None else self._layout.split_rows(state)

    def _empty(self, slots: int, columns: int) -> State:
        cache = self._model.empty_cache(slots, columns)
        vocabulary = self._model.vocabulary
        seen = jnp.zeros((slots, vocabulary), bool) if self._choice.penalizes else None
        return self._split(State(cache, seen))

    def _read(self, params: Params, prompts: Prompts, root: jax.Array) -> tuple[Chosen, State]:
        decoder = self._model.bind(params)
        prompts = self._split(prompts)
        rows, width = prompts.tokens.shape
        columns = jnp.arange(width)
        # Padding is behind the prompt, where no token of it looks.
        hidden, cache = decoder.hidden(
            prompts.tokens,
            jnp.minimum(columns, self._model.context - 1)[None],
            (columns[None] <= columns[:, None])[None],
            self._split(self._model.empty_cache(rows, width)),
        )
        last = jnp.take_along_axis(hidden, (prompts.lengths - 1)[:, None, None], axis=1)[:, 0]
        seen = None
        if self._choice.penalizes:
            real = columns[None] < prompts.lengths[:, None]
            tokens = jnp.where(real, prompts.tokens, self._model.vocabulary)
            seen = jnp.zeros((rows, self._model.vocabulary), bool)
            seen = seen.at[jnp.arange(rows)[:, None], tokens].set(True, mode="drop")
        keys = streams(root, prompts.items, prompts.samples)
        none = jnp.zeros(rows, jnp.int32)
        chosen = Chosen(*choose(decoder.logits(last), seen, keys, none, self._choice))
        if seen is not None:
            seen = seen.at[jnp.arange(rows), chosen.tokens].set(True)
        return chosen, State(cache, seen)

    def _seat(self, state: State, rows: State, slots: jax.Array) -> State:
        width = rows.columns
        # Filler rows have a slot that is not there.
        cache = tuple(
            LayerCache(
                held.key.at[slots, :, :, :width].set(new.key, mode="drop"),
                held.value.at[slots, :, :width].set(new.value, mode="drop"),
            )
            for held, new in zip(state.cache, rows.cache, strict=True)
        )
        seen = state.seen
        if seen is not None and rows.seen is not None:
            seen = seen.at[slots].set(rows.seen, mode="drop")
        return self._split(State(cache, seen))

    def _grow(self, state: State, columns: int) -> State:
        none, more = (0, 0), (0, columns - state.columns)
        cache = tuple(
            LayerCache(
                jnp.pad(held.key, (none, none, none, more)),
                jnp.pad(held.value, (none, none, more, none)),
            )
            for held in state.cache
        )
        return self._split(State(cache, state.seen))

    def _decode(
        self, params: Params, state: State, rows: Rows, root: jax.Array, enough: jax.Array
    ) -> tuple[Chosen, State]:
        decoder = self._model.bind(params)
        rows, state = self._split(rows), self._split(state)
        slots, columns = rows.token.shape[0], jnp.arange(state.columns)
        keys = streams(root, rows.items, rows.samples)
        every = jnp.arange(slots)

        def step(loop: _Loop) -> _Loop:
            rows, state = loop.rows, loop.state
            live = rows.left > 0
            hidden, cache = decoder.hidden(
                rows.token[:, None],
                rows.position[:, None],
                (columns[None] <= rows.position[:, None])[:, None],
                state.cache,
                rows.position,
            )
            logits = decoder.logits(hidden[:, 0])
            token, logprob = choose(logits, state.seen, keys, rows.drawn, self._choice)
            seen = state.seen
            if seen is not None:
                seen = seen.at[every, token].max(live)
            # Idle rows run along and stay as they are.
            moved = rows._replace(
                token=jnp.where(live, token, rows.token),
                position=rows.position + live,
                left=jnp.where(live & ~jnp.isin(token, self._ends), rows.left - 1, 0),
                drawn=rows.drawn + live,
            )
            made = Chosen(
                loop.made.tokens.at[:, loop.step].set(jnp.where(live, token, -1)),
                loop.made.logprobs.at[:, loop.step].set(logprob),
            )
            return _Loop(loop.step + 1, moved, self._split(State(cache, seen)), made)

        def goes_on(loop: _Loop) -> jax.Array:
            return (loop.step < self.steps) & (jnp.sum(loop.rows.left == 0) < enough)

        shape = (slots, self.steps)
        nothing = Chosen(jnp.full(shape, -1, jnp.int32), jnp.zeros(shape, jnp.float32))
        begin = _Loop(jnp.int32(0), jax.tree.map(jnp.asarray, rows), state, nothing)
        end = jax.lax.while_loop(goes_on, step, begin)
        return end.made, end.state

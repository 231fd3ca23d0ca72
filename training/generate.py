"""Text generation in batches, with a key-value cache, compiled.

Prompts are padded on the left to a few bucket lengths, so that few programs are compiled and all
rows generate their next token in the same column. Shapes: B rows, P prompt columns, N new tokens,
S = P + N key columns, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from tailrace.formats.prediction import FinishReason
from training.models.attention import Cache
from training.models.family import Decoder, Model, Params
from training.packing import bucket


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen."""

    max_new_tokens: int = 64
    """Most tokens generated per prompt, the end-of-sequence token included."""
    temperature: float = 0.0
    """0 takes the likeliest token; above, logits are divided by it and sampled."""
    seed: int = 42
    """Seed of sampling; each prompt draws from its own stream, whatever it is batched with."""


@dataclass(frozen=True)
class Generation:
    """What was generated for one prompt."""

    index: int
    """The prompt's place in the input."""
    tokens: list[int]
    """New tokens; the end-of-sequence token, if reached, is not among them."""
    count: int
    """Tokens generated, the end-of-sequence token included."""
    finish_reason: FinishReason
    """``eos``, ``length``, or ``error`` when the prompt leaves no room in the context."""
    error: str = ""
    """Why nothing was generated, with ``error``."""


class _Rows(NamedTuple):
    """The padded prompts of one batch."""

    tokens: NDArray[np.int32]
    """[B, P], padded on the left."""
    lengths: NDArray[np.int32]
    """[B]: real tokens per row."""
    budgets: NDArray[np.int32]
    """[B]: most new tokens per row; 0 for filler rows."""
    streams: NDArray[np.int32]
    """[B]: which random stream each row draws from."""


class Generator:
    """Generates with one model; compiled programs are kept between calls."""

    def __init__(self, model: Model, params: Params, eos_token_id: int) -> None:
        self._model = model
        self._params = params
        self._eos = eos_token_id
        self._generate = compile_generation(model, eos_token_id)

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: Sampling, batch_size: int
    ) -> Iterator[list[Generation]]:
        """Yield the results batch by batch, prompts of similar length together.

        A prompt that fills the model's context, or is empty, yields an ``error`` and disturbs no
        other. Close to the context's end, fewer tokens than asked for are generated.
        """
        room = {i: self._model.context - len(prompt) for i, prompt in enumerate(prompts)}
        bad = [i for i, prompt in enumerate(prompts) if not prompt or room[i] < 1]
        if bad:
            yield [self._refused(i, len(prompts[i])) for i in bad]
        order = sorted(set(room) - set(bad), key=lambda i: (len(prompts[i]), i))
        root = jax.random.key(sampling.seed)
        for begin in range(0, len(order), batch_size):
            chosen = order[begin : begin + batch_size]
            budgets = [min(sampling.max_new_tokens, room[i]) for i in chosen]
            rows = _pad([prompts[i] for i in chosen], budgets, chosen, batch_size)
            tokens, counts = self._generate(
                self._params, rows, sampling.max_new_tokens, sampling.temperature, root
            )
            yield [
                self._result(index, row[:count].tolist())
                for index, row, count in zip(
                    chosen, np.asarray(tokens), np.asarray(counts), strict=False
                )
            ]

    def _result(self, index: int, tokens: list[int]) -> Generation:
        if tokens and tokens[-1] == self._eos:
            return Generation(index, tokens[:-1], len(tokens), FinishReason.EOS)
        return Generation(index, tokens, len(tokens), FinishReason.LENGTH)

    def _refused(self, index: int, length: int) -> Generation:
        why = (
            f"the prompt has {length} tokens, which leaves no room in the model's context of "
            f"{self._model.context}"
            if length
            else "the prompt has no tokens"
        )
        return Generation(index, [], 0, FinishReason.ERROR, why)


class _Loop(NamedTuple):
    """What the generation loop carries from token to token."""

    column: jax.Array
    """How many tokens were generated in the longest row."""
    tokens: jax.Array
    """[B, N]: new tokens so far."""
    counts: jax.Array
    """[B]: new tokens per row."""
    done: jax.Array
    """[B]: rows that are finished."""
    hidden: jax.Array
    """[B, C]: hidden state that the next token is read from."""
    cache: Cache


def compile_generation(model: Model, eos: int) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """The compiled generation; it is compiled once for every B, P and N.

    The function takes parameters, rows, N, temperature and the root key of sampling; it returns
    new tokens [B, N] and their number per row [B].
    """

    @partial(jax.jit, static_argnames=("new", "temperature"))
    def generate(
        params: Params, rows: _Rows, new: int, temperature: float, root: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        decoder = model.bind(params)
        width = rows.tokens.shape[1]
        columns = jnp.arange(width + new)
        visible = columns[None] >= (width - rows.lengths)[:, None]
        keys = jax.vmap(partial(jax.random.fold_in, root))(rows.streams)

        def step(loop: _Loop) -> _Loop:
            token = _choose(decoder.logits(loop.hidden), temperature, keys, loop.column)
            tokens = loop.tokens.at[:, loop.column].set(token)
            counts = loop.counts + ~loop.done
            done = loop.done | (token == eos) | (counts >= rows.budgets)
            # The token just chosen becomes the query; finished rows run along unheeded.
            at = width + loop.column
            position = jnp.minimum(rows.lengths + loop.column, model.context - 1)
            mask = visible & (columns[None] <= at)
            hidden, cache = decoder.hidden(
                token[:, None], position[:, None], mask[:, None], loop.cache, at
            )
            return _Loop(loop.column + 1, tokens, counts, done, hidden[:, 0], cache)

        begin = _read_prompts(model, decoder, rows, new)
        end = jax.lax.while_loop(lambda loop: ~jnp.all(loop.done), step, begin)
        return end.tokens, end.counts

    return generate


def _read_prompts(model: Model, decoder: Decoder, rows: _Rows, new: int) -> _Loop:
    """The loop before its first token: the prompts are in the cache."""
    batch, width = rows.tokens.shape
    first = width - rows.lengths
    columns = jnp.arange(width + new)
    visible = columns[None] >= first[:, None]
    causal = columns[None, :] <= columns[:width, None]
    hidden, cache = decoder.hidden(
        rows.tokens,
        jnp.maximum(columns[None, :width] - first[:, None], 0),
        visible[:, None, :] & causal[None],
        model.empty_cache(batch, width + new),
    )
    return _Loop(
        column=jnp.int32(0),
        tokens=jnp.zeros((batch, new), jnp.int32),
        counts=jnp.zeros(batch, jnp.int32),
        done=jnp.asarray(rows.budgets == 0),
        hidden=hidden[:, -1],
        cache=cache,
    )


def _choose(logits: jax.Array, temperature: float, keys: jax.Array, column: jax.Array) -> jax.Array:
    """The next token of each row, [B], from its logits [B, V] and its random stream."""
    if temperature == 0:
        return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    now = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, column)
    drawn = jax.vmap(jax.random.categorical)(now, logits / temperature)
    return drawn.astype(jnp.int32)


def _pad(
    prompts: Sequence[Sequence[int]], budgets: list[int], streams: list[int], batch_size: int
) -> _Rows:
    width = bucket(max(len(prompt) for prompt in prompts))
    rows = _Rows(
        tokens=np.zeros((batch_size, width), np.int32),
        lengths=np.ones(batch_size, np.int32),
        budgets=np.zeros(batch_size, np.int32),
        streams=np.zeros(batch_size, np.int32),
    )
    for b, prompt in enumerate(prompts):
        rows.tokens[b, width - len(prompt) :] = prompt
        rows.lengths[b] = len(prompt)
    rows.budgets[: len(budgets)] = budgets
    rows.streams[: len(streams)] = streams
    return rows

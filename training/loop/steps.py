"""The compiled arithmetic of a training: loss, gradients, updates.

Shapes: K steps, M parts of a batch, B rows, T tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from training.data.batches import Batch
from training.loop.losses import response_cross_entropy, response_tokens, rowwise_cross_entropy
from training.loop.precision import full_precision
from training.loop.tuning import Tuning
from training.machine.sharding import Layout
from training.models.family import Params

State = tuple[Params, Any]
"""Trained values and optimizer state."""

Loss = Callable[[Params, Params, Batch, jax.Array, jax.Array | None], jax.Array]
"""Of trained and frozen values, rows [B, T], the number of tokens to divide by, and a key."""


class Computed(NamedTuple):
    """What each of K steps is watched by."""

    losses: jax.Array
    """[K]: before the update, in nats per response token."""
    gradient_norms: jax.Array
    """[K]: global norm of the gradients, before clipping."""


Steps = Callable[[State, Params, Batch, int, jax.Array], tuple[State, Computed]]
"""The compiled steps, see :func:`compile_steps`."""


def compile_steps(
    tuning: Tuning,
    optimizer: optax.GradientTransformation,
    layout: Layout,
    micro: int | None = None,
    *,
    remat: bool = False,
) -> Steps:
    """The compiled optimizer steps.

    The function takes the state (whose buffers it reuses), frozen values, K stacked batches, the
    number of steps done before, and the root key of dropout. ``micro`` rows go through the model
    at a time; ``remat`` is as in :meth:`training.models.family.Decoder.hidden`.
    """
    gradients_of = accumulate(_loss_on(layout, tuning, remat=remat), layout, micro)

    def one(
        frozen: Params, state: State, inputs: tuple[Batch, jax.Array]
    ) -> tuple[State, Computed]:
        trained, moments = state
        loss, gradients = gradients_of(trained, frozen, *inputs)
        updates, moments = optimizer.update(gradients, moments, trained)
        computed = Computed(loss, _norm(gradients))
        return layout.hold((optax.apply_updates(trained, updates), moments)), computed

    @partial(jax.jit, donate_argnums=0)
    def many(
        state: State, frozen: Params, batches: Batch, first: int, root: jax.Array
    ) -> tuple[State, Computed]:
        numbers = first + jnp.arange(batches.tokens.shape[0])
        keys = jax.vmap(partial(jax.random.fold_in, root))(numbers)
        inputs = (layout.split(batches, rows=1), keys)
        state, computed = jax.lax.scan(partial(one, frozen), state, inputs)
        # What comes out must lie where it came in, or the next call would be compiled anew.
        return layout.hold(state), computed

    return many


def compile_evaluation(
    tuning: Tuning, layout: Layout
) -> Callable[[Params, Params, Batch], jax.Array]:
    """The compiled loss of one batch [1, B, T] without dropout, summed over its tokens."""
    loss_of = _loss_on(layout, tuning)

    @jax.jit
    def evaluate(trained: Params, frozen: Params, batch: Batch) -> jax.Array:
        rows = jax.tree.map(lambda values: values[0], layout.split(batch, rows=1))
        return loss_of(trained, frozen, rows, jnp.float32(1), None)

    return evaluate


def _loss_on(layout: Layout, tuning: Tuning, *, remat: bool = False) -> Loss:
    """The loss as it is computed on a mesh."""
    by_row = tuning.frozen_head and layout.row_parts == 1
    return batch_loss(tuning, remat=remat, by_row=by_row)


def batch_loss(tuning: Tuning, *, remat: bool = False, by_row: bool = False) -> Loss:
    """The loss of rows, differentiable by the trained values.

    ``by_row`` saves memory under a frozen output layer, see
    :func:`training.loop.losses.rowwise_cross_entropy`.
    """

    def loss_of(
        trained: Params, frozen: Params, rows: Batch, total: jax.Array, key: jax.Array | None
    ) -> jax.Array:
        with full_precision(tuning.dtype):
            decoder = tuning.decoder(trained, frozen, key)
            mask, positions = sight(rows)
            hidden, _ = decoder.hidden(rows.tokens, positions, mask, dropout_key=key, remat=remat)
            if by_row:
                return rowwise_cross_entropy(
                    decoder.logits, hidden, rows.targets, rows.weights, total
                )
            logits = decoder.logits(hidden)
        return response_cross_entropy(logits, rows.targets, rows.weights, total)

    return loss_of


def sight(rows: Batch) -> tuple[jax.Array, jax.Array]:
    """The attention mask [B or 1, T, T] and the positions [B or 1, T] of rows.

    A token sees what comes before it in its own example.
    """
    length = rows.tokens.shape[-1]
    # Padding is on the right, where a causal mask keeps it out of every real token's sight.
    causal = jnp.tril(jnp.ones((length, length), bool))[None]
    if rows.segments is None or rows.positions is None:
        return causal, jnp.arange(length)[None]
    segments = jnp.asarray(rows.segments)
    same = segments[:, :, None] == segments[:, None, :]
    return causal & same, jnp.asarray(rows.positions)


def accumulate(
    loss_of: Loss, layout: Layout, micro: int | None
) -> Callable[[Params, Params, Batch, jax.Array], tuple[jax.Array, Params]]:
    """Loss and gradients of a batch, ``micro`` rows at a time.

    Every part's loss is divided by the response tokens of the whole batch, so that the parts add
    up to what one pass over all rows gives, however unequal they are.
    """
    gradients_of = jax.value_and_grad(loss_of)

    def whole(
        trained: Params, frozen: Params, rows: Batch, key: jax.Array
    ) -> tuple[jax.Array, Params]:
        total = response_tokens(rows.weights)
        parts = rows.tokens.shape[0] // micro if micro else 1
        if parts <= 1:
            return gradients_of(trained, frozen, rows, total, key)

        def add(sums: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, None]:
            found = gradients_of(trained, frozen, part[0], total, part[1])
            return jax.tree.map(jnp.add, sums, found), None

        keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(parts))
        zeros = (jnp.float32(0), jax.tree.map(jnp.zeros_like, trained))
        pieces = layout.split(_in_parts(rows, parts), rows=1)
        sums, _ = jax.lax.scan(add, zeros, (pieces, keys))
        return sums

    return whole


def _norm(gradients: Params) -> jax.Array:
    squares = [jnp.sum(jnp.square(value)) for value in gradients.values()]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


def _in_parts(rows: Batch, parts: int) -> Batch:
    """[B, T] to [M, B / M, T], where each part has rows from all over the batch.

    A batch that is split over devices by its rows then stays where it is.
    """

    def part(values: jax.Array) -> jax.Array:
        return values.reshape(-1, parts, values.shape[-1]).swapaxes(0, 1)

    pieces: Batch = jax.tree.map(part, rows)
    return pieces

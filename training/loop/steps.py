"""The compiled arithmetic of a training: loss, gradients and updates.

Shapes: K steps, M parts of a batch, B rows, T tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from training.data.batches import Batch
from training.loop.precision import full_precision
from training.loop.router_balance import RouterBalance
from training.loop.teacher import Teacher, without_teacher
from training.loop.trainable import TrainableSplit
from training.machine.sharding import Layout
from training.models.experts.balance import RouterSums, balance_slopes, total
from training.models.family import Params
from training.models.unpacked import Slots
from training.objectives.objective import (
    BaselineObjective,
    BoundModel,
    Metrics,
    Objective,
    ReferencedObjective,
    SampledObjective,
)

State = tuple[Params, Any]
"""Trained values and state of the optimizer."""


class Computed(NamedTuple):
    """Figures of K steps."""

    losses: jax.Array
    """[K]: loss before the update."""
    gradient_norms: jax.Array
    """[K]: global norm of the gradients, before clipping."""
    metrics: Metrics
    """[K] each: metrics of the objective, before the update."""


Steps = Callable[[State, Params, Batch, int, jax.Array], tuple[State, Computed]]
"""The compiled steps, see :func:`compile_steps`."""


def compile_steps(
    objective: Objective,
    trainable: TrainableSplit,
    optimizer: optax.GradientTransformation,
    layout: Layout,
    micro: int | None = None,
    *,
    remat: bool = False,
    slots: Slots | None = None,
    balance: RouterBalance | None = None,
    teacher: Teacher | None = None,
) -> Steps:
    """Return the compiled optimizer steps.

    The function takes the state (whose buffers it reuses), frozen values, K stacked batches, the
    number of earlier steps, and the root key of dropout.

    Args:
        objective: The training method.
        trainable: The division of the weights.
        optimizer: The optimizer of the trained values.
        layout: The layout of all arrays over the devices.
        micro: Rows per forward and backward pass (default: all).
        remat: Whether the backward pass computes the activations again.
        slots: Sizes for attention by example (default: attention over whole rows).
        balance: The load-balancing loss of experts (default: none).
        teacher: The teacher, whose weights are among the frozen values (default: none).
    """
    loss_of = _loss_on(
        objective, layout, trainable, remat=remat, slots=slots, balance=balance, teacher=teacher
    )
    compute = accumulate(objective, loss_of, layout, micro)

    def step(
        frozen: Params, state: State, inputs: tuple[Batch, jax.Array]
    ) -> tuple[State, Computed]:
        trained, moments = state
        loss, metrics, gradients = compute(trained, frozen, *inputs)
        updates, moments = optimizer.update(gradients, moments, trained)
        computed = Computed(loss, _norm(gradients), metrics)
        return layout.constrain((optax.apply_updates(trained, updates), moments)), computed

    @partial(jax.jit, donate_argnums=0)
    def steps(
        state: State, frozen: Params, batches: Batch, first: int, root: jax.Array
    ) -> tuple[State, Computed]:
        numbers = first + jnp.arange(batches.tokens.shape[0])
        keys = jax.vmap(partial(jax.random.fold_in, root))(numbers)
        inputs = (layout.split(batches, rows=1), keys)
        state, computed = jax.lax.scan(partial(step, frozen), state, inputs)
        # The state must keep its layout, or the next call would be compiled again.
        return layout.constrain(state), computed

    return steps


def compile_evaluation(
    objective: Objective,
    trainable: TrainableSplit,
    layout: Layout,
    slots: Slots | None = None,
    teacher: Teacher | None = None,
) -> Callable[[Params, Params, Batch], tuple[jax.Array, Metrics]]:
    """Return the compiled loss and metrics of one batch, without dropout and not normalized.

    The function takes trained and frozen values, and a batch of one step.

    ``slots`` and ``teacher`` are as in :func:`compile_steps`.
    """
    loss_of = _loss_on(objective, layout, trainable, slots=slots, teacher=teacher)

    @jax.jit
    def evaluate(trained: Params, frozen: Params, batch: Batch) -> tuple[jax.Array, Metrics]:
        rows = jax.tree.map(lambda values: values[0], layout.split(batch, rows=1))
        return loss_of(trained, frozen, rows, jnp.float32(1), None)

    return evaluate


def compile_baseline(
    objective: Objective, trainable: TrainableSplit, layout: Layout
) -> Callable[[Params, Params, Batch], jax.Array] | None:
    """Return the compiled sum of the figures that a baseline is the mean of, over one batch.

    The function takes trained and frozen values, and a batch of one step; None for methods without
    a baseline.
    """
    if not isinstance(objective, BaselineObjective):
        return None
    loss_of = _loss_on(objective, layout, trainable)

    @jax.jit
    def share(trained: Params, frozen: Params, batch: Batch) -> jax.Array:
        rows = jax.tree.map(lambda values: values[0], layout.split(batch, rows=1))
        return loss_of.baseline_share(trained, frozen, rows, jnp.float32(1))

    return share


def compile_answers(
    objective: ReferencedObjective, trainable: TrainableSplit, layout: Layout
) -> Callable[[Params, Params, Batch], jax.Array]:
    """Return the compiled log-probabilities [B, 2] of the answers of one batch of pairs.

    The function takes trained and frozen values, and a batch of one step.
    """
    by_block = _is_by_block(trainable, layout)

    @jax.jit
    def answers(trained: Params, frozen: Params, batch: Batch) -> jax.Array:
        rows = jax.tree.map(lambda values: values[0], layout.split(batch, rows=1))
        with full_precision(trainable.dtype):
            decoder = trainable.decoder(trained, frozen, None)
            share = layout.row_parts == 1
            model = BoundModel(decoder, None, remat=False, by_block=by_block, share=share)
            return objective.answer_log_probs(model, rows)

    return answers


def compile_token_log_probs(
    objective: SampledObjective, trainable: TrainableSplit, layout: Layout, micro: int | None = None
) -> Callable[[Params, Params, Batch], jax.Array]:
    """Return the compiled log-probabilities [B, T] of the targets of one batch of answers.

    The function takes trained and frozen values, and a batch of one step; ``micro`` is the number
    of rows that are computed at a time (default: all).
    """
    by_block = _is_by_block(trainable, layout)

    @jax.jit
    def compute(trained: Params, frozen: Params, batch: Batch) -> jax.Array:
        def part_of(rows: Batch) -> jax.Array:
            with full_precision(trainable.dtype), layout.current():
                decoder = trainable.decoder(trained, frozen, None)
                share = layout.row_parts == 1
                model = BoundModel(decoder, None, remat=False, by_block=by_block, share=share)
                return objective.token_scores(model, rows).log_probs

        rows = jax.tree.map(lambda values: values[0], layout.split(batch, rows=1))
        count, length = rows.tokens.shape
        parts = count // micro if micro else 1
        if parts <= 1:
            return part_of(rows)
        pieces = layout.split(_in_parts(rows, parts), rows=1)
        log_probs: jax.Array = jax.lax.map(part_of, pieces)
        # The inverse of the division, which takes rows from all over the batch.
        return log_probs.swapaxes(0, 1).reshape(count, length)

    return compute


def _is_by_block(trainable: TrainableSplit, layout: Layout) -> bool:
    """Return True if logits are computed a block at a time."""
    return trainable.frozen_head and layout.row_parts == 1


@dataclass(frozen=True)
class BatchLoss:
    """Loss of rows, differentiable by the trained values.

    ``remat``, ``by_block`` and ``slots`` are as in
    :class:`training.objectives.objective.BoundModel`.
    """

    objective: Objective
    trainable: TrainableSplit
    layout: Layout | None = None
    """Layout of the rows over devices (default: all on one)."""
    remat: bool = False
    by_block: bool = False
    slots: Slots | None = None
    balance: RouterBalance | None = None
    """The load-balancing loss of experts."""
    teacher: Teacher | None = None
    """The teacher, whose weights are among the frozen values."""

    def __call__(
        self,
        trained: Params,
        frozen: Params,
        rows: Batch,
        normalizer: jax.Array,
        key: jax.Array | None,
        slopes: jax.Array | None = None,
    ) -> tuple[jax.Array, Metrics]:
        """Return loss and metrics of rows [B, T] over the normalizer.

        ``key`` is that of dropout, ``slopes`` are as in :meth:`.RouterBalance.add`.
        """
        loss, metrics, routers = self._forward(trained, frozen, rows, normalizer, key)
        if self.balance is None:
            return loss, metrics
        return self.balance.add(loss, metrics, routers, slopes)

    def routing(self, trained: Params, frozen: Params, rows: Batch, key: jax.Array) -> RouterSums:
        """Return the decisions of all routers on the tokens of rows.

        The compiler drops all of the pass that the routers do not need.
        """
        *_, routers = self._forward(trained, frozen, rows, jnp.float32(1), key)
        return total(routers)

    def baseline_share(
        self, trained: Params, frozen: Params, rows: Batch, normalizer: jax.Array
    ) -> jax.Array:
        """Return the share of rows in a baseline; see :class:`.BaselineObjective`."""
        if not isinstance(self.objective, BaselineObjective):
            raise TypeError("the method has no baseline")
        with self._context():
            decoder = self.trainable.decoder(trained, frozen, None)
            model = BoundModel(decoder, None, remat=False, by_block=self.by_block)
            return self.objective.baseline_share(model, rows, normalizer)

    @contextlib.contextmanager
    def _context(self) -> Iterator[None]:
        mesh = contextlib.nullcontext() if self.layout is None else self.layout.current()
        with mesh, full_precision(self.trainable.dtype):
            yield

    def _forward(
        self,
        trained: Params,
        frozen: Params,
        rows: Batch,
        normalizer: jax.Array,
        key: jax.Array | None,
    ) -> tuple[jax.Array, Metrics, list[RouterSums]]:
        routers: list[RouterSums] = []
        with self._context():
            decoder = self.trainable.decoder(trained, without_teacher(frozen), key)
            receiver = None if self.balance is None else routers
            taught = None if self.teacher is None else self.teacher.decoder(frozen)
            model = BoundModel(
                decoder,
                key,
                self.remat,
                self.by_block,
                self.slots,
                # As with slots: the answers of a group would have to travel between devices.
                self.layout is None or self.layout.row_parts == 1,
                receiver,
                taught,
            )
            return *self.objective.loss(model, rows, normalizer), routers


def _loss_on(
    objective: Objective,
    layout: Layout,
    trainable: TrainableSplit,
    *,
    remat: bool = False,
    slots: Slots | None = None,
    balance: RouterBalance | None = None,
    teacher: Teacher | None = None,
) -> BatchLoss:
    """Return the loss for rows on a mesh."""
    return BatchLoss(
        objective,
        trainable,
        layout,
        remat=remat,
        by_block=_is_by_block(trainable, layout),
        # Slots may hold examples of any row, which would have to travel between devices.
        slots=slots if layout.row_parts == 1 else None,
        balance=balance,
        teacher=teacher,
    )


def accumulate(
    objective: Objective, loss_of: BatchLoss, layout: Layout, micro: int | None
) -> Callable[[Params, Params, Batch, jax.Array], tuple[jax.Array, Metrics, Params]]:
    """Return the function for loss, metrics and gradients of a batch, ``micro`` rows at a time.

    The loss of each part is divided by the weight of the whole batch, so that the parts add up to
    the loss of a single pass over all rows, however unequal they are. A baseline and the balance
    of experts are those of the whole batch, too: a first pass over the parts computes them.
    """
    gradients_of = jax.value_and_grad(loss_of.__call__, has_aux=True)

    def slopes_of(
        trained: Params, frozen: Params, parts: tuple[Batch, jax.Array]
    ) -> jax.Array | None:
        if loss_of.balance is None:
            return None

        def count(part: tuple[Batch, jax.Array]) -> RouterSums:
            return loss_of.routing(trained, frozen, *part)

        sums: RouterSums = jax.tree.map(partial(jnp.sum, axis=0), jax.lax.map(count, parts))
        return balance_slopes(sums)

    def compute(
        trained: Params, frozen: Params, rows: Batch, key: jax.Array
    ) -> tuple[jax.Array, Metrics, Params]:
        # At least 1, because it divides.
        normalizer = jnp.maximum(objective.weight(rows), 1)
        parts = max(1, rows.tokens.shape[0] // micro if micro else 1)
        if isinstance(objective, BaselineObjective):
            pieces = layout.split(_in_parts(rows, parts), rows=1)
            share_of = partial(loss_of.baseline_share, trained, frozen, normalizer=normalizer)
            mean = jax.lax.map(share_of, pieces).sum()
            rows = with_baseline(rows, objective.baseline(mean))
        if parts == 1:
            (loss, metrics), gradients = gradients_of(trained, frozen, rows, normalizer, key)
            return loss, metrics, gradients

        keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(parts))
        pieces = layout.split(_in_parts(rows, parts), rows=1)
        slopes = slopes_of(trained, frozen, (pieces, keys))

        def add(sums: Any, part: tuple[Batch, jax.Array]) -> tuple[Any, Metrics]:
            piece, own = part
            (loss, metrics), gradients = gradients_of(
                trained, frozen, piece, normalizer, own, slopes
            )
            return jax.tree.map(jnp.add, sums, (loss, gradients)), metrics

        zeros = (jnp.float32(0), jax.tree.map(jnp.zeros_like, trained))
        (loss, gradients), shares = jax.lax.scan(add, zeros, (pieces, keys))
        return loss, jax.tree.map(partial(jnp.sum, axis=0), shares), gradients

    return compute


def with_baseline(rows: Batch, baseline: jax.Array) -> Batch:
    """Return rows [..., B, 2, T] with the baseline of their whole batch."""
    # Fields of a batch are arrays of JAX inside a compiled step.
    values: Any = jnp.full(rows.tokens.shape[:-2], jax.lax.stop_gradient(baseline))
    return rows._replace(baseline=values)


def _norm(gradients: Params) -> jax.Array:
    squares = [jnp.sum(jnp.square(value)) for value in gradients.values()]
    return jnp.sqrt(jnp.sum(jnp.stack(squares)))


def _in_parts(rows: Batch, parts: int) -> Batch:
    """Divide [B, ...] into [M, B / M, ...], where each part has rows from all over the batch.

    A batch that is split over devices by rows then needs no transfer.
    """

    def part(values: jax.Array) -> jax.Array:
        return values.reshape(-1, parts, *values.shape[1:]).swapaxes(0, 1)

    pieces: Batch = jax.tree.map(part, rows)
    return pieces
